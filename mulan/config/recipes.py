"""The recipes known by name. Each is a function that returns the whole of it, and each has a miniature twin."""

from mulan.config.audio_sections import ResNetTower, VggishFrontEnd
from mulan.config.miniature import MINILM, miniature
from mulan.config.mulan_recipes import TEXT_ABLATIONS, m_ast, m_resnet50, m_resnet50_audioset, with_texts
from mulan.config.mulap_recipes import mulap
from mulan.config.recipe import MINIATURE, Recipe
from mulan.config.sections import Batch, Data, Optim, Scale, TextTower, Train
from mulan.config.semisupcon_recipes import mulan_semi, semisupcon


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


def named_recipes() -> dict[str, Recipe]:
    """Every recipe and, as ``NAME_miniature``, its twin."""
    whole = {
        recipe.__name__: recipe()
        for recipe in (demo, m_resnet50, m_ast, m_resnet50_audioset, mulap, semisupcon, mulan_semi)
    }
    whole |= {
        f"{name}_{texts}": with_texts(whole[name], ratio)
        for name in ("m_resnet50", "m_ast")
        for texts, ratio in TEXT_ABLATIONS.items()
    }
    return whole | {f"{name}{MINIATURE}": miniature(recipe) for name, recipe in whole.items()}
