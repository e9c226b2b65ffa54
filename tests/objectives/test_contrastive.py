"""Tests the contrastive loss against loops over its formula, in tiles and over processes, and its memory."""

import decimal
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mulan.benchmarks.baselines import untiled_loss
from mulan.objectives import tiles
from mulan.objectives.contrastive import _gradient, contrastive_loss
from mulan.objectives.tiles import log_sums
from tests.processes import run_in_processes


class Result(NamedTuple):
    """A loss and its gradients."""

    value: torch.Tensor
    audio: torch.Tensor
    text: torch.Tensor
    temperature: torch.Tensor


Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def the_formula(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """L = 1/B sum_i -log( h(a_i, t_i) / sum_{j != i} [h(a_i, t_j) + h(a_j, t_i)] ), h = exp(a . t / temperature)."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(audio)):
        positive, negatives = torch.exp(audio[i] @ text[i] / temperature), torch.zeros((), dtype=torch.float64)
        for j in range(len(audio)):
            if j != i:
                negatives = negatives + torch.exp(audio[i] @ text[j] / temperature)
                negatives = negatives + torch.exp(audio[j] @ text[i] / temperature)
        total = total - torch.log(positive / negatives)
    return total / len(audio)


def positive_in_the_denominator(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    h = torch.exp(audio @ text.T / temperature)
    return (torch.log(h.sum(0) + h.sum(1) - h.diagonal()) - torch.log(h.diagonal())).mean()


def two_logarithms_averaged(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    h = torch.exp(audio @ text.T / temperature)
    others = h - torch.diag(h.diagonal())
    return (0.5 * torch.log(others.sum(0)) + 0.5 * torch.log(others.sum(1)) - torch.log(h.diagonal())).mean()


def one_direction(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    h = torch.exp(audio @ text.T / temperature)
    return (torch.log(2 * (h.sum(1) - h.diagonal())) - torch.log(h.diagonal())).mean()


def unit_rows(count: int, *, seed: int, dim: int = 8) -> torch.Tensor:
    """Returns random unit rows, float64 [count, dim]."""
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def with_gradients(loss: Loss, audio: torch.Tensor, text: torch.Tensor, temperature: float) -> Result:
    audio, text = audio.clone().requires_grad_(), text.clone().requires_grad_()
    warmth = torch.tensor(temperature, dtype=audio.dtype, requires_grad=True)
    value = loss(audio, text, warmth)
    value.backward()
    assert audio.grad is not None
    assert text.grad is not None
    assert warmth.grad is not None
    return Result(value.detach(), audio.grad, text.grad, warmth.grad)


def errors(ours: Result, reference: Result) -> list[float]:
    """Returns the relative norm of the difference in each of the four fields."""
    return [
        float((one.double() - other.double()).norm() / other.double().norm())
        for one, other in zip(ours, reference, strict=True)
    ]


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-7}
"""In float32, the result is the exact one, rounded."""


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("pairs", "temperature"), [(2, 0.5), (3, 0.5), (7, 1.0), (16, 0.1), (16, 0.03)])
@pytest.mark.parametrize("tile", [1, 3, 5, 1024])
def test_value_and_gradients_are_those_of_the_formula(
    pairs: int, temperature: float, tile: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    # both sides use the same numbers, which float32 can represent
    audio, text = (unit_rows(pairs, seed=seed).float().to(dtype) for seed in (pairs, 100 + pairs))
    temperature = float(torch.tensor(temperature, dtype=torch.float32))
    ours = with_gradients(contrastive_loss, audio, text, temperature)
    reference = with_gradients(the_formula, audio.double(), text.double(), temperature)
    assert ours.value.dtype == dtype
    assert max(errors(ours, reference)) < TOLERANCE[dtype]


@pytest.mark.parametrize("wrong", [positive_in_the_denominator, two_logarithms_averaged, one_direction])
def test_other_contrastive_losses_are_detected(wrong: Loss) -> None:
    audio, text = unit_rows(16, seed=1), unit_rows(16, seed=2)
    reference = with_gradients(the_formula, audio, text, 0.1)
    assert min(errors(with_gradients(wrong, audio, text, 0.1), reference)) > 1000 * TOLERANCE[torch.float32]


@pytest.mark.parametrize("pairs", [2, 3, 64, 6144])
def test_equal_similarities_give_the_logarithm_of_the_number_of_negatives(pairs: int) -> None:
    rows = torch.tensor([[0.6, 0.8]]).expand(pairs, 2)
    with torch.no_grad():
        loss = contrastive_loss(rows, rows, 0.1)
    assert loss.item() == pytest.approx(math.log(2 * (pairs - 1)), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.001, 0.01])
@pytest.mark.parametrize("tile", [1, 4, 1024])
def test_nothing_overflows_at_a_low_temperature(temperature: float, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """exp(1 / 0.001) overflows float64, but not decimal numbers."""
    monkeypatch.setattr(tiles, "TILE", tile)
    audio, text = unit_rows(6, seed=3).float(), unit_rows(6, seed=4).float()
    audio[0] = text[1]  # the largest possible similarity, between an audio and a text that are not a pair
    ours = with_gradients(contrastive_loss, audio, text, temperature)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in ours)
    warmth = decimal.Decimal(float(torch.tensor(temperature)))
    h = [[(decimal.Decimal(float(a.double() @ t.double())) / warmth).exp() for t in text] for a in audio]
    total = sum((sum(h[i][j] + h[j][i] for j in range(6) if j != i) / h[i][i]).ln() for i in range(6))
    assert ours.value.item() == pytest.approx(float(total) / 6, rel=1e-6)


def test_the_loss_is_symmetric_in_audio_and_text() -> None:
    audio, text = unit_rows(9, seed=5), unit_rows(9, seed=6)
    one, other = with_gradients(contrastive_loss, audio, text, 0.2), with_gradients(contrastive_loss, text, audio, 0.2)
    assert max(errors(one, Result(other.value, other.text, other.audio, other.temperature))) < 1e-14


def test_bfloat16_embeddings_are_compared_in_float32() -> None:
    audio, text = unit_rows(9, seed=5).bfloat16(), unit_rows(9, seed=6).bfloat16()
    loss = contrastive_loss(audio, text, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == contrastive_loss(audio.float(), text.float(), 0.05).item()


def test_a_factor_of_the_loss_scales_the_gradients() -> None:
    audio, text = unit_rows(5, seed=9), unit_rows(5, seed=10)
    once = with_gradients(contrastive_loss, audio, text, 0.1)
    thrice = with_gradients(lambda *rows: 3 * contrastive_loss(*rows), audio, text, 0.1)
    assert max(errors(thrice, Result(*(3 * tensor for tensor in once)))) < TOLERANCE[torch.float64]


def test_a_temperature_may_be_a_plain_number() -> None:
    audio, text = unit_rows(5, seed=9).float(), unit_rows(5, seed=10).float()
    assert torch.equal(contrastive_loss(audio, text, 0.1), contrastive_loss(audio, text, torch.tensor(0.1)))


def test_autocast_changes_nothing() -> None:
    audio, text = unit_rows(32, seed=9).float(), unit_rows(32, seed=10).float()
    plain = with_gradients(contrastive_loss, audio, text, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = with_gradients(contrastive_loss, audio, text, 0.1)
        wrong = with_gradients(untiled_loss, audio, text, 0.1)
    assert all(torch.equal(one, other) for one, other in zip(under_autocast, plain, strict=True))
    assert min(errors(wrong, plain)) > 100 * TOLERANCE[torch.float32]


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
        with_gradients(loss, *rows, 0.1)
    return watch.largest, watch.operations


@pytest.mark.parametrize("pairs", [128, 200, 256, 512])
def test_the_largest_tensor_has_the_size_of_the_embeddings(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", TILE)
    largest, operations = largest_and_operations(contrastive_loss, pairs)
    assert largest == pairs * DIM
    assert not operations & WAITS
    assert largest_and_operations(untiled_loss, pairs)[0] == pairs**2


def test_does_not_synchronise_with_the_device() -> None:
    """Fake tensors have no values, and raise if one is read."""
    with FakeTensorMode(), torch.device("cpu"):
        audio, text = (torch.empty(50, DIM) for _ in range(2))
        with_gradients(contrastive_loss, audio, text, 0.1)
        contrastive_loss(audio, text, 0.1)
        with pytest.raises(DataDependentOutputException):
            with_gradients(lambda *rows: contrastive_loss(*rows) * contrastive_loss(*rows).item(), audio, text, 0.1)


TILES = (2, 5, 1024)


def sharded(audio: torch.Tensor, text: torch.Tensor, temperature: float) -> list[Result]:
    """Returns the results of one process for its consecutive share of the rows, for each tile size."""
    share = len(audio) // dist.get_world_size()
    mine = slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)
    results = []
    for tiles.TILE in TILES:
        results.append(with_gradients(contrastive_loss, audio[mine], text[mine], temperature))
    return results


def together(ranks: list[Result]) -> list[Result]:
    """Returns the value of each rank with the concatenated gradients; that of the temperature is each rank's own."""
    audio, text = torch.cat([rank.audio for rank in ranks]), torch.cat([rank.text for rank in ranks])
    return [Result(rank.value, audio, text, rank.temperature) for rank in ranks]


@pytest.mark.processes
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_processes_share_the_loss_of_one(workers: int, dtype: torch.dtype, tmp_path: Path) -> None:
    audio, text = (unit_rows(12, seed=seed).float().to(dtype) for seed in (7, 8))
    reference = with_gradients(the_formula, audio.double(), text.double(), 0.125)
    ranks: list[list[Result]] = run_in_processes(sharded, workers, audio, text, 0.125, folder=tmp_path)
    for of_a_tile in zip(*ranks, strict=True):
        assert all(max(errors(one, reference)) < TOLERANCE[dtype] for one in together(list(of_a_tile)))
        assert len({(one.value.item(), one.temperature.item()) for one in of_a_tile}) == 1
    shuffled = [Result(rank.value, *reversed(rank[1:3]), rank.temperature) for rank in (one[0] for one in ranks)]
    assert max(errors(together(shuffled)[0], reference)) > 0.1


@pytest.mark.processes
def test_gradients_have_the_same_bits_on_any_number_of_processes(tmp_path: Path) -> None:
    audio, text = (unit_rows(64, seed=seed, dim=128).float() for seed in (7, 8))
    found = []
    for workers in (1, 2, 4):
        ranks = run_in_processes(sharded, workers, audio, text, 0.05, folder=tmp_path / str(workers))
        found.append(together([rank[0] for rank in ranks])[0])
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(found[0], other, strict=True))


