"""MuLan at the paper's size: M-Resnet-50, M-AST, their text ablations, and the pretraining on AudioSet.

Section numbers are those of Huang et al. 2022. What the paper does not say is a field of the recipe, whose docstring in
:mod:`mulan.config.sections`, or the function here, says where the value comes from.
"""

from mulan.config.recipe import Recipe
from mulan.config.sections import (
    AstTower,
    Batch,
    Data,
    KaldiFrontEnd,
    Loss,
    LossWeights,
    Optim,
    ResNetTower,
    Scale,
    SourceRatio,
    Tagging,
    TextTower,
    Train,
    VggishFrontEnd,
)

BERT = "hub:google-bert/bert-base-uncased"
AST_ON_AUDIOSET = "hub:MIT/ast-finetuned-audioset-10-10-0.4593"

RECORDINGS = 44_000_000
"""Clips after filtering (§3.4); an epoch is that many pairs, whatever their source."""
EPOCHS = 14
AUDIOSET_RECORDINGS = 2_000_000

TEXT_ABLATIONS = {
    "aset": SourceRatio(short_form=0, long_form=0, playlist=0),
    "aset_sf": SourceRatio(long_form=0, playlist=0),
    "aset_sf_lf": SourceRatio(playlist=0),
    "unfiltered": SourceRatio(short_form=0, long_form=0, short_form_unfiltered=2, long_form_unfiltered=2),
}
"""Table 4b: which texts are used; the sources that are left keep their proportions. All of them is the recipe itself."""


def m_resnet50() -> Recipe:
    """M-Resnet-50 with all texts: batches of 6,144 pairs, 14 epochs (§4).

    Memory on one GPU at bf16. What a step holds besides activations: 134 M parameters in float32, their gradients and
    Adam's two moments, 16 bytes each: 2.1 GB. Activations are those of one micro-batch of 64 pairs at a time, whatever
    the batch: 64 windows of 10 s at 0.35 GB and 64 texts of 512 tokens at 0.29 GB, 41 GB at the most (shorter texts are
    padded to their group's longest only). The loss holds the embeddings of the batch, two of 128 numbers a pair, with
    their gradients, and tiles: 13 MB and a few tiles. So it fits a GPU of 80 GB, and more GPUs change only the time.
    """
    return Recipe(
        front_end=VggishFrontEnd(frequency_mask_bins=48, time_mask_frames=192),
        audio_tower=ResNetTower(),
        text_tower=TextTower(pretrained=BERT, length_groups=4),
        batch=Batch(micro_batches=96, pairs_per_micro_batch=64),
        optim=Optim(lr=1e-4, pretrained_lr_scale=0.5),
        train=_train(pairs=6144),
        scale=_SCALE,
    )


def m_ast() -> Recipe:
    """M-AST with all texts: batches of 5,120 pairs, 14 epochs, from the public AudioSet checkpoint (§3.2, §4).

    Memory on one GPU at bf16. Besides activations: 196 M parameters at 16 bytes: 3.1 GB. A micro-batch of 64 pairs: 64
    windows of 1,190 patches at 0.56 GB and 64 texts of 512 tokens at 0.29 GB, 54 GB at the most. The loss: 10 MB and a
    few tiles. So it fits a GPU of 80 GB.
    """
    return m_resnet50().model_copy(
        update={
            "front_end": KaldiFrontEnd(),
            "audio_tower": AstTower(pretrained=AST_ON_AUDIOSET),
            "batch": Batch(micro_batches=80, pairs_per_micro_batch=64),
            "train": _train(pairs=5120),
        }
    )


def m_resnet50_audioset() -> Recipe:
    """The pretraining of M-Resnet-50: logistic regression over AudioSet's 527 classes (§3.2).

    A run of ``m_resnet50`` takes its trunk: ``--set audio_tower.pretrained=STORAGE/RUN/model``. The paper gives no more;
    learning rate (Adam, 1e-3) and epochs (30 over the 2 M clips) are those of PSLA (Gong et al. 2021b) for all of
    AudioSet.
    """
    pairs = 512
    return m_resnet50().model_copy(
        update={
            "data": Data(source_ratio=TEXT_ABLATIONS["aset"]),
            "text_tower": TextTower(),
            "loss": Loss(weights=LossWeights(contrastive=0, tagging=1)),
            "tagging": Tagging(),
            "batch": Batch(micro_batches=8, pairs_per_micro_batch=64),
            "optim": Optim(lr=1e-3, warmup_steps=1000),
            "train": _train(pairs=pairs, recordings=AUDIOSET_RECORDINGS, epochs=30, validation_micro_batches=32),
        }
    )


def with_texts(recipe: Recipe, ratio: SourceRatio) -> Recipe:
    """The recipe on other text sources."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"source_ratio": ratio})})


_SCALE = Scale(workers=1, use_gpu=True, cpus_per_worker=1, data_cpus=16)


def _train(
    *, pairs: int, recordings: int = RECORDINGS, epochs: int = EPOCHS, validation_micro_batches: int = 0
) -> Train:
    return Train(
        steps=-(-epochs * recordings // pairs),
        precision="bf16",
        zero_stage=1,
        checkpoint_every_steps=500,
        validate_every_steps=2000,
        validation_micro_batches=validation_micro_batches or pairs // 64,
    )
