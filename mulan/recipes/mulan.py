"""MuLan at the paper's size: M-Resnet-50, M-AST, their text ablations, and the pretraining on AudioSet.

Section numbers refer to Huang et al. 2022. The batch sizes, the length of texts (512 tokens), the number of mel
channels and the initial temperature (0.1) are those of published summaries of the paper. Its initial learning rates,
one for each model (§4), are in none that we know: 1e-4 is our choice, as are the half of it for pretrained weights and
the clipping of gradients, which the paper does not mention. Where the paper states nothing, the docstring of the field
in :mod:`mulan.config`, or of the function here, gives the source of the value.
"""

from mulan.config.audio import AstTowerConfig, KaldiFrontEndConfig, ResNetTowerConfig, VggishFrontEndConfig
from mulan.config.objectives import LossConfig, LossWeightsConfig, TaggingConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import (
    BatchConfig,
    DataConfig,
    OptimConfig,
    ScaleConfig,
    SourceRatioConfig,
    TextTowerConfig,
    TrainConfig,
)

BERT = "hub:google-bert/bert-base-uncased"
AST_ON_AUDIOSET = "hub:MIT/ast-finetuned-audioset-10-10-0.4593"

RECORDINGS = 44_000_000
"""Number of clips after filtering (§3.4); an epoch is this many pairs of any source."""
EPOCHS = 14
AUDIOSET_RECORDINGS = 2_000_000

TEXT_ABLATIONS = {
    "aset": SourceRatioConfig(short_form=0, long_form=0, playlist=0),
    "aset_sf": SourceRatioConfig(long_form=0, playlist=0),
    "aset_sf_lf": SourceRatioConfig(playlist=0),
    "unfiltered": SourceRatioConfig(short_form=0, long_form=0, short_form_unfiltered=2, long_form_unfiltered=2),
}
"""The text ablations of table 4b. The remaining sources keep their proportions; the full recipe uses all of them."""


def m_resnet50() -> Recipe:
    """M-Resnet-50 with all texts: batches of 6,144 pairs, and 14 epochs (§4).

    An epoch is taken to be 44 M pairs of any source, so that 14 of them are 616 M pairs. A recording with long-form
    texts (6.8 M, §3.4) is then met 30 times for these, one of AudioSet (2 M) 51 times, one in playlists (18 M) 5.7
    times, and one with short-form texts 4.7 times if all 44 M have some.

    The paper pretrains the audio tower on AudioSet (§3.2): name the model that a run of :func:`m_resnet50_audioset` has
    exported in ``audio_tower.pretrained``. Without it the tower starts from random weights, which the run's events and
    report say.

    SpecAugment's masks have the maximum widths of AST (§3.2), although AST has 128 mel channels and this network 64.

    The batch consists of 128 micro-batches of 48 pairs, so 8, 16, 32, 64 or 128 workers can share it evenly.

    Memory of one GPU, calculated for bf16: 133 M parameters in float32, their gradients, the exact sums of these in
    float64 and Adam's two moments take 24 bytes per parameter, 3.2 GB. Activations are those of one micro-batch of 48
    pairs, for any batch size: 0.22 GB per window of 10 s and 0.21 GB per text of 512 tokens
    (:mod:`mulan.benchmarks.memory` counts them; groups of shorter texts need less), at most 21 GB. The waveforms of the
    batch take 2.0 GB in int16. The loss holds two embeddings of 128 values per pair and their gradients, 13 MB, and
    tiles. The step therefore fits a GPU of 40 GB; more GPUs only reduce the time.
    """
    return Recipe(
        front_end=VggishFrontEndConfig(frequency_mask_bins=48, time_mask_frames=192),
        audio_tower=ResNetTowerConfig(expects_pretrained=True),
        text_tower=TextTowerConfig(pretrained=BERT, length_groups=4),
        batch=BatchConfig(micro_batches=128, pairs_per_micro_batch=48),
        optim=OptimConfig(lr=1e-4, pretrained_lr_scale=0.5),
        train=_train(pairs=6144, validation_micro_batches=128),
        scale=_SCALE,
    )


def m_ast() -> Recipe:
    """M-AST with all texts: batches of 5,120 pairs, and 14 epochs (§4) from the public AudioSet checkpoint (§3.2).

    The batch consists of 128 micro-batches of 40 pairs.

    Memory of one GPU, calculated for bf16 as for :func:`m_resnet50`: 195 M parameters at 24 bytes, 4.7 GB; a
    micro-batch of 40 windows (1,190 tokens, 0.44 GB each) and 40 texts of 512 tokens (0.21 GB each), at most 26 GB;
    waveforms, 1.6 GB; the loss, 10 MB and tiles. The step therefore fits a GPU of 40 GB.
    """
    return m_resnet50().replace(
        front_end=KaldiFrontEndConfig(),
        audio_tower=AstTowerConfig(pretrained=AST_ON_AUDIOSET, expects_pretrained=True),
        batch=BatchConfig(micro_batches=128, pairs_per_micro_batch=40),
        train=_train(pairs=5120, validation_micro_batches=128),
    )


def m_resnet50_audioset() -> Recipe:
    """Pretraining of M-Resnet-50: logistic regression over AudioSet's 527 classes (§3.2).

    A run of ``m_resnet50`` starts from its trunk with ``--set audio_tower.pretrained=STORAGE/RUN/model``. The paper
    gives no details; the values are those of PSLA's code for the full AudioSet (Gong et al. 2021b): batches of 100, 30
    epochs, and Adam with a first decay rate of 0.95 and a learning rate of 1e-4, reached in 1,000 steps and halved
    after epochs 10, 15, 20 and 25. Like PSLA, it does not clip gradients. Of PSLA it lacks class-balanced sampling,
    mixup, pretraining on ImageNet, the average of the weights of epochs 16 to 30, and a weight decay of 5e-7.

    The batch consists of 4 micro-batches of 25, so at most 4 workers can share it. Batch norm normalises each
    micro-batch by its own statistics, as on PSLA's 4 GPUs.
    """
    pairs, epochs = 100, 30
    five_epochs = 5 * AUDIOSET_RECORDINGS // pairs
    return m_resnet50().replace(
        data=DataConfig(source_ratio=TEXT_ABLATIONS["aset"]),
        audio_tower=ResNetTowerConfig(),
        text_tower=TextTowerConfig(),
        loss=LossConfig(weights=LossWeightsConfig(contrastive=0, tagging=1)),
        tagging=TaggingConfig(),
        batch=BatchConfig(micro_batches=4, pairs_per_micro_batch=25),
        optim=OptimConfig(
            lr=1e-4,
            beta1=0.95,
            warmup_steps=1000,
            decay_factor=0.5,
            decay_start_step=five_epochs,
            decay_every_steps=five_epochs,
            max_grad_norm=0,
        ),
        train=_train(pairs=pairs, recordings=AUDIOSET_RECORDINGS, epochs=epochs, validation_micro_batches=80),
    )


def with_texts(recipe: Recipe, ratio: SourceRatioConfig) -> Recipe:
    """Returns the recipe with a different ratio of text sources."""
    return recipe.replace({"data.source_ratio": ratio})


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
