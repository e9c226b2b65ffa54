"""Tests the policies, callbacks and environment that Ray Train's controller is started with."""

import os
from typing import Any
from unittest.mock import patch

import pytest
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR, get_env_vars_to_propagate

from mulan.private_ray.train import (
    DelegatingFailurePolicy,
    DelegatingScalingPolicy,
    DelegatingTrainer,
    Verdict,
    set_health_check_timeout,
)


def trainer(workers: int | tuple[int, int] = 1) -> DelegatingTrainer:
    return DelegatingTrainer(
        print,
        count_policy=None,
        verdict=lambda _: Verdict.GIVE_UP,
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=3)),
    )


def test_callbacks_that_start_useless_processes_are_left_out() -> None:
    started = {type(callback).__name__ for callback in trainer()._create_default_callbacks()}
    assert "BackendSetupCallback" in started
    assert not {"DatasetsCallback", "PlacementGroupCleanerCallback"} & started


@pytest.mark.parametrize(("workers", "elastic"), [(2, False), ((1, 2), True)])
def test_the_policies_reach_the_controller(workers: int | tuple[int, int], elastic: bool) -> None:
    parts: dict[str, Any] = {"failure_policy": None, "scaling_policy": None, "callbacks": []}
    with patch.object(TorchTrainer, "_initialize_and_run_controller") as run:
        trainer(workers)._initialize_and_run_controller(**parts)
    passed = run.call_args.kwargs
    assert passed.keys() == parts.keys()
    assert isinstance(passed["failure_policy"], DelegatingFailurePolicy)
    assert passed["failure_policy"].failure_config.max_failures == 3
    assert isinstance(passed["scaling_policy"], DelegatingScalingPolicy) is elastic


def test_the_health_check_timeout_is_passed_to_controllers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR, "7.0")
    set_health_check_timeout(12.5)
    assert os.environ[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR] == "12.5"
    assert get_env_vars_to_propagate()[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR] == "12.5"
