"""Settings of a Ray that is started for one command, which Ray has no public place for; nothing here needs Ray."""

from typing import Any

ENVIRONMENT = {
    # this machine is not taken away before its driver is; each run would start a process that watches for that
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"
}
"""Environment variables that every process of the cluster has."""

PRIVATE_SETTINGS: dict[str, Any] = {
    "_system_config": {
        # at Ray's own 15, training stands behind every other process of the machine; data tasks step back by themselves
        "worker_niceness": 0,
        # processes of a job have its environment, which one that was started in advance has not
        "prestart_worker_first_driver": False,
    }
}
"""Arguments of ``ray.init`` where it starts a cluster; one that is joined has its own."""