def by_parts(audio: torch.Tensor, text: torch.Tensor, rows: int) -> list[torch.Tensor]:
    """Computes denominators and gradients as processes with this number of rows each would."""
    temperature, of_pair = torch.tensor(0.07), torch.ones((), dtype=torch.float64)
    parts = [slice(at, at + rows) for at in range(0, len(audio), rows)]
    negatives = torch.cat([log_sums(audio, text, temperature, own=own)[0] for own in parts])
    found = [_gradient(audio, text, temperature, negatives, of_pair, own=own) for own in parts]
    return [negatives, *(torch.cat(of_all) for of_all in zip(*found, strict=True))]


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


@pytest.mark.processes
def test_a_process_holds_all_embeddings_and_does_not_synchronise(tmp_path: Path) -> None:
    pairs = 512
    for largest, operations in run_in_processes(
        largest_and_operations, 2, contrastive_loss, pairs, folder=tmp_path / "tiled"
    ):
        assert largest == pairs * DIM
        assert not operations & WAITS
        assert any(name.startswith("c10d::") for name in operations)
    for largest, _ in run_in_processes(largest_and_operations, 2, untiled_loss, pairs, folder=tmp_path / "untiled"):
        assert largest == pairs * pairs // 2


def test_rows_need_not_be_contiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of one window of several, for example, are not contiguous in the embeddings of a batch."""
    monkeypatch.setattr(tiles, "TILE", 2)
    audio, text = unit_rows(5, seed=9), unit_rows(5, seed=10)
    apart = torch.stack((audio, text), dim=1)
    assert torch.equal(contrastive_loss(apart[:, 0], apart[:, 1], 0.1), contrastive_loss(audio, text, 0.1))
