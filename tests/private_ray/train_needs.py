"""What ``mulan/private_ray`` needs of Ray Train."""

import os
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from ray.train import ControllerError, FailureConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer

from tests.private_ray.contract import Differs, Need, found, takes

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


def is_given_decisions(_: Any) -> None:
    trainer = TorchTrainer(print, scaling_config=elastic())
    with patch("ray.put"), patch.object(TorchTrainer, "_initialize_and_run_controller") as run:
        run.return_value.error = None
        trainer.fit()
    if missing := {"failure_policy", "scaling_policy"} - (run.call_args.kwargs.keys() if run.called else set()):
        raise Differs(f"is not given {' and '.join(sorted(missing))} by fit()")


def lists_callbacks(_: Any) -> None:
    there = {type(callback).__name__ for callback in TorchTrainer(print)._create_default_callbacks()}
    if gone := DEFAULT_CALLBACKS - there:
        raise Differs(f"does not list {', '.join(sorted(gone))}")
    if new := there - DEFAULT_CALLBACKS:
        raise Differs(f"also lists {', '.join(sorted(new))}: look whether a process is started for it")


def is_a_class(thing: Any) -> None:
    if not isinstance(thing, type):
        raise Differs("is not a class")


class Elastic:
    """Ray's elastic policy, told here what is reserved; how many workers that makes may be told as well."""

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
    policy = found(f"{SCALING}:ElasticScalingPolicy")(elastic())
    try:
        policy._count_possible_workers(RESERVED)
    except (AttributeError, TypeError) as error:
        with suppress(AttributeError, TypeError):
            policy._count_possible_workers([*RESERVED.values()])
            raise Differs("takes a list of the nodes' resources, [{'CPU': 4.0}], not {'node': {'CPU': 4.0}}") from error
        raise


def counts_workers(_: Any) -> None:
    policy = found(f"{SCALING}:ElasticScalingPolicy")
    for decision in (Elastic(policy, possible=2).not_running(), Elastic(policy, possible=2).running()):
        if getattr(decision, "num_workers", None) != 2:
            raise Differs(f"is not what is decided by: 2 workers are possible, and the decision is {decision}")


def says_how_many_to_ask_for(_: Any) -> None:
    policy = found(f"{SCALING}:ElasticScalingPolicy")(elastic())
    asked: list[Any] = []
    policy._coordinator_client = SimpleNamespace(maybe_send_resource_request=lambda *what: asked.extend(what))
    policy._get_num_workers_for_resource_request = lambda: 7
    policy._maybe_send_resource_request()
    if 7 not in asked:
        raise Differs(f"is not what is asked for: 7 workers are to be, and asked for is {asked}")


def is_called_with(*parameters: str) -> Any:
    def check(method: Any) -> None:
        takes(method, "self", *parameters, exactly=True)

    return check


def tells_when_it_looked(policy: Any) -> None:
    elastic = Elastic(policy, possible=2)
    before = elastic.policy._latest_monitor_time
    elastic.running()
    looked = elastic.policy._latest_monitor_time
    if looked == before:
        raise Differs("does not change when it looks for room")
    elastic.policy.scaling_config = SimpleNamespace(elastic_resize_monitor_interval_s=3600.0)
    elastic.running(start_time=time.monotonic())
    if elastic.policy._latest_monitor_time != looked:
        raise Differs("changes also when it does not look for room")


def resizes(decision: Any) -> None:
    takes(decision, "num_workers", "resources_per_worker")
    if decision(num_workers=3, resources_per_worker={}).num_workers != 3:
        raise Differs("does not tell its num_workers")


def counts_failures(policy: Any) -> None:
    decisions = found(f"{FAILURES}:FailureDecision")
    limited = policy(FailureConfig(max_failures=1))
    made = [limited.make_decision(LOST) for _ in range(2)]
    if made != [decisions.RETRY, decisions.RAISE]:
        raise Differs(f"decides {made} on two failures of which one may be, and not RETRY, RAISE")


def waits_again(no_room: Any) -> None:
    policy, retry = found(f"{FAILURES}:DefaultFailurePolicy"), found(f"{FAILURES}:FailureDecision").RETRY
    if policy(FailureConfig(max_failures=0)).make_decision(ControllerError(no_room(2))) != retry:
        raise Differs("ends a run")


