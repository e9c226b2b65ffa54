"""How models are evaluated, and who is told while they are."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from mulan.evaluation.embedding.labels import OnProgress, no_progress
from mulan.evaluation.finetuning.training import EndToEndSettings


@dataclass(frozen=True)
class EvaluationOptions:
    """How models are evaluated."""

    out_uri: str
    """Folder of the report, in which vectors are kept."""
    max_skipped_share: float = 0.01
    """Maximum share of skipped recordings of a corpus, in [0, 1]."""
    use_gpu: bool = False
    """Whether recordings are embedded on GPUs, one for each copy of an encoder."""
    on_this_machine: bool = True
    """Whether the cluster is this machine alone, see :func:`mulan.evaluation.embedding.pipeline.embed_corpus`."""
    finetune: EndToEndSettings | None = None
    """How the audio networks of exported models are also trained end to end, in place of the heads of probes: from
    their weights and, that of the first one, from scratch. None if they are not."""


class EvaluationObserver(Protocol):
    """Receives what an evaluation reports while it runs."""

    def message(self, line: str) -> None:
        """Receives a line of text."""

    def progress(self, label: str) -> AbstractContextManager[OnProgress]:
        """Returns the context in which recordings are embedded, with what is called after each batch."""


class SilentObserver:
    """Shows nothing."""

    def message(self, line: str) -> None:
        """Ignores the line."""

    def progress(self, label: str) -> AbstractContextManager[OnProgress]:
        """Returns a function that ignores the numbers."""
        return nullcontext(no_progress)
