"""Tests the learning rate against torch's own schedulers and the paper's numbers."""

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, StepLR

from mulan.config.sections import OptimConfig
from mulan.training.optimizer import learning_rate


@pytest.mark.parametrize(("warmup", "every"), [(0, 7), (1, 5), (4, 3), (10, 40), (50, 100)])
def test_it_is_torch_s_linear_warm_up_times_its_step_decay(warmup: int, every: int) -> None:
    optim = OptimConfig(lr=0.02, warmup_steps=warmup, decay_factor=0.7, decay_every_steps=every)
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=optim.lr)
    schedulers = [StepLR(adam, every, gamma=0.7)]
    if warmup:
        schedulers.append(LinearLR(adam, start_factor=1 / (warmup + 1), total_iters=warmup))
    theirs = ChainedScheduler(schedulers)
    for steps_done in range(60):
        assert learning_rate(optim, steps_done) == pytest.approx(adam.param_groups[0]["lr"], rel=1e-12)
        adam.step()
        theirs.step()


def test_the_paper_s_decay() -> None:
    """The paper's factor is 0.9 every 40,000 steps (MuLan §4)."""
    optim = OptimConfig(lr=1.0)
    found = [learning_rate(optim, steps_done) for steps_done in (0, 39_999, 40_000, 79_999, 80_000, 400_000)]
    assert found == pytest.approx([1.0, 1.0, 0.9, 0.9, 0.81, 0.9**10])


def test_the_first_step_of_a_warm_up_already_learns() -> None:
    optim = OptimConfig(lr=1.0, warmup_steps=3)
    assert [learning_rate(optim, steps_done) for steps_done in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
