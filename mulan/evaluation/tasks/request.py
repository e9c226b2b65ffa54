"""Tasks as users name them on the command line, with their corpora."""

from collections.abc import Sequence
from dataclasses import dataclass

from mulan.data.corpus.index import Corpus
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.tasks.registry import task_named
from mulan.evaluation.tasks.task import EvaluationTask


@dataclass(frozen=True)
class TaskRequest:
    """A task and the corpus that it is evaluated on."""

    task: EvaluationTask
    """The task."""
    corpus: Corpus
    """The corpus."""


def task_requests(words: Sequence[str], *, default_corpus: str | None = None, split: str = "test") -> list[TaskRequest]:
    """Returns the tasks that were named, with their corpora; each corpus is opened once.

    Args:
        words: Tasks as ``NAME=CORPUS``, or as ``NAME`` for the default corpus.
        default_corpus: Path or URI of the corpus of tasks that name none; None if there is none.
        split: Split whose recordings the tasks of any corpus score; those of public data sets score ``test``.

    Raises:
        EvaluationError: A task does not exist, is named twice, has no corpus, or does not score the split;
            lists all faults.
        CorpusError: A corpus does not exist or is damaged.
    """
    faults: list[str] = []
    named: list[tuple[EvaluationTask, str]] = []
    for word in words:
        name, _, uri = word.partition("=")
        try:
            task = task_named(name)
        except EvaluationError as error:
            faults.append(str(error))
            continue
        if task.name in {other.name for other, _ in named}:
            faults.append(f"the task {name} is named twice; evaluate it on each corpus by a command of its own")
        if not uri and not default_corpus:
            prepared = f", which jobs.prepare makes with {task.prepared_by}" if task.prepared_by else ""
            faults.append(f"the task {name} needs the folder of its corpus{prepared}: --task {name}=CORPUS")
        if task.prepared_by and split != "test":
            faults.append(
                f"the task {name} scores the official test split of a public data set, not {split}; evaluate it by a "
                "command of its own without --split"
            )
            continue
        named.append((task.on_split(split), uri or default_corpus or ""))
    if faults:
        raise EvaluationError("; ".join(faults))
    corpora = {uri: Corpus.open(uri) for uri in dict.fromkeys(uri for _, uri in named)}
    return [TaskRequest(task, corpora[uri]) for task, uri in named]
