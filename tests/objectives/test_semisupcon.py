"""Tests SemiSupCon's loss against float64 loops over the formula, on one process and on several."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mulan.config.objectives import SemiSupConConfig
from mulan.objectives import tiles
from mulan.objectives.semisupcon import Labels, semisupcon_loss
from tests.processes import run_in_processes

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
NO_TAGS: tuple[set[int], ...] = (set(),) * 6
TAGS: tuple[set[int], ...] = ({0, 1, 2}, {1, 2}, set(), {2, 3}, {4}, {0, 1, 2, 3})
"""Returns the labels of six recordings; the third is unlabelled, and the fifth shares no tag."""
CLASSES = 5


class Result(NamedTuple):
    value: torch.Tensor
    gradient: torch.Tensor


def unit_views(recordings: int, views: int = 2, *, seed: int = 0, dim: int = 7) -> torch.Tensor:
    rows = torch.randn(recordings, views, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=-1, keepdim=True)


def labels_of(tags: tuple[set[int], ...], names: tuple[int, ...] | None = None, classes: int = CLASSES) -> Labels:
    matrix = torch.tensor([[int(tag in of_one) for tag in range(classes)] for of_one in tags], dtype=torch.uint8)
    return Labels(torch.tensor(names or range(len(tags))), matrix.view(len(tags), classes))


def target(section: SemiSupConConfig, one: set[int], other: set[int]) -> float:
    shared = len(one & other)
    if shared < section.min_shared_tags:
        return 0.0
    return 1.0 if section.weighting == "equal" else 2 * shared / (len(one) + len(other))


def the_formula(
    views: torch.Tensor, tags: tuple[set[int], ...], section: SemiSupConConfig, names: tuple[int, ...] | None = None
) -> torch.Tensor:
    """Computes equation 3 of Guinot et al. 2024, one anchor and one pair at a time."""
    names = names or tuple(range(len(tags)))
    anchors = [(recording, view) for recording in range(len(views)) for view in range(views.shape[1])]
    total = torch.zeros((), dtype=torch.float64)
    for i in anchors:
        denominator = torch.zeros((), dtype=torch.float64)
        for j in anchors:
            if j != i:
                denominator = denominator + torch.exp(views[i] @ views[j] / section.temperature)
        weights, logs = 0.0, torch.zeros((), dtype=torch.float64)
        for p in anchors:
            if p == i:
                continue
            weight = 1.0 if names[p[0]] == names[i[0]] else target(section, tags[i[0]], tags[p[0]])
            logs = logs + weight * torch.log(torch.exp(views[i] @ views[p] / section.temperature) / denominator)
            weights += weight
        total = total - logs / weights
    return total / len(anchors)


def differentiated(value: torch.Tensor, views: torch.Tensor) -> Result:
    value.backward()
    assert views.grad is not None
    return Result(value.detach(), views.grad)


def tiled(views: torch.Tensor, labels: Labels, section: SemiSupConConfig) -> Result:
    leaf = views.clone().requires_grad_()
    return differentiated(semisupcon_loss(leaf, labels, section), leaf)


def reference(
    views: torch.Tensor, tags: tuple[set[int], ...], section: SemiSupConConfig, names: tuple[int, ...] | None = None
) -> Result:
    leaf = views.double().clone().requires_grad_()
    return differentiated(the_formula(leaf, tags, section, names), leaf)


def error(one: Result, other: Result) -> float:
    """Returns the larger of the relative errors of value and gradient."""
    found = [(a.double() - b.double()).norm() / b.double().norm() for a, b in zip(one, other, strict=True)]
    return max(float(part) for part in found)


SECTIONS = [
    SemiSupConConfig(),
    SemiSupConConfig(temperature=0.5, weighting="dice"),
    SemiSupConConfig(min_shared_tags=2),
    SemiSupConConfig(min_shared_tags=2, weighting="dice"),
    SemiSupConConfig(min_shared_tags=6),
]


@pytest.mark.parametrize("tile", [1, 3, 512])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"{s.weighting} from {s.min_shared_tags}")
def test_value_and_gradient_are_those_of_the_formula(
    section: SemiSupConConfig, dtype: torch.dtype, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    views = unit_views(6, 3 if tile == 3 else 2).to(dtype)
    assert error(tiled(views, labels_of(TAGS), section), reference(views, TAGS, section)) < TOLERANCE[dtype]


def test_variants_differ() -> None:
    """Otherwise the comparisons above would cover fewer variants than they seem to."""
    values = {float(tiled(unit_views(6), labels_of(TAGS), section).value) for section in SECTIONS}
    assert len(values) == len(SECTIONS)


@pytest.mark.parametrize("classes", [CLASSES, 0])
def test_without_tags_the_positives_are_views_of_the_same_recording(classes: int) -> None:
    views, section = unit_views(6), SemiSupConConfig()
    labels = labels_of(NO_TAGS, classes=classes)
    assert error(tiled(views, labels, section), reference(views, NO_TAGS, section)) < 1e-12
    # Chen et al. 2020: classification of the other view among all views
    rows = views.flatten(0, 1)
    similarity = (rows @ rows.T / section.temperature).fill_diagonal_(-torch.inf)
    other = torch.arange(12).view(6, 2).flip(1).flatten()
    expected = torch.nn.functional.cross_entropy(similarity, other)
    assert semisupcon_loss(views, labels, section).item() == pytest.approx(expected.item(), rel=1e-12)


def test_an_unlabelled_recording_is_a_negative_of_all_others() -> None:
    views, section = unit_views(6, seed=3), SemiSupConConfig()
    gradient = tiled(views, labels_of(TAGS), section).gradient
    alone = views.clone()
    alone[2] = views[0]  # the unlabelled one is identical to a labelled one
    pulled = tiled(alone, labels_of(TAGS), section).gradient
    assert float((pulled[2] * alone[2]).sum()) > float((gradient[2] * views[2]).sum())


def test_the_same_recording_twice_is_a_positive_of_itself() -> None:
    views, names, section = unit_views(6), (0, 1, 2, 2, 4, 0), SemiSupConConfig()
    found = tiled(views, labels_of(NO_TAGS, names), section)
    assert error(found, reference(views, NO_TAGS, section, names)) < 1e-12
    assert abs(float(found.value - reference(views, NO_TAGS, section).value)) > 1e-3


def test_one_recording_alone_has_nothing_to_learn() -> None:
    found = tiled(unit_views(1), labels_of(({0},)), SemiSupConConfig())
    assert found.value.item() == pytest.approx(0, abs=1e-12)
    assert found.gradient.norm() < 1e-12


def test_equal_views_have_the_value_of_chance() -> None:
    views = torch.ones(8, 2, 4, dtype=torch.float64) / 2
    assert semisupcon_loss(views, labels_of((set(),) * 8), SemiSupConConfig()).item() == pytest.approx(math.log(15))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_extreme_similarities_do_not_overflow(dtype: torch.dtype) -> None:
    section = SemiSupConConfig(temperature=0.004)  # exponents up to 250; in float32, exp overflows at 89
    views = unit_views(6).to(dtype)
    views[1], views[4, 0] = views[0], -views[3, 0]
    found = tiled(views, labels_of(TAGS), section)
    assert all(torch.isfinite(part).all() for part in found)
    assert error(found, reference(views, TAGS, section)) < TOLERANCE[dtype] * 100


def test_a_factor_reaches_the_gradient_and_autocast_changes_nothing() -> None:
    views, labels = unit_views(6).float(), labels_of(TAGS)
    leaf = views.clone().requires_grad_()
    thrice = differentiated(3 * semisupcon_loss(leaf, labels, SemiSupConConfig()), leaf)
    once = tiled(views, labels, SemiSupConConfig())
    torch.testing.assert_close(thrice.gradient, 3 * once.gradient)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = tiled(views, labels, SemiSupConConfig())
    assert torch.equal(under_autocast.gradient, once.gradient)


class LargestStorage(TorchDispatchMode):
    """Records the number of elements of the largest storage."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(named or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // tensor.itemsize)
        return result


