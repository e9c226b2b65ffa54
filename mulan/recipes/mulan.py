"""MuLan at the paper's size: M-Resnet-50, M-AST, their text ablations, and the pretraining on AudioSet.

Section numbers are those of Huang et al. 2022. What the paper does not say is a field of the recipe, whose docstring in
:mod:`mulan.config.sections`, or the function here, says where the value comes from.
"""

from mulan.config.audio import AstTowerConfig, KaldiFrontEndConfig, ResNetTowerConfig, VggishFrontEndConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import (
    BatchConfig,
    DataConfig,
    LossConfig,
    LossWeightsConfig,
    OptimConfig,
    ScaleConfig,
    SourceRatioConfig,
    TaggingConfig,
    TextTowerConfig,
    TrainConfig,
)

BERT = "hub:google-bert/bert-base-uncased"
AST_ON_AUDIOSET = "hub:MIT/ast-finetuned-audioset-10-10-0.4593"

RECORDINGS = 44_000_000
"""Clips after filtering (§3.4); an epoch is that many pairs, whatever their source."""
EPOCHS = 14
AUDIOSET_RECORDINGS = 2_000_000

TEXT_ABLATIONS = {
    "aset": SourceRatioConfig(short_form=0, long_form=0, playlist=0),
    "aset_sf": SourceRatioConfig(long_form=0, playlist=0),
    "aset_sf_lf": SourceRatioConfig(playlist=0),
    "unfiltered": SourceRatioConfig(short_form=0, long_form=0, short_form_unfiltered=2, long_form_unfiltered=2),
}
"""Table 4b: which texts are used; those that are left keep their proportions. The recipe itself uses all."""


def m_resnet50() -> Recipe:
    """M-Resnet-50 with all texts: batches of 6,144 pairs, 14 epochs (§4).

    A micro-batch of 48 pairs makes 128 of them, so that 8, 16, 32, 64 or 128 workers share a batch evenly.

    Memory of one GPU, derived for bf16. Held all the time: 133 M parameters in float32, their gradients, exact sums of
    these in float64, and Adam's two moments, 24 bytes each: 3.2 GB. Activations are those of one micro-batch of 48
    pairs, whatever the batch: 0.22 GB a window of 10 s and 0.21 GB a text of 512 tokens (:mod:`mulan.benchmarks.memory`
    counts them; groups of shorter texts take less), 21 GB at the most. The waveforms of the batch lie there once, 2.0
    GB in int16. The loss holds two embeddings of 128 numbers a pair with their gradients, 13 MB, and tiles. So the step
    fits a GPU of 40 GB; more GPUs change only the time.
    """
    return Recipe(
        front_end=VggishFrontEndConfig(frequency_mask_bins=48, time_mask_frames=192),
        audio_tower=ResNetTowerConfig(),
        text_tower=TextTowerConfig(pretrained=BERT, length_groups=4),
        batch=BatchConfig(micro_batches=128, pairs_per_micro_batch=48),
        optim=OptimConfig(lr=1e-4, pretrained_lr_scale=0.5),
        train=_train(pairs=6144, validation_micro_batches=128),
        scale=_SCALE,
    )


def m_ast() -> Recipe:
    """M-AST with all texts: batches of 5,120 pairs, 14 epochs, from the public AudioSet checkpoint (§3.2, §4).

    A micro-batch of 40 pairs makes 128 of them, as for :func:`m_resnet50`.

    Memory of one GPU, derived for bf16 as for :func:`m_resnet50`: 195 M parameters at 24 bytes, 4.7 GB; a micro-batch
    of 40 windows (1,190 tokens each, 0.44 GB) and 40 texts of 512 tokens (0.21 GB), 26 GB at the most; waveforms
    1.6 GB; the loss 10 MB and tiles. So the step fits a GPU of 40 GB.
    """
    return m_resnet50().model_copy(
        update={
            "front_end": KaldiFrontEndConfig(),
            "audio_tower": AstTowerConfig(pretrained=AST_ON_AUDIOSET),
            "batch": BatchConfig(micro_batches=128, pairs_per_micro_batch=40),
            "train": _train(pairs=5120, validation_micro_batches=128),
        }
    )


def m_resnet50_audioset() -> Recipe:
    """The pretraining of M-Resnet-50: logistic regression over AudioSet's 527 classes (§3.2).

    A run of ``m_resnet50`` takes its trunk: ``--set audio_tower.pretrained=STORAGE/RUN/model``. The paper gives no
    more; the learning rate of Adam, 1e-3, and 30 epochs over 2 M clips are PSLA's for AudioSet (Gong et al. 2021b). The
    batch is our choice, and 8 workers at the most share it: more, smaller micro-batches would leave batch norm, which
    normalises each by its own statistics, few windows to take them from.
    """
    pairs = 512
    return m_resnet50().model_copy(
        update={
            "data": DataConfig(source_ratio=TEXT_ABLATIONS["aset"]),
            "text_tower": TextTowerConfig(),
            "loss": LossConfig(weights=LossWeightsConfig(contrastive=0, tagging=1)),
            "tagging": TaggingConfig(),
            "batch": BatchConfig(micro_batches=8, pairs_per_micro_batch=64),
            "optim": OptimConfig(lr=1e-3, warmup_steps=1000),
            "train": _train(pairs=pairs, recordings=AUDIOSET_RECORDINGS, epochs=30, validation_micro_batches=32),
        }
    )


def with_texts(recipe: Recipe, ratio: SourceRatioConfig) -> Recipe:
    """The recipe on other text sources."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"source_ratio": ratio})})


_SCALE = ScaleConfig(workers=1, use_gpu=True, cpus_per_worker=1, data_cpus=16)


def _train(
    *, pairs: int, validation_micro_batches: int, recordings: int = RECORDINGS, epochs: int = EPOCHS
) -> TrainConfig:
    return TrainConfig(
        steps=-(-epochs * recordings // pairs),
        precision="bf16",
        zero_stage=1,
        checkpoint_every_steps=500,
        validate_every_steps=2000,
        validation_micro_batches=validation_micro_batches,
    )
