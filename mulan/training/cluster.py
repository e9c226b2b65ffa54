"""The Ray cluster a command runs on."""

import logging
import os

from mulan.config.sections import Scale

_started: set[int] = set()
"""Number of this process, once it has started a Ray of its own; a process forked from it has another."""


def ends_with_this_process() -> bool:
    """Whether Ray was started here by :func:`connect`, so that nothing of it outlives this process."""
    return os.getpid() in _started


def connect(scale: Scale) -> None:
    """Joins the cluster of ``RAY_ADDRESS`` (set within submitted jobs), or starts one in this machine's own processes.

    A local cluster offers the CPUs that the recipe asks for, whether or not the machine has so many: two workers and
    their data tasks share two cores well.
    """
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        return
    _started.add(os.getpid())
    wanted = scale.most_workers * scale.cpus_per_worker + max(scale.data_cpus, scale.most_workers) + 1
    ray.init(
        num_cpus=max(wanted, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        # this machine is not taken away before its driver is; each run would start a process that watches for that
        runtime_env={"env_vars": {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}},
        _system_config={
            # at Ray's own 15, training stands behind every other process of the machine; data tasks step back by
            # themselves
            "worker_niceness": 0,
            # processes of a job have the environment above, which one that was started in advance has not
            "prestart_worker_first_driver": False,
        },
    )
