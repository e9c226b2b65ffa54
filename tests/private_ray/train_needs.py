"""The requirements of ``mulan/private_ray`` on Ray Train."""

import os
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from ray.train import ControllerError, FailureConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer

from tests.private_ray.contract import Differs, Need, load, takes

SCALING = "ray.train.v2._internal.execution.scaling_policy"
FAILURES = "ray.train.v2._internal.execution.failure_handling"
CALLBACKS = "ray.train.v2._internal.callbacks"
CONSTANTS = "ray.train.v2._internal.constants"
ERRORS = "ray.train.v2._internal.exceptions"

RESERVED = {"node-a": {"CPU": 4.0}, "node-b": {"CPU": 3.0}}
LOST = WorkerGroupError("lost", {0: RuntimeError("gone")})
DEFAULT_CALLBACKS = {
    "AcceleratorSetupCallback",
    "BackendSetupCallback",
    "ControllerMetricsCallback",
    "DatasetsCallback",
    "PlacementGroupCleanerCallback",
    "UserCallbackHandler",
    "WorkerMetricsCallback",
    "WorkingDirectorySetupCallback",
}


def elastic() -> ScalingConfig:
    return ScalingConfig(num_workers=(1, 8), resources_per_worker={"CPU": 2}, elastic_resize_monitor_interval_s=0.0)


def receives_the_policies(_: Any) -> None:
    trainer = TorchTrainer(print, scaling_config=elastic())
    with patch("ray.put"), patch.object(TorchTrainer, "_initialize_and_run_controller") as run:
        run.return_value.error = None
        trainer.fit()
    if missing := {"failure_policy", "scaling_policy"} - (run.call_args.kwargs.keys() if run.called else set()):
        raise Differs(f"does not receive {' and '.join(sorted(missing))} from fit()")


def lists_callbacks(_: Any) -> None:
    listed = {type(callback).__name__ for callback in TorchTrainer(print)._create_default_callbacks()}
    if missing := DEFAULT_CALLBACKS - listed:
        raise Differs(f"does not list {', '.join(sorted(missing))}")
    if new := listed - DEFAULT_CALLBACKS:
        raise Differs(f"also lists {', '.join(sorted(new))}: check whether it starts a process")


def is_a_class(thing: Any) -> None:
    if not isinstance(thing, type):
        raise Differs("is not a class")


class Elastic:
    """Ray's elastic policy with given reserved resources and, optionally, a given number of possible workers."""

    def __init__(self, policy: Any, *, possible: int | None = None) -> None:
        self.policy = policy(elastic())
        self.policy._maybe_send_resource_request = lambda: None
        self.policy._get_reserved_resources = lambda: RESERVED
        if possible is not None:
            self.policy._count_possible_workers = lambda reserved: possible

    def not_running(self) -> Any:
        return self.policy.make_decision_for_non_running_worker_group()

    def running(self, *, start_time: float = 0.0) -> Any:
        state = SimpleNamespace(start_time=start_time, num_workers=1)
        return self.policy.make_decision_for_running_worker_group(state, None)


def takes_resources_by_node(_: Any) -> None:
    policy = load(f"{SCALING}:ElasticScalingPolicy")(elastic())
    try:
        policy._count_possible_workers(RESERVED)
    except (AttributeError, TypeError) as error:
        with suppress(AttributeError, TypeError):
            policy._count_possible_workers([*RESERVED.values()])
            raise Differs("takes a list of the nodes' resources, [{'CPU': 4.0}], not {'node': {'CPU': 4.0}}") from error
        raise


def counts_workers(_: Any) -> None:
    policy = load(f"{SCALING}:ElasticScalingPolicy")
    for decision in (Elastic(policy, possible=2).not_running(), Elastic(policy, possible=2).running()):
        if getattr(decision, "num_workers", None) != 2:
            raise Differs(f"is not used: 2 workers are possible, and the decision is {decision}")


def returns_the_workers_to_request(_: Any) -> None:
    policy = load(f"{SCALING}:ElasticScalingPolicy")(elastic())
    requested: list[Any] = []
    policy._coordinator_client = SimpleNamespace(maybe_send_resource_request=lambda *args: requested.extend(args))
    policy._get_num_workers_for_resource_request = lambda: 7
    policy._maybe_send_resource_request()
    if 7 not in requested:
        raise Differs(f"is not used: it returns 7 workers, and the request is {requested}")


def is_called_with(*parameters: str) -> Any:
    def check(method: Any) -> None:
        takes(method, "self", *parameters, exactly=True)

    return check


def records_when_it_checked(policy: Any) -> None:
    elastic = Elastic(policy, possible=2)
    before = elastic.policy._latest_monitor_time
    elastic.running()
    checked = elastic.policy._latest_monitor_time
    if checked == before:
        raise Differs("does not change when it checks for resources")
    elastic.policy.scaling_config = SimpleNamespace(elastic_resize_monitor_interval_s=3600.0)
    elastic.running(start_time=time.monotonic())
    if elastic.policy._latest_monitor_time != checked:
        raise Differs("also changes when it does not check for resources")


def resizes(decision: Any) -> None:
    takes(decision, "num_workers", "resources_per_worker")
    if decision(num_workers=3, resources_per_worker={}).num_workers != 3:
        raise Differs("does not have its num_workers")


