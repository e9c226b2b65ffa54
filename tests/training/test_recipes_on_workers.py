"""Tests that the results of a recipe are bitwise independent of the number of workers and the ZeRO stage.

Every recipe is trained at one layout, and every layout is used by about two recipes. All recipes are trained longer and
at all layouts in test_recipes_at_all_layouts.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mulan.recipes.registry import named_recipes
from tests.model.audio_checkpoints import RATES_HZ, WINDOW_S, save_checkpoint
from tests.training.recipe_runs import (
    MICRO_BATCHES,
    RECIPES,
    Layout,
    Trained,
    assert_same_run,
    recipe,
    train_in_processes,
)
from tests.training.same import differing, losses

pytestmark = pytest.mark.processes
STEPS = 4
LAYOUTS = tuple((workers, stage) for workers in (2, 4) for stage in range(4))

THREE = "m_resnet50_miniature"
"""Recipe for three workers and six micro-batches, which are not powers of two and divide no tensor size."""
AVERAGED = ("optim.ema_decay=0.7",)
"""Settings of these runs, whose averages are compared, too."""
IN_THREE = {"whole": (1, 0), "shards": (3, 1), "sharded weights": (3, 3)}
LOSSES = {
    "siglip": ["loss.weights.contrastive=0", "loss.weights.siglip=1", "loss.mask_equal_texts=true"],
    "softmax": ["loss.weights.clip=1", "loss.weights.decoupled=0.5", "loss.mask_equal_texts=true"],
}
"""Further losses of pairs, with the settings by which ``demo`` is trained with them."""
OF_LOSSES = {"siglip": (2, 3), "softmax": (4, 2)}


class Checkpoint(NamedTuple):
    """A recipe whose audio tower is a pretrained encoder."""

    kind: str
    sizes: dict[str, Any]
    """Sizes with which a matrix has more than 100,000 parameters, so that DeepSpeed shards it at stage 3."""
    settings: tuple[str, ...]
    layout: Layout


CHECKPOINTS = {
    "hubert": Checkpoint("hubert", {"intermediate_size": 6400}, ("audio_tower.layers=weighted",), (2, 3)),
    "hubert_large": Checkpoint("hubert_large", {}, (), (2, 2)),
    "frozen whisper": Checkpoint(
        "whisper",
        {"encoder_ffn_dim": 6400},
        ("audio_tower.layers=weighted", "audio_tower.frozen=true"),
        (2, 3),
    ),
    "clap": Checkpoint("clap", {"mlp_ratio": 1600.0}, (), (4, 3)),
    "frozen clap": Checkpoint("clap_fused", {}, ("audio_tower.frozen=true",), (2, 1)),
    "ast": Checkpoint("ast", {"intermediate_size": 6400}, ("audio_tower.layers=weighted",), (4, 3)),
}
"""Recipes with pretrained audio encoders by name."""


def checkpoint_settings(name: str, folder: Path) -> tuple[str, ...]:
    """Saves the checkpoint of a recipe, and returns the recipe's settings."""
    kind, sizes, settings, _ = CHECKPOINTS[name]
    spec = save_checkpoint(kind, folder / name, **sizes)
    return (
        *("front_end.family=pretrained", "audio_tower.family=pretrained", f"audio_tower.pretrained='{spec}'"),
        *(f"data.window_s={WINDOW_S}", f"data.sample_rate_hz={RATES_HZ[kind]}", *settings),
    )


def layout(name: str) -> Layout:
    return CHECKPOINTS[name].layout if name in CHECKPOINTS else LAYOUTS[RECIPES.index(name) % len(LAYOUTS)]


Runs = dict[tuple[str, Layout, int], list[Trained]]
"""Results of all processes by recipe, layout and number of micro-batches."""


