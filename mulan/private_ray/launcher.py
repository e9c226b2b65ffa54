"""The clouds that Ray's cluster launcher knows, and what it prints."""

from ray.autoscaler._private.cli_logger import cli_logger
from ray.autoscaler._private.providers import _NODE_PROVIDERS

CLOUDS = tuple(sorted(_NODE_PROVIDERS))
"""The types of providers that a file of the launcher may state."""


def print_less() -> None:
    """Has the launcher leave out details in this process, which it would otherwise print to standard output."""
    cli_logger.configure(verbosity=0)