@pytest.mark.parametrize("recordings", [64, 128])
def test_memory_grows_with_the_batch_and_not_with_its_square(recordings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", 8)
    tags = tuple({number % CLASSES} for number in range(recordings))
    with LargestStorage() as largest:
        tiled(unit_views(recordings).float(), labels_of(tags), SemiSupConConfig(weighting="dice"))
    assert largest.numbers == recordings * 2 * 7  # embeddings


def test_does_not_synchronise_with_the_device() -> None:
    """Fake tensors have no values, and raise if one is read."""
    with FakeTensorMode(), torch.device("cpu"):
        labels = Labels(torch.empty(20, dtype=torch.int64), torch.empty(20, CLASSES, dtype=torch.uint8))
        for weighting in ("equal", "dice"):
            tiled(torch.empty(20, 2, 7), labels, SemiSupConConfig(weighting=weighting))


TILES = (3, 512)


def sharded(views: torch.Tensor, names: tuple[int, ...]) -> list[Result]:
    """Returns the results of one process for its consecutive share of the recordings, by section and tile size."""
    share = len(views) // dist.get_world_size()
    mine = slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)
    labels = labels_of(TAGS, names)
    own = Labels(labels.recordings[mine], labels.tags[mine])
    results = []
    for section in SECTIONS:
        for tiles.TILE in TILES:
            results.append(tiled(views[mine], own, section))
    return results


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_share_the_loss_of_one(workers: int, tmp_path: Path) -> None:
    views, names = unit_views(6, seed=5), (0, 1, 2, 3, 1, 5)
    ranks: list[list[Result]] = run_in_processes(sharded, workers, views, names, folder=tmp_path)
    expected = [reference(views, TAGS, section, names) for section in SECTIONS for _ in TILES]
    for of_a_case, one in zip(zip(*ranks, strict=True), expected, strict=True):
        assert len({float(rank.value) for rank in of_a_case}) == 1
        together = Result(of_a_case[0].value, torch.cat([rank.gradient for rank in of_a_case]))
        assert error(together, one) < 1e-12
