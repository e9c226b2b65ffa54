"""The errors of a sweep. Imports no library, so that a refused sweep does not wait for Ray."""

from mulan.config.errors import MulanError


class SweepError(MulanError, ValueError):
    """The sweep cannot be run, or none of its trials succeeded."""


class SweepUnfinished(MulanError):
    """Trials of the sweep failed more often than ``scale.max_failures`` allows; the same command resumes them."""

    exit_code = 1
