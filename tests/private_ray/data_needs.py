"""The requirements of ``mulan/private_ray`` on Ray Data and Ray Core."""

import mmap
from pathlib import Path
from typing import Any

import ray
from ray.data import DataContext

from mulan.private_ray import core
from tests.private_ray.contract import Differs, Need, load, mentions, takes

EXECUTION = "ray.data._internal.execution"
EXECUTOR = f"{EXECUTION}.streaming_executor:StreamingExecutor"


def is_called_at_each_step(callback: Any) -> None:
    takes(callback, "self", "executor", exactly=True)
    executor = load(EXECUTOR)
    mentions(executor, ".on_execution_step(self)", "is not called by the StreamingExecutor, with itself")


def is_created_for_each_execution(_: Any) -> None:
    context, kind = DataContext(), type("Kind", (load(f"{EXECUTION}.execution_callback:ExecutionCallback"),), {})
    context.custom_execution_callback_classes.append(kind)
    if kind not in context.execution_callback_classes:
        raise Differs("is not read by an execution")


def accepts_the_settings(init: Any) -> None:
    mentions(init, '"_system_config"', "does not take it")
    with (Path(ray.__file__).parent / "_raylet.so").open("rb") as file:
        library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        settings = core.PRIVATE_SETTINGS["_system_config"]
        if unknown := [name for name in settings if library.find(name.encode()) < 0]:
            raise Differs(f"does not know {' and '.join(unknown)}, and Ray fails on unknown settings")


def is_the_setting_of_the_watcher(name: str) -> None:
    if name not in core.ENVIRONMENT:
        raise Differs(f"is {name}, which is not set")


def lists_groups(state: Any) -> None:
    mentions(type(state).placement_group_table, "self._connect_and_get_accessor()", "no longer provides the accessor")
    load("ray._raylet:GlobalStateAccessor.get_placement_group_table")


def has_the_creator(table: Any) -> None:
    needed = {"placement_group_id", "creator_job_id", "creator_actor_id", "creator_actor_dead", "is_detached", "state"}
    if missing := needed - {field.name for field in table.DESCRIPTOR.fields}:
        raise Differs(f"lacks {' and '.join(sorted(missing))}")
    if not isinstance(table.REMOVED, int):
        raise Differs("lacks the state of removed groups")


DATA_NEEDS = [
    Need(
        "ray._private.state:state",
        "core",
        "a trial that is stopped keeps its workers' resources until the sweep ends",
        lists_groups,
        ("_connect_and_get_accessor",),
    ),
    Need(
        "ray.core.generated.gcs_pb2:PlacementGroupTableData",
        "core",
        "a trial that is stopped keeps its workers' resources until the sweep ends",
        has_the_creator,
    ),
    Need(
        f"{EXECUTION}.execution_callback:ExecutionCallback.on_execution_step",
        "core",
        "Ray Data's scheduler occupies a core that the training workers need",
        is_called_at_each_step,
    ),
    Need(
        "ray.data:DataContext.execution_callback_classes",
        "core",
        "Ray Data's scheduler occupies a core that the training workers need",
        is_created_for_each_execution,
    ),
    Need(
        "ray:init",
        "core",
        "no command can start a local Ray; remove the setting",
        accepts_the_settings,
        ("_system_config",),
    ),
    Need(
        "ray.train.v2._internal.constants:ENABLE_PREEMPTION_WATCHER_ENV_VAR",
        "core",
        "a local run starts a process that watches for preemption",
        is_the_setting_of_the_watcher,
    ),
]
