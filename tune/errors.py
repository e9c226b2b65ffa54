"""What can be wrong with a sweep."""

from mulan.config.errors import MulanError


class SweepError(MulanError, ValueError):
    """A sweep that cannot be run, or of which no trial succeeded."""
