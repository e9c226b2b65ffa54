"""How a sweep ends other than with a best trial. Imports no library, for a refused sweep does not wait for Ray."""

from mulan.config.errors import MulanError


class SweepError(MulanError, ValueError):
    """A sweep that cannot be run, or of which no trial succeeded."""


class SweepUnfinished(MulanError):
    """A sweep of which trials were lost, more often than is survived; the same command goes on with them."""

    exit_code = 1
