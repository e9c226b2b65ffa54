"""What ends a run."""

from mulan.config.errors import MulanError
from mulan.data.storage_errors import StorageError


class NonFiniteStep(MulanError):
    """The loss or the gradient of a step is not finite. The weights are those of the step before."""


class EmbeddingsCollapsed(MulanError):
    """The contrastive term stays where it is when all embeddings are the same."""


class NotDeterministic(MulanError):
    """A model has an operation without a deterministic kernel, where the recipe asks for such kernels alone."""


class CheckpointFailed(StorageError):
    """A checkpoint could not be written. The one before it stands."""


class RunError(MulanError):
    """A run that cannot be started, resumed or read."""


class ReplayError(MulanError):
    """A step that cannot be replayed."""


class TrainingFailed(MulanError):
    """Training ended before its last step; the run resumes under the same name once the cause is mended."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        """``exit_code``: of what ended it, which may be another error of a worker."""
        super().__init__(message)
        self.exit_code = exit_code


class ControllerLost(TrainingFailed):
    """The process that watched over a run's workers is gone, and they with it; the same run can be started again."""


class RunHeld(MulanError):
    """A run, or a sweep, that another driver has, which is alive."""


class RunTakenOver(MulanError):
    """A run, or a sweep, that another driver has taken since; this one must write nothing more."""
