"""The interface of a task: which protocols are evaluated on a corpus."""

from dataclasses import dataclass, replace

from mulan.evaluation.protocols.protocol import EvaluationProtocol
from mulan.evaluation.protocols.templates import PromptedProtocol, PromptTemplates

WHOLE_RECORDINGS = "--set clip.start_s=0 --set clip.duration_s=0 --set duplicates.audio=false"
"""Arguments of ``jobs.prepare`` that keep all recordings of a public data set, and the whole of each."""


@dataclass(frozen=True)
class EvaluationTask:
    """What a corpus is evaluated on."""

    name: str
    """Name of the task, as in ``--task mtat=CORPUS``."""
    title: str
    """Name of the data set, as reports show it."""
    description: str
    """One sentence that says what is evaluated."""
    prepared_by: str
    """Arguments of ``jobs.prepare`` that make its corpus, such as ``--source mtat=FOLDER --set mtat.tags=all``; empty
    for tasks of any corpus."""
    protocols: tuple[EvaluationProtocol, ...]
    """What is evaluated."""

    def on_split(self, split: str) -> "EvaluationTask":
        """Returns the task for the recordings of another split; those of public data sets have splits of their own.

        Args:
            split: ``train``, ``validation`` or ``test``.
        """
        assert split == "test" or not self.prepared_by, f"{self.name} scores the official test split"
        return replace(self, protocols=tuple(protocol.on_split(split) for protocol in self.protocols))

    def prompted(self, templates: PromptTemplates) -> "EvaluationTask":
        """Returns the task with templates of the prompts of its tags, if it has prompts."""
        protocols = (
            each.prompted(templates) if isinstance(each, PromptedProtocol) else each for each in self.protocols
        )
        return replace(self, protocols=tuple(protocols))

    @property
    def tag_lists(self) -> tuple[str, ...]:
        """Names of the lists of :mod:`mulan.vocabularies` whose tags the corpus is to have."""
        bases = (getattr(protocol, "base", protocol) for protocol in self.protocols)
        named = dict.fromkeys(getattr(base, "vocabulary", None) or "" for base in bases)
        return tuple(name for name in named if name and not name.endswith(":"))  # with a colon it is a category

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits whose audio is embedded."""
        return tuple(sorted({split for protocol in self.protocols for split in protocol.splits}))
