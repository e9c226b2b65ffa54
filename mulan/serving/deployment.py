"""The server on Ray Serve: processes that each hold the model and open the index, as many as the requests need."""

import gc
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions
from ray.serve.schema import LoggingConfig

from mulan.config.errors import MulanError
from mulan.serving.settings import CPUS, ServerSettings

MAX_OPEN_REQUESTS = 1000
"""Maximum number of requests in a process, most of which may be audio that is streamed to slow clients."""
TARGET_REQUESTS = 32.0
"""Number of open requests per process above which another one is started."""
NAME = "search"
"""Name of the application and of its deployment."""
_POLL_S = 0.05
_LOGGING = LoggingConfig(log_level="WARNING", enable_access_log=False)  # no line for each request


class ServeIsRunning(MulanError):
    """The cluster runs a Ray Serve already, whose address and port cannot be changed."""


def check_no_server() -> None:
    """Checks that the Ray that this process is connected to does not run Ray Serve.

    Raises:
        ServeIsRunning: It does.
    """
    if serve.status().proxies:
        raise ServeIsRunning(
            "this Ray cluster runs Ray Serve already, whose address and applications would be changed; end it (serve "
            "shutdown), use another cluster, or unset RAY_ADDRESS to serve from this machine"
        )


def start_serving(settings: ServerSettings, *, host: str, port: int, min_replicas: int, max_replicas: int) -> None:
    """Starts the server on the Ray that this process is connected to, and returns when it answers.

    Args:
        settings: What it serves.
        host: Address on which it listens.
        port: Port on which it listens, on every node that has a replica.
        min_replicas: Minimum number of processes that answer requests, at least 1.
        max_replicas: Maximum number of them.
    """
    logging.getLogger("ray.serve").setLevel(logging.ERROR)

    def build() -> Any:  # a function, since Serve calls nothing else in the replica
        gc.disable()  # collections would slow the imports of the libraries of models
        from mulan.serving.replica import application

        gc.enable()
        return application(settings)

    options = {"num_cpus": CPUS, "num_gpus": 1 if settings.use_gpu else 0}
    deployment = serve.deployment(
        name=NAME,
        max_ongoing_requests=MAX_OPEN_REQUESTS,
        autoscaling_config=AutoscalingConfig(
            min_replicas=min_replicas,
            initial_replicas=min_replicas,
            max_replicas=max_replicas,
            target_ongoing_requests=TARGET_REQUESTS,
        ),
        ray_actor_options=options,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=5,
        logging_config=_LOGGING,
    )(serve.ingress(build)())
    with _proxies_starting(HTTPOptions(host=host, port=port)):
        serve.run(deployment.bind(), name=NAME, route_prefix="/", blocking=False)


@contextmanager
def _proxies_starting(options: HTTPOptions) -> Iterator[None]:
    """Starts Serve, and waits at the end for its proxies, which take seconds: other processes can start meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        started = thread.submit(serve.start, http_options=options, logging_config=_LOGGING)
        while not started.done() and not serve.status().proxies:
            time.sleep(_POLL_S)
        if started.done():
            started.result()
        yield
        started.result()


def stop_serving() -> None:
    """Stops Serve on the Ray that this process is connected to, also if it has not started completely."""
    serve.shutdown()
