"""Tests all losses of pairs against loops over their formulas, in tiles and over processes, and their memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mulan.benchmarks.baselines import untiled_loss
from mulan.objectives import tiles
from mulan.objectives.pairs import Pairs, Repulsion, anchor_gradient
from mulan.objectives.siglip import _terms
from mulan.objectives.tiles import log_sums
from tests.objectives.pair_losses import (
    BIAS,
    LOSSES,
    TOLERANCE,
    Loss,
    Result,
    errors,
    the_formula,
    unit_rows,
    with_gradients,
)
from tests.processes import run_in_processes

NAMES = list(LOSSES)


def untiled(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor, _: torch.Tensor, texts: torch.Tensor | None
) -> torch.Tensor:
    return untiled_loss(audio, text, temperature, texts)


def equal_texts(count: int) -> torch.Tensor:
    """Returns ids of texts, of which two thirds occur several times."""
    return torch.tensor([number if number % 3 == 0 else -(number % 2) - 1 for number in range(count)])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("pairs", "temperature"), [(2, 0.5), (3, 0.5), (7, 1.0), (16, 0.1), (16, 0.03)])
@pytest.mark.parametrize("tile", [1, 3, 5, 1024])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradients_are_those_of_the_formula(
    name: str, pairs: int, temperature: float, tile: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    # both sides use the same numbers, which float32 can represent
    audio, text = (unit_rows(pairs, seed=seed).float().to(dtype) for seed in (pairs, 100 + pairs))
    temperature = float(torch.tensor(temperature, dtype=torch.float32))
    ours = with_gradients(LOSSES[name], audio, text, temperature)
    reference = with_gradients(the_formula(name), audio.double(), text.double(), temperature)
    assert ours.value.dtype == dtype
    assert max(errors(ours, reference)) < TOLERANCE[dtype]


@pytest.mark.parametrize("tile", [1, 3, 5, 1024])
@pytest.mark.parametrize("name", NAMES)
def test_equal_texts_are_no_negatives(name: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    audio, text, texts = unit_rows(16, seed=1), unit_rows(16, seed=2), equal_texts(16)
    ours = with_gradients(LOSSES[name], audio, text, 0.1, texts)
    reference = with_gradients(the_formula(name), audio, text, 0.1, texts)
    assert max(errors(ours, reference)) < TOLERANCE[torch.float64]
    unmasked = with_gradients(LOSSES[name], audio, text, 0.1)
    assert min(errors(unmasked, reference)[:4]) > 1e-3
    distinct = with_gradients(LOSSES[name], audio, text, 0.1, torch.arange(16) - 8)
    assert all(torch.equal(one, other) for one, other in zip(distinct, unmasked, strict=True))


@pytest.mark.parametrize("tile", [2, 1024])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_text_has_no_loss_but_that_of_pairs_alone(
    name: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    audio, text = unit_rows(5, seed=1), unit_rows(5, seed=2)
    found = with_gradients(LOSSES[name], audio, text, 0.1, torch.full((5,), 7))
    if name == "siglip":
        reference = with_gradients(the_formula(name), audio, text, 0.1, torch.full((5,), 7))
        assert max(errors(found, reference)) < TOLERANCE[torch.float64]
    else:
        assert all(not tensor.any() for tensor in found)


@pytest.mark.parametrize("texts", [None, equal_texts(6)], ids=["all", "masked"])
@pytest.mark.parametrize("temperature", [0.000_001, 0.001, 0.01])
@pytest.mark.parametrize("tile", [1, 4, 1024])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_overflows_at_a_low_temperature(
    name: str, tile: int, temperature: float, texts: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exponentials overflow float64; then the largest similarity of a sum stands for its logarithm."""
    monkeypatch.setattr(tiles, "TILE", tile)
    audio, text = unit_rows(6, seed=3).float(), unit_rows(6, seed=4).float()
    audio[0] = text[1]  # the largest possible similarity, between an audio and a text that are not a pair
    ours = with_gradients(LOSSES[name], audio, text, temperature, texts)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in ours)
    scaled = with_gradients(LOSSES[name], audio, text, temperature * 2, texts)
    if temperature < 0.001:  # the loss is proportional to the largest similarities
        assert ours.value.item() == pytest.approx(2 * scaled.value.item(), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_symmetric_in_audio_and_text(name: str) -> None:
    audio, text = unit_rows(9, seed=5), unit_rows(9, seed=6)
    one, other = with_gradients(LOSSES[name], audio, text, 0.2), with_gradients(LOSSES[name], text, audio, 0.2)
    assert max(errors(one, other._replace(audio=other.text, text=other.audio))) < 1e-14


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_embeddings_are_compared_in_float32(name: str) -> None:
    audio, text = unit_rows(9, seed=5).bfloat16(), unit_rows(9, seed=6).bfloat16()
    scalars = torch.tensor(0.05), torch.tensor(BIAS), None
    loss = LOSSES[name](audio, text, *scalars)
    assert loss.dtype == torch.float32
    assert loss.item() == LOSSES[name](audio.float(), text.float(), *scalars).item()


@pytest.mark.parametrize("name", NAMES)
def test_a_factor_of_the_loss_scales_the_gradients(name: str) -> None:
    audio, text = unit_rows(5, seed=9), unit_rows(5, seed=10)
    once = with_gradients(LOSSES[name], audio, text, 0.1)
    thrice = with_gradients(lambda *rows: 3 * LOSSES[name](*rows), audio, text, 0.1)
    assert max(errors(thrice, Result(*(3 * tensor for tensor in once)))) < TOLERANCE[torch.float64]


@pytest.mark.parametrize("name", NAMES)
def test_scalars_may_be_plain_numbers(name: str) -> None:
    audio, text = unit_rows(5, seed=9).float(), unit_rows(5, seed=10).float()
    numbers = LOSSES[name](audio, text, 0.1, BIAS, None)  # type: ignore[arg-type]
    assert torch.equal(numbers, LOSSES[name](audio, text, torch.tensor(0.1), torch.tensor(BIAS), None))


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name: str) -> None:
    audio, text = unit_rows(32, seed=9).float(), unit_rows(32, seed=10).float()
    plain = with_gradients(LOSSES[name], audio, text, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = with_gradients(LOSSES[name], audio, text, 0.1)
        wrong = with_gradients(untiled, audio, text, 0.1)
    assert all(torch.equal(one, other) for one, other in zip(under_autocast, plain, strict=True))
    assert name != "contrastive" or min(errors(wrong, plain)[:4]) > 100 * TOLERANCE[torch.float32]


class OperationRecorder(TorchDispatchMode):
    """Records all operations, and the number of elements of the largest storage of a result."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()
        self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations.add(function.name().partition(".")[0])
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.itemsize)
        return result


WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select"}
"""Operations that synchronise the host with the device."""

DIM, TILE = 8, 16


def largest_and_operations(loss: Loss, pairs: int) -> tuple[int, set[str]]:
    """Returns the largest storage and the operations of forward and backward on this process's share of a batch."""
    tiles.TILE = TILE
    share = pairs // (dist.get_world_size() if dist.is_initialized() else 1)
    rows = unit_rows(share, seed=1, dim=DIM).float(), unit_rows(share, seed=2, dim=DIM).float()
    with OperationRecorder() as watch:
        with_gradients(loss, *rows, 0.1, equal_texts(share))
    return watch.largest, watch.operations


@pytest.mark.parametrize("pairs", [128, 200, 256, 512])
@pytest.mark.parametrize("name", NAMES)
def test_the_largest_tensor_has_the_size_of_the_embeddings(
    name: str, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", TILE)
    largest, operations = largest_and_operations(LOSSES[name], pairs)
    assert largest == pairs * DIM
    assert not operations & WAITS
    assert largest_and_operations(untiled, pairs)[0] == pairs**2


@pytest.mark.parametrize("name", NAMES)
def test_does_not_synchronise_with_the_device(name: str) -> None:
    """Fake tensors have no values, and raise if one is read."""
    loss = LOSSES[name]
    with FakeTensorMode(), torch.device("cpu"):
        audio, text = (torch.empty(50, DIM) for _ in range(2))
        with_gradients(loss, audio, text, 0.1, torch.zeros(50, dtype=torch.int64))
        loss(audio, text, 0.1, 1.0, None)  # type: ignore[arg-type]
        with pytest.raises(DataDependentOutputException):
            with_gradients(lambda *rows: loss(*rows) * loss(*rows).item(), audio, text, 0.1)


CASES = [(name, masked, tile) for name in NAMES for masked in (False, True) for tile in (2, 5, 1024)]
"""Name of a loss, whether equal texts are masked, and size of the tiles."""


def sharded(audio: torch.Tensor, text: torch.Tensor, temperature: float) -> list[Result]:
    """Returns the results of one process for its consecutive share of the rows, for each case."""
    share = len(audio) // dist.get_world_size()
    mine = slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)
    results = []
    for name, masked, tiles.TILE in CASES:
        texts = equal_texts(len(audio))[mine] if masked else None
        results.append(with_gradients(LOSSES[name], audio[mine], text[mine], temperature, texts))
    return results


def together(ranks: list[Result]) -> list[Result]:
    """Returns the results of each rank with the concatenated gradients; those of scalars are each rank's own."""
    audio, text = torch.cat([rank.audio for rank in ranks]), torch.cat([rank.text for rank in ranks])
    return [rank._replace(audio=audio, text=text) for rank in ranks]


@pytest.mark.processes
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_processes_share_the_loss_of_one(workers: int, dtype: torch.dtype, tmp_path: Path) -> None:
    audio, text = (unit_rows(12, seed=seed).float().to(dtype) for seed in (7, 8))
    ranks: list[list[Result]] = run_in_processes(sharded, workers, audio, text, 0.125, folder=tmp_path)
    for (name, masked, _), of_a_case in zip(CASES, zip(*ranks, strict=True), strict=True):
        texts = equal_texts(12) if masked else None
        reference = with_gradients(the_formula(name), audio.double(), text.double(), 0.125, texts)
        assert all(max(errors(one, reference)) < TOLERANCE[dtype] for one in together(list(of_a_case)))
        assert len({(one.value.item(), one.temperature.item(), one.bias.item()) for one in of_a_case}) == 1
        swapped = together([one._replace(audio=one.text, text=one.audio) for one in of_a_case])
        assert max(errors(swapped[0], reference)) > 0.1


@pytest.mark.processes
def test_gradients_have_the_same_bits_on_any_number_of_processes(tmp_path: Path) -> None:
    audio, text = (unit_rows(64, seed=seed, dim=128).float() for seed in (7, 8))
    found = []
    for workers in (1, 2, 4):
        ranks = run_in_processes(sharded, workers, audio, text, 0.05, folder=tmp_path / str(workers))
        found.append([together(list(of_a_case))[0] for of_a_case in zip(*ranks, strict=True)])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            assert all(torch.equal(*tensors) for tensors in zip(one, same, strict=True))


def by_parts(audio: torch.Tensor, text: torch.Tensor, rows: int) -> list[torch.Tensor]:
    """Computes sums and gradients as processes with this number of rows each would."""
    temperature, bias, of_pair = torch.tensor(0.07), torch.tensor(-12.0), torch.ones((), dtype=torch.float64)
    texts, shares = equal_texts(len(audio)), [slice(at, at + rows) for at in range(0, len(audio), rows)]
    parts = [Pairs(audio[own], text[own], temperature, texts, own) for own in shares]
    negatives = torch.cat([log_sums(audio[own], text, temperature, own=own, texts=texts)[0] for own in shares])
    of_siglip = torch.cat([_terms(part, text, bias) for part in parts])

    def softmax(tile: tiles.Tile, rows: slice) -> torch.Tensor:
        return tiles.repulsion(tile, negatives[rows], negatives[tile.columns])

    def sigmoid(tile: tiles.Tile, _: slice) -> torch.Tensor:
        return torch.sigmoid(tile.similarity + bias)

    def gradients(repulsion: Repulsion, attraction: torch.Tensor) -> list[torch.Tensor]:
        found = [anchor_gradient(part, text, repulsion, attraction, of_pair) for part in parts]
        return [torch.cat(of_all) for of_all in zip(*found, strict=True)]

    return [
        negatives,
        of_siglip,
        *gradients(softmax, torch.ones_like(negatives)),
        *gradients(sigmoid, of_siglip[:, 1].contiguous()),
    ]


@pytest.mark.parametrize("tile", [7, 512])
def test_few_rows_of_nearly_the_same_embeddings_have_the_same_bits(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start of training, for example, gradients are the remainders of products that nearly cancel."""
    monkeypatch.setattr(tiles, "TILE", tile)
    for seed in range(20):
        torch.manual_seed(seed)
        centre = torch.randn(64)
        audio, text = (torch.nn.functional.normalize(centre + 1e-4 * torch.randn(24, 64)) for _ in range(2))
        together = by_parts(audio, text, 24)
        for rows in (1, 2, 3, 12):
            apart = by_parts(audio, text, rows)
            assert all(torch.equal(one, other) for one, other in zip(together, apart, strict=True))


def largest_and_operations_of_all(pairs: int) -> dict[str, tuple[int, set[str]]]:
    found = {name: largest_and_operations(loss, pairs) for name, loss in LOSSES.items()}
    return found | {"untiled": largest_and_operations(untiled, pairs)}


@pytest.mark.processes
def test_a_process_holds_all_embeddings_and_does_not_synchronise(tmp_path: Path) -> None:
    pairs = 512
    for found in run_in_processes(largest_and_operations_of_all, 2, pairs, folder=tmp_path):
        assert found.pop("untiled")[0] == pairs * pairs // 2
        assert set(found) == set(NAMES)
        for largest, operations in found.values():
            assert largest == pairs * DIM
            assert not operations & WAITS
            assert any(name.startswith("c10d::") for name in operations)


@pytest.mark.parametrize("name", NAMES)
def test_rows_need_not_be_contiguous(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of one window of several, for example, are not contiguous in the embeddings of a batch."""
    monkeypatch.setattr(tiles, "TILE", 2)
    audio, text = unit_rows(5, seed=9), unit_rows(5, seed=10)
    apart = torch.stack((audio, text), dim=1)
    found = with_gradients(LOSSES[name], apart[:, 0], apart[:, 1], 0.1)
    contiguous = with_gradients(LOSSES[name], audio, text, 0.1)
    assert all(torch.equal(one, other) for one, other in zip(found, contiguous, strict=True))