def decides_on_failures(policy: Any) -> None:
    takes(policy.__init__, "self", "failure_config", exactly=True)
    takes(policy.make_decision, "self", "training_failed_error", exactly=True)


def ends_or_retries(decision: Any) -> None:
    if missing := {"RAISE", "RETRY"} - set(decision.__members__):
        raise Differs(f"has no {' and '.join(sorted(missing))}")


def holds(attribute: str, *arguments: Any) -> Any:
    def check(error: Any) -> None:
        cause = RuntimeError("gone")
        if getattr(error(*(cause if one is ... else one for one in arguments)), attribute, None) is not cause:
            raise Differs("does not hold what it wraps")

    return check


def reaches_the_controller(name: str) -> None:
    with patch.dict(os.environ, {name: "7.0"}):
        if found(f"{CONSTANTS}:get_env_vars_to_propagate")().get(name) != "7.0":
            raise Differs(f"({name}) is not handed to the controller from the driver's environment")


TRAIN_NEEDS = [
    Need(
        "ray.train.torch:TorchTrainer._initialize_and_run_controller",
        "train",
        "neither our count of failures nor even shares reach the controller",
        is_given_decisions,
    ),
    Need(
        "ray.train.torch:TorchTrainer._create_default_callbacks",
        "train",
        "each run starts processes that have nothing to do, one of which takes a CPU of the training workers",
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
        "a worker that does not answer is waited for as long as Ray likes, whatever scale.collective_timeout_s says",
        reaches_the_controller,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy._count_possible_workers",
        "train",
        "an elastic run takes numbers of workers that do not share its batch evenly",
        counts_workers,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy._count_possible_workers",
        "train",
        "test_train_scaling.py cannot say what room there is; mulan itself hands it on as it is",
        takes_resources_by_node,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy._get_num_workers_for_resource_request",
        "train",
        "the autoscaler brings nothing for an elastic run whose most workers are more than there can ever be room for",
        says_how_many_to_ask_for,
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy.make_decision_for_non_running_worker_group",
        "train",
        "what was offered to workers that are gone is taken for an offer to those after them",
        is_called_with(),
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy.make_decision_for_running_worker_group",
        "train",
        "an elastic run ends its workers at any moment, and does again what it did since its checkpoint",
        is_called_with("worker_group_state", "worker_group_status"),
    ),
    Need(
        f"{SCALING}:ElasticScalingPolicy",
        "train",
        "room that has gone is still taken, since nothing tells that Ray has looked again",
        tells_when_it_looked,
        ("_latest_monitor_time",),
    ),
    Need(f"{SCALING}:ResizeDecision", "train", "no offer of another number of workers is seen", resizes),
    Need(f"{SCALING}:NoopDecision", "train", "workers cannot be left at work", lambda decision: decision()),
    Need(
        f"{FAILURES}:FailurePolicy",
        "train",
        "Ray Train asks nobody of ours whether a failure ends the run",
        decides_on_failures,
    ),
    Need(
        f"{FAILURES}:DefaultFailurePolicy",
        "train",
        "failures that count are not counted to scale.max_failures",
        counts_failures,
    ),
    Need(f"{FAILURES}:FailureDecision", "train", "no failure can end a run, or none be retried", ends_or_retries),
    Need(
        f"{ERRORS}:UserExceptionWithTraceback",
        "train",
        "a fault that every attempt meets again is retried, since it is not seen",
        holds("_base_exc", ..., "a traceback"),
        ("_base_exc",),
    ),
    Need(
        f"{ERRORS}:WorkerGroupStartupTimeoutError",
        "train",
        "a run that waits for nodes tells of a failure every minute, or is given up",
        waits_again,
    ),
    Need(
        f"{ERRORS}:WorkerHealthCheckFailedError",
        "train",
        "a worker that died is told without what it died of",
        holds("health_check_failure", "unhealthy", ...),
        ("health_check_failure",),
    ),
    Need(
        "ray.exceptions:RayTaskError",
        "train",
        "what was raised in a worker is told in Ray's words alone",
        holds("cause", "train", "a traceback", ...),
        ("cause",),
    ),
]
