"""Tests running statistics against a float64 reference: one update per step with the mean over all micro-batches."""

import torch
from torch import nn

from mulan.distributed.batch_norm import RunningStatistics

MICRO_BATCHES = 3


def network() -> nn.Sequential:
    """Returns two kinds of batch norm with different momenta; the first is applied to the input."""
    images, rows = nn.BatchNorm2d(4, momentum=0.1), nn.BatchNorm1d(5, momentum=0.3)
    return nn.Sequential(images, nn.Flatten(), nn.Linear(4 * 6, 5), rows)


def micro_batch(step: int, number: int) -> torch.Tensor:
    """Returns an input [8, 4, 2, 3] with a different mean and standard deviation each time."""
    generator = torch.Generator().manual_seed(10 * step + number)
    return torch.randn(8, 4, 2, 3, generator=generator) * (1 + number) + step


def step(module: nn.Module, statistics: RunningStatistics, number: int) -> None:
    """Runs a step as with gradient caching: the first forward of all micro-batches, then each of them again."""
    statistics.begin_step()
    for part in range(MICRO_BATCHES):
        module(micro_batch(number, part))
        statistics.add_micro_batch()
    for part in range(MICRO_BATCHES):
        module(micro_batch(number, part))
    statistics.end_step()


def reference(module: nn.Sequential, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Computes running mean and (unbiased) variance of both layers in float64, from the definition."""
    linear = module[2]
    found = []
    for place, momentum, size in ((0, 0.1, 4), (3, 0.3, 5)):
        mean, variance = torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64)
        for number in range(steps):
            of_parts = []
            for part in range(MICRO_BATCHES):
                values = micro_batch(number, part).double()
                rows = values.transpose(1, -1).reshape(-1, 4)
                if place == 3:
                    deviation = (rows.var(0, unbiased=False) + module[0].eps).sqrt()
                    normalised = (values - rows.mean(0)[:, None, None]) / deviation[:, None, None]
                    rows = normalised.flatten(1) @ linear.weight.double().T + linear.bias.double()
                of_parts.append((rows.mean(0), rows.var(0, unbiased=True)))
            mean = (1 - momentum) * mean + momentum * torch.stack([m for m, _ in of_parts]).mean(0)
            variance = (1 - momentum) * variance + momentum * torch.stack([v for _, v in of_parts]).mean(0)
        found.append((mean.detach(), variance.detach()))
    return found


def test_they_are_updated_once_per_step_with_the_mean_over_micro_batches() -> None:
    torch.manual_seed(0)
    module = network()
    statistics = RunningStatistics(module)
    for number in range(4):
        step(module, statistics, number)
        for layer, (mean, variance) in zip((module[0], module[3]), reference(module, number + 1), strict=True):
            torch.testing.assert_close(layer.running_mean.double(), mean, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(layer.running_var.double(), variance, rtol=1e-5, atol=1e-6)


def test_evaluation_between_steps_uses_and_keeps_them() -> None:
    torch.manual_seed(0)
    module = network()
    statistics = RunningStatistics(module)
    step(module, statistics, 0)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.eval()
    values = micro_batch(9, 0)
    normalised = module[0](values)
    ((mean, variance), _) = reference(module, 1)
    expected = (values.double() - mean[:, None, None]) / (variance + module[0].eps).sqrt()[:, None, None]
    torch.testing.assert_close(normalised.double(), expected, rtol=1e-5, atol=1e-5)
    module(values)
    module.train()
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())


def test_repeated_forwards_are_not_counted() -> None:
    """The count is in checkpoints, and would depend on the number of workers."""
    module = network()
    step(module, RunningStatistics(module), 0)
    assert [int(layer.num_batches_tracked) for layer in (module[0], module[3])] == [0, 0]


def test_a_module_without_batch_norm_is_unchanged() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.LayerNorm(5))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    step(module, RunningStatistics(module), 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_step_that_is_undone_changes_nothing() -> None:
    torch.manual_seed(0)
    module = network()
    statistics = RunningStatistics(module)
    step(module, statistics, 0)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    statistics.begin_step()
    for part in range(MICRO_BATCHES):
        module(micro_batch(1, part) * torch.inf if part else micro_batch(1, part))
        statistics.add_micro_batch()
    statistics.undo_step()
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    step(module, statistics, 1)
    assert not any(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers() if buffer.ndim)
