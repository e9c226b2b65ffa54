"""The count of a model's FLOPs on the first worker, which the others receive: it takes seconds for large models."""

from collections.abc import Callable

from mulan.config.recipe import Recipe
from mulan.distributed.collectives import all_gather_objects
from mulan.model.audio_encoder import TrainedModel
from mulan.telemetry.flops import ModelFlops, NotCounted, count_flops


class SharedFlops:
    """Counts the FLOPs of a recipe's model once for all workers."""

    def __init__(self, recipe: Recipe, rank: int) -> None:
        self._recipe, self._rank = recipe, rank
        self._counted: ModelFlops | None = None
        self._reason = ""

    def count(self, model: TrainedModel) -> None:
        """Counts on the first worker (:func:`mulan.telemetry.flops.count_flops`), and does nothing on the others."""
        if self._rank == 0:
            try:
                self._counted = count_flops(model, self._recipe)
            except NotCounted as error:
                self._reason = str(error)

    def share(self, on_failure: Callable[[str], None] | None) -> ModelFlops | None:
        """Returns the first worker's count on all workers; None if the model cannot be counted. Collective.

        Args:
            on_failure: Called with a line about a model that cannot be counted; None on workers that report nothing.
        """
        if self._reason and on_failure is not None:
            on_failure(f"the model's operations cannot be counted, so metrics are without FLOP/s: {self._reason}")
        counted: ModelFlops | None = all_gather_objects(self._counted)[0]
        return counted
