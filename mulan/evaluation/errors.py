"""Errors of an evaluation."""

from mulan.config.errors import MulanError


class EvaluationError(MulanError, ValueError):
    """A split or a model cannot be evaluated."""


class EmbeddingFailed(MulanError):
    """The process of an actor ended while it embedded, for a reason that may be temporary."""

    exit_code = 1
