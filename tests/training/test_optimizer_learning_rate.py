"""Tests the learning rate against the schedulers of torch and transformers, and the papers' numbers."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, LinearLR, MultiStepLR, PolynomialLR, StepLR
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from mulan.config.sections import OptimConfig
from mulan.training.optimizer import learning_rate


def adam_at(lr: float) -> torch.optim.Adam:
    return torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=lr)


def rates(adam: torch.optim.Adam, scheduler: Any, steps: int) -> Iterator[float]:
    """Yields the learning rate that a scheduler sets for each step."""
    for _ in range(steps):
        yield adam.param_groups[0]["lr"]
        adam.step()
        scheduler.step()


@pytest.mark.parametrize(("warmup", "every"), [(0, 7), (1, 5), (4, 3), (10, 40), (50, 100)])
def test_it_is_torch_s_linear_warm_up_times_its_step_decay(warmup: int, every: int) -> None:
    optim = OptimConfig(lr=0.02, warmup_steps=warmup, decay_factor=0.7, decay_every_steps=every)
    adam = adam_at(optim.lr)
    schedulers = [StepLR(adam, every, gamma=0.7)]
    if warmup:
        schedulers.append(LinearLR(adam, start_factor=1 / (warmup + 1), total_iters=warmup))
    theirs = ChainedScheduler(schedulers)
    found = [learning_rate(optim, steps_done) for steps_done in range(60)]
    assert found == pytest.approx(list(rates(adam, theirs, 60)), rel=1e-12)


def test_the_paper_s_decay() -> None:
    """The paper's factor is 0.9 every 40,000 steps (MuLan §4)."""
    optim = OptimConfig(lr=1.0)
    found = [learning_rate(optim, steps_done) for steps_done in (0, 39_999, 40_000, 79_999, 80_000, 400_000)]
    assert found == pytest.approx([1.0, 1.0, 0.9, 0.9, 0.81, 0.9**10])


def test_the_first_step_of_a_warm_up_already_learns() -> None:
    optim = OptimConfig(lr=1.0, warmup_steps=3)
    assert [learning_rate(optim, steps_done) for steps_done in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_decays_are_counted_from_a_step_on() -> None:
    """The rate of PSLA (Gong et al. 2021) is halved every 5 epochs from epoch 10 on."""
    epoch, adam = 3, adam_at(1e-3)
    scheduler = MultiStepLR(adam, [epoch * milestone for milestone in range(10, 60, 5)], gamma=0.5)
    optim = OptimConfig(lr=1e-3, decay_factor=0.5, decay_start_step=5 * epoch, decay_every_steps=5 * epoch)
    found = [learning_rate(optim, steps_done) for steps_done in range(60 * epoch)]
    assert found == pytest.approx(list(rates(adam, scheduler, 60 * epoch)), rel=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("warmup", "until"), [(0, 1), (0, 40), (1, 7), (12, 40), (39, 40)])
def test_decays_to_0_are_those_of_transformers_after_the_warm_up(schedule: str, warmup: int, until: int) -> None:
    optim = OptimConfig(lr=0.02, schedule=schedule, warmup_steps=warmup, decay_until_step=until)  # type: ignore[arg-type]
    adam = adam_at(optim.lr)
    reference = {"linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}[schedule]
    theirs = list(rates(adam, reference(adam, warmup, until), until + 1))  # then their cosine rises again
    found = [learning_rate(optim, steps_done) for steps_done in range(until + 3)]
    assert found[:warmup] == pytest.approx([0.02 * n / (warmup + 1) for n in range(1, warmup + 1)], rel=1e-12)
    assert found[warmup : until + 1] == pytest.approx(theirs[warmup:], rel=1e-12, abs=1e-17)
    assert found[warmup] == optim.lr
    assert found[until - 1] > 0 and found[until:] == [0.0] * 3


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_decays_to_0_are_those_of_torch(schedule: str) -> None:
    optim = OptimConfig(lr=0.02, schedule=schedule, decay_until_step=60)  # type: ignore[arg-type]
    adam = adam_at(optim.lr)
    scheduler = PolynomialLR(adam, 60) if schedule == "linear" else CosineAnnealingLR(adam, 60)
    found = [learning_rate(optim, steps_done) for steps_done in range(60)]
    assert found == pytest.approx(list(rates(adam, scheduler, 60)), rel=1e-11)
