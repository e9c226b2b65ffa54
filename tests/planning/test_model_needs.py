"""Tests the size of checkpoints against written ones, and of workers against calculations by hand."""

from pathlib import Path

import pytest
import torch

from mulan.benchmarks.memory import activation_bytes
from mulan.benchmarks.synthetic import model_to_measure
from mulan.distributed.gradient_sums import ReplicatedSums
from mulan.planning.model_needs import model_needs
from mulan.recipes.registry import load_recipe
from mulan.runs.checkpoint_list import PART_SUFFIX, checkpoints
from mulan.training.engines.deepspeed import MOMENTS
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint
from tests.planning.planned import miniature_recipe


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_checkpoint_has_the_predicted_size(tmp_path: Path, ema_decay: float) -> None:
    recipe = miniature_recipe("", f"optim.ema_decay={ema_decay}")
    model = model_to_measure(recipe)
    state = {f"weights.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for kind in (*MOMENTS, *(["ema"] if ema_decay else [])) if parameter.requires_grad else ():
            state[f"{kind}.{name}"] = torch.zeros_like(parameter).detach()
    write_checkpoint(str(tmp_path), state, Progress(1, {}))
    (written,) = checkpoints(str(tmp_path))
    predicted = model_needs(model, recipe, workers=1).checkpoint_bytes
    (size,) = [about["bytes"] for name, about in written.files.items() if name.endswith(PART_SUFFIX)]
    assert predicted < size < 1.01 * predicted  # the rest is the list of the tensors


@pytest.mark.parametrize(("stage", "exact"), [(0, True), (1, False), (2, True), (2, False), (3, True)])
def test_memory_of_a_worker_by_hand(stage: int, exact: bool) -> None:
    recipe = miniature_recipe("", f"train.zero_stage={stage}", f"train.exact_sums={str(exact).lower()}")
    model = model_to_measure(recipe)
    found = model_needs(model, recipe, workers=2)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    whole, trained = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    assert (found.parameters, found.trained_parameters) == (whole, trained)

    def part(number: int, sharded: bool) -> int:
        return (number + 1) // 2 if sharded else number

    per_item = activation_bytes(recipe)
    assert found.worker_bytes == {
        "weights": 4 * part(whole, stage == 3),
        "gradients": 4 * part(trained, stage == 3 or (stage == 2 and not exact)),
        **({"exact sums of gradients": 8 * part(trained, stage == 3)} if exact else {}),
        "moments of Adam": 8 * part(trained, stage > 0),
        "activations for the windows of a micro-batch": round(8 * per_item["audio"]),
        "activations for its texts, if all have full length": round(8 * per_item["text"]),
        "waveforms of a step": 8 * 16_000 * 2,  # one of two micro-batches of 8 windows of 1 s
        "embeddings of the batch and their gradients": 2 * 2 * 16 * 32 * 4,
    }


def test_exact_sums_take_eight_bytes_for_each_trained_parameter() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3, 5)), torch.nn.Parameter(torch.zeros(7))]
    sums = ReplicatedSums(parameters, micro_batches=2)
    held = [tensor for tensor in vars(sums._sum).values() if isinstance(tensor, torch.Tensor) and tensor.numel() > 1]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) == 22 * 8


def test_a_model_without_texts_is_counted() -> None:
    recipe = load_recipe("semisupcon_miniature", [])
    found = model_needs(model_to_measure(recipe), recipe, workers=1).worker_bytes
    assert found["waveforms of a step"] == 16 * 2 * 22_050 * 2  # two views of 1 s
    assert "activations for its texts, if all have full length" not in found