def counts_failures(policy: Any) -> None:
    decisions = load(f"{FAILURES}:FailureDecision")
    limited = policy(FailureConfig(max_failures=1))
    actual = [limited.make_decision(LOST) for _ in range(2)]
    if actual != [decisions.RETRY, decisions.RAISE]:
        raise Differs(f"decides {actual} on two failures with a limit of one, not RETRY, RAISE")


def is_retried_without_limit(no_room: Any) -> None:
    policy, retry = load(f"{FAILURES}:DefaultFailurePolicy"), load(f"{FAILURES}:FailureDecision").RETRY
    if policy(FailureConfig(max_failures=0)).make_decision(ControllerError(no_room(2))) != retry:
        raise Differs("ends the run")


def decides_on_failures(policy: Any) -> None:
    takes(policy.__init__, "self", "failure_config", exactly=True)
    takes(policy.make_decision, "self", "training_failed_error", exactly=True)


def ends_or_retries(decision: Any) -> None:
    if missing := {"RAISE", "RETRY"} - set(decision.__members__):
        raise Differs(f"has no {' and '.join(sorted(missing))}")


def holds(attribute: str, *arguments: Any) -> Any:
    def check(error: Any) -> None:
        cause = RuntimeError("gone")
        if (
            getattr(error(*(cause if argument is ... else argument for argument in arguments)), attribute, None)
            is not cause
        ):
            raise Differs("does not hold the error that it wraps")

    return check


def reaches_the_controller(name: str) -> None:
    with patch.dict(os.environ, {name: "7.0"}):
        if load(f"{CONSTANTS}:get_env_vars_to_propagate")().get(name) != "7.0":
            raise Differs(f"({name}) is not passed from the driver's environment to the controller")


TRAIN_NEEDS = [
    Need(
        "ray.train.torch:TorchTrainer._initialize_and_run_controller",
        "train",
        "the controller uses neither the failure policy nor the scaling policy of mulan",
        receives_the_policies,
    ),
    Need(
        "ray.train.torch:TorchTrainer._create_default_callbacks",
        "train",
        "each run starts useless processes, one of which occupies a CPU that the training workers need",
        lists_callbacks,
    ),
    Need(
        f"{CALLBACKS}:DatasetsCallback",
        "train",
        "each run starts a process for datasets that it does not have",
        is_a_class,
    ),
    Need(
        f"{CALLBACKS}.placement_group_callback:PlacementGroupCleanerCallback",
        "train",
        "each run starts a process that watches for the end of its controller",
        is_a_class,
    ),
    Need(
        f"{CONSTANTS}:WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR",
        "train",
        "an unresponsive worker fails after Ray's default timeout instead of scale.collective_timeout_s",
        reaches_the_controller,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy._count_possible_workers",
        "train",
        "an elastic run uses numbers of workers that cannot share its batch evenly",
        counts_workers,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy._count_possible_workers",
        "train",
        "test_train_scaling.py cannot set the reserved resources; mulan itself passes them on unchanged",
        takes_resources_by_node,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy._get_num_workers_for_resource_request",
        "train",
        "the autoscaler starts no node for an elastic run whose maximum number of workers exceeds its limits",
        returns_the_workers_to_request,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy.make_decision_for_non_running_worker_group",
        "train",
        "an offer to workers that have ended is used for the next ones",
        is_called_with(),
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy.make_decision_for_running_worker_group",
        "train",
        "an elastic run restarts its workers at any time, and repeats the steps since its checkpoint",
        is_called_with("worker_group_state", "worker_group_status"),
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy",
        "train",
        "an outdated offer is used, since nothing shows that Ray has checked the resources again",
        records_when_it_checked,
        ("_latest_monitor_time",),
    ),
    Need(f"{SCALING}:ResizeDecision", "train", "offers of another number of workers are not recognized", resizes),
    Need(f"{SCALING}:NoopDecision", "train", "running workers cannot be left unchanged", lambda decision: decision()),
    Need(
        f"{FAILURES}:FailurePolicy",
        "train",
        "Ray Train itself decides which failures end a run",
        decides_on_failures,
    ),
    Need(
        f"{FAILURES}:DefaultFailurePolicy",
        "train",
        "scale.max_failures does not limit the failures that count",
        counts_failures,
    ),
    Need(f"{FAILURES}:FailureDecision", "train", "failures cannot be retried, or cannot end a run", ends_or_retries),
    Need(
        f"{ERRORS}:UserExceptionWithTraceback",
        "train",
        "an error that every attempt would meet again is not recognized, and is retried",
        holds("_base_exc", ..., "a traceback"),
        ("_base_exc",),
    ),
    Need(
        f"{ERRORS}:WorkerGroupStartupTimeoutError",
        "train",
        "a run that waits for nodes reports a failure every minute, or ends",
        is_retried_without_limit,
    ),
    Need(
        f"{ERRORS}:WorkerHealthCheckFailedError",
        "train",
        "the loss of a worker is reported without its cause",
        holds("health_check_failure", "unhealthy", ...),
        ("health_check_failure",),
    ),
    Need(
        "ray.exceptions:RayTaskError",
        "train",
        "an error of a worker is reported only in Ray's words",
        holds("cause", "train", "a traceback", ...),
        ("cause",),
    ),
]
