"""What can be wrong with an evaluation."""

from mulan.config.errors import MulanError


class EvaluationError(MulanError, ValueError):
    """A split or a model that cannot be evaluated."""
