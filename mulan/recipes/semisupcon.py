"""SemiSupCon at the paper's size, and MuLan with SemiSupCon's term added to the cross-modal one.

The paper is Guinot et al. 2024, "Semi-supervised contrastive learning of musical representations".
"""

from mulan.config.audio import SampleCnnTowerConfig, WaveformFrontEndConfig
from mulan.config.objectives import LossConfig, LossWeightsConfig, SemiSupConConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, DataConfig, OptimConfig, ScaleConfig, TrainConfig
from mulan.recipes.mulan import m_resnet50


def semisupcon() -> Recipe:
    """SemiSupCon on the waveform: batches of 96 recordings with two views, half of them labelled, 200,000 Adam steps.

    SampleCNN can be replaced by any other tower, together with a front end that computes a spectrogram.
    """
    return Recipe(
        data=DataConfig(sample_rate_hz=22_050, window_s=2.7),
        front_end=WaveformFrontEndConfig(),
        audio_tower=SampleCnnTowerConfig(),
        loss=LossConfig(weights=LossWeightsConfig(contrastive=0, semisupcon=1)),
        batch=BatchConfig(micro_batches=2, pairs_per_micro_batch=48),
        optim=OptimConfig(lr=1e-4, decay_factor=1, max_grad_norm=0),
        train=TrainConfig(
            steps=200_000,
            precision="bf16",
            zero_stage=1,
            checkpoint_every_steps=500,
            validate_every_steps=2000,
            validation_micro_batches=16,
        ),
        scale=ScaleConfig(workers=1, use_gpu=True, cpus_per_worker=1, data_cpus=8),
    )


def mulan_semi() -> Recipe:
    """M-Resnet-50 whose audio tower is also trained to match views of a recording and recordings with shared labels.

    Both terms use the same forward pass of the tower, over twice as many windows as in ``m_resnet50``; the cross-modal
    term uses a recording's first view, augmented like the others. Labels are AudioSet's, where a recording has them.
    The weight is that of the audio term in MusCALL (Manco et al. 2022, "Contrastive audio-language learning for
    music"); at weight 0 the recipe equals ``m_resnet50``.
    """
    return m_resnet50().replace(
        loss=LossConfig(weights=LossWeightsConfig(contrastive=1, semisupcon=0.3)),
        semisupcon=SemiSupConConfig(tag_prefix="audioset:", labelled_share="as_found"),
    )
