"""What ends a run."""

from mulan.config.errors import MulanError
from mulan.data.storage_errors import StorageError


class NonFiniteLoss(MulanError):
    """The loss of a step is not a number. The weights are those of the step before."""

    exit_code = 1


class CheckpointFailed(StorageError):
    """A checkpoint could not be written. The one before it stands."""


class RunError(MulanError):
    """A run that cannot be started, resumed or read."""


class TrainingFailed(MulanError):
    """Training ended before its last step; the run resumes under the same name once the cause is mended."""

    exit_code = 1