@pytest.fixture(scope="module")
def runs(tiny_corpus_with_unfiltered_texts: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All runs with the same number of workers share processes, since starting them takes longer than training."""
    places = [(name, (1, 0), MICRO_BATCHES) for name in RECIPES]
    places += [(name, layout(name), MICRO_BATCHES) for name in RECIPES]
    places += [(THREE, where, 6) for where in IN_THREE.values()]
    places += [(name, where, MICRO_BATCHES) for name in LOSSES for where in ((1, 0), OF_LOSSES[name])]
    places += [(name, where, MICRO_BATCHES) for name in CHECKPOINTS for where in ((1, 0), layout(name))]
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    demo = LOSSES | {name: checkpoint_settings(name, checkpoints) for name in CHECKPOINTS}
    found: Runs = {}
    for count in (1, 2, 3, 4):
        recipes = {
            (name, (workers, stage), micro_batches): recipe(
                "demo_miniature" if name in demo else name,
                tiny_corpus_with_unfiltered_texts,
                bert=narrow_bert,
                stage=stage,
                steps=STEPS,
                micro_batches=micro_batches,
                settings=AVERAGED if micro_batches == 6 else demo.get(name, ()),
            )
            for name, (workers, stage), micro_batches in places
            if workers == count
        }
        found |= train_in_processes(count, recipes, tmp_path_factory.mktemp("runs"))  # type: ignore[arg-type]
    return found


def alone(name: str, runs: Runs) -> Trained:
    (only,) = runs[name, (1, 0), MICRO_BATCHES]
    return only


@pytest.mark.parametrize("name", [*RECIPES, *CHECKPOINTS])
def test_workers_and_stages_train_the_same_model(name: str, runs: Runs) -> None:
    ranks = runs[name, layout(name), MICRO_BATCHES]
    assert [line["step"] for line in alone(name, runs).lines] == list(range(1, STEPS + 1))
    assert len(ranks) == layout(name)[0]
    assert_same_run(ranks, alone(name, runs), where=f"{layout(name)}")


@pytest.mark.parametrize("name", LOSSES)
def test_workers_and_stages_train_the_same_model_with_other_losses(name: str, runs: Runs) -> None:
    ranks = runs[name, OF_LOSSES[name], MICRO_BATCHES]
    assert len(ranks) == OF_LOSSES[name][0]
    assert_same_run(ranks, alone(name, runs), where=f"{OF_LOSSES[name]}")
    assert alone(name, runs).still == []
    curves = {tuple(losses(alone(other, runs).lines)) for other in ("demo_miniature", *LOSSES)}
    assert len(curves) == 1 + len(LOSSES)


@pytest.mark.parametrize("where", ["shards", "sharded weights"])
def test_three_workers_train_the_same_model(where: str, runs: Runs) -> None:
    (whole,) = runs[THREE, IN_THREE["whole"], 6]
    weights = {name: digest for name, digest in whole.digests.items() if not name.startswith("ema.")}
    assert len(weights) < len(whole.digests)
    assert differing(weights, alone(THREE, runs).digests) != []
    ranks = runs[THREE, IN_THREE[where], 6]
    assert len(ranks) == 3
    assert_same_run(ranks, whole, where=where)


@pytest.mark.parametrize("name", [*RECIPES, *CHECKPOINTS])
def test_every_trained_tensor_has_a_gradient(name: str, runs: Runs) -> None:
    """Otherwise the comparison would compare models that hardly change."""
    assert len(alone(name, runs).sizes) > 5
    assert alone(name, runs).still == []


@pytest.mark.parametrize("name", [name for name in RECIPES if named_recipes()[name].loss.weights.uses_text])
def test_trained_weights_are_large_enough_to_be_sharded(name: str, runs: Runs) -> None:
    """At stage 3, DeepSpeed replicates tensors of up to 100,000 elements on every worker."""
    assert max(alone(name, runs).sizes.values()) > 100_000


def test_all_recipes_differ(runs: Runs) -> None:
    """Otherwise the comparisons above would cover fewer recipes than they seem to."""
    assert len({tuple(losses(alone(name, runs).lines)) for name in RECIPES}) == len(RECIPES)


def test_every_layout_is_used() -> None:
    assert {layout(name) for name in RECIPES} == set(LAYOUTS)
