"""The Ray cluster a command runs on."""

import logging
import os

from mulan.config.sections import Scale


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
    wanted = scale.most_workers * scale.cpus_per_worker + max(scale.data_cpus, scale.most_workers) + 1
    ray.init(
        num_cpus=max(wanted, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        # at Ray's own 15, training stands behind every other process of the machine; data tasks step back by themselves
        _system_config={"worker_niceness": 0},
    )
