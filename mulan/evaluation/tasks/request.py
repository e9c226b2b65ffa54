"""Tasks as users name them on the command line, with their corpora."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import split_tag
from mulan.data.errors import MAX_FAULTS
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.templates import TAGS_ALONE, PromptedProtocol, PromptTemplates
from mulan.evaluation.tasks.registry import TASKS_OF_FILES, task_named
from mulan.evaluation.tasks.task import EvaluationTask


@dataclass(frozen=True)
class TaskRequest:
    """A task and what it is evaluated on."""

    task: EvaluationTask
    """The task."""
    uri: str
    """Path or URI of the corpus, or of the file that the task needs instead."""
    corpus: Corpus | None
    """The corpus; None for a task of a file."""


def task_requests(
    words: Sequence[str],
    *,
    default_corpus: str | None = None,
    split: str = "test",
    templates: PromptTemplates = TAGS_ALONE,
) -> list[TaskRequest]:
    """Returns the tasks that were named, with their corpora; each corpus is opened once.

    Args:
        words: Tasks as ``NAME=CORPUS``, or as ``NAME`` for the default corpus; or as ``NAME=FILE`` if they need a file.
        default_corpus: Path or URI of the corpus of tasks that name none; None if there is none.
        split: Split whose recordings the tasks of any corpus score; those of public data sets score ``test``.
        templates: Templates of the prompts of tags.

    Raises:
        EvaluationError: A task does not exist, is named twice, has no corpus, or does not score the split, or no task
            has prompts that a template is for; lists all faults.
        CorpusError: A corpus does not exist or is damaged.
        UnusableTextFile, StorageError: A file cannot be read.
    """
    faults: list[str] = []
    named: list[tuple[EvaluationTask, str]] = []
    for name, _, uri in (word.partition("=") for word in words):
        if name in {task.name for task, _ in named}:
            faults.append(f"the task {name} is named twice; evaluate it on each corpus by a command of its own")
            continue
        try:
            if name in TASKS_OF_FILES:
                named.append((_of_file(name, uri), uri))
            else:
                named.append((_of_corpus(name, uri or default_corpus, split), uri or default_corpus or ""))
        except EvaluationError as error:
            faults.append(str(error))
    if faults:
        raise EvaluationError("; ".join(faults))
    uris = dict.fromkeys(uri for task, uri in named if task.name not in TASKS_OF_FILES)
    corpora = {uri: Corpus.open(uri) for uri in uris}
    if templates != TAGS_ALONE:
        _check_templates(templates, [corpora[uri] for task, uri in named if _has_prompts(task)])
    return [
        TaskRequest(task.prompted(templates), uri, None if task.name in TASKS_OF_FILES else corpora[uri])
        for task, uri in named
    ]


def _has_prompts(task: EvaluationTask) -> bool:
    return any(isinstance(protocol, PromptedProtocol) for protocol in task.protocols)


def _check_templates(templates: PromptTemplates, corpora: Sequence[Corpus]) -> None:
    """Checks that templates are used.

    Args:
        templates: The templates.
        corpora: The corpora of the tasks that have prompts.

    Raises:
        EvaluationError: There are no such tasks, or no tags of a category; names all of them.
    """
    if not corpora:
        raise EvaluationError("--template: none of the tasks has prompts of tags; leave it out, or add --task tags")
    tags = [tag for corpus in corpora for tag in pc.unique(pc.list_flatten(corpus.table["tags"])).to_pylist()]
    categories = sorted({split_tag(tag)[0] for tag in tags})
    unknown = [name for name in templates.by_category if name not in categories]
    if unknown:
        listed = ", ".join(categories[:MAX_FAULTS]) or "none"
        more = f" and {len(categories) - MAX_FAULTS} more" if len(categories) > MAX_FAULTS else ""
        named = ", ".join(f"{name!r:.80}" for name in unknown[:MAX_FAULTS])
        raise EvaluationError(f"--template: the corpora have no tags of the category {named}; they have {listed}{more}")


def _of_file(name: str, uri: str) -> EvaluationTask:
    if not uri:
        raise EvaluationError(f"the task {name} needs a file: --task {name}=FILE")
    return TASKS_OF_FILES[name](uri)


def _of_corpus(name: str, uri: str | None, split: str) -> EvaluationTask:
    task = task_named(name)
    if not uri:
        prepared = f", which jobs.prepare makes with {task.prepared_by}" if task.prepared_by else ""
        raise EvaluationError(f"the task {name} needs the folder of its corpus{prepared}: --task {name}=CORPUS")
    if task.prepared_by and split != "test":
        raise EvaluationError(
            f"the task {name} scores the official test split of a public data set, not {split}; evaluate it by a "
            "command of its own without --split"
        )
    return task.on_split(split)
