"""Errors of the demo corpus."""

from mulan.config.errors import MulanError


class RenderError(MulanError):
    """A composition could not be rendered."""


class DemoCorpusError(MulanError):
    """A demo corpus could not be built."""
