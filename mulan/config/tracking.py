"""The section of a recipe about experiment trackers."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from mulan.config.base import Section, distinct

Tracker = Literal["tensorboard", "mlflow", "wandb"]
"""Names of the experiment trackers that a run can be logged to."""


class LoggingConfig(Section):
    """Where a run is logged besides its folder; it may change when a run is resumed."""

    trackers: Annotated[tuple[Tracker, ...], AfterValidator(distinct)] = ()
    """Experiment trackers that receive the scalars, the evaluation and the exported model, under the same id when the
    run is resumed. MLflow and W&B are configured by their own environment variables, such as ``MLFLOW_TRACKING_URI``
    and ``WANDB_PROJECT``."""
