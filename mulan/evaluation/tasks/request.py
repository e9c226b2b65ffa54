"""Tasks as users name them on the command line, with their corpora."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mulan.config.errors import ErrorCollection
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.metadata import SPLITS, split_tag
from mulan.data.errors import MAX_FAULTS, CorpusError
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.templates import TAGS_ALONE, PromptedProtocol, PromptTemplates
from mulan.evaluation.tasks.registry import TASKS_OF_FILES, task_named
from mulan.evaluation.tasks.task import EvaluationTask
from mulan.vocabularies.vocabulary import vocabulary


@dataclass(frozen=True)
class TaskRequest:
    """A task and what it is evaluated on."""

    task: EvaluationTask
    """The task."""
    uri: str
    """Path or URI of the corpus, or of the file that the task needs instead."""
    corpus: Corpus | None
    """The corpus, or the part of it that is evaluated; None for a task of a file."""
    note: str = ""
    """Sentences that say which part of the corpus is evaluated, and what it lacks; empty if there is nothing to say."""


def task_requests(
    words: Sequence[str],
    *,
    default_corpus: str | None = None,
    split: str = "test",
    templates: PromptTemplates = TAGS_ALONE,
    max_train_recordings: int | None = None,
) -> list[TaskRequest]:
    """Returns the tasks that were named, with their corpora; each corpus is opened once.

    Args:
        words: Tasks as ``NAME=CORPUS``, or as ``NAME`` for the default corpus; or as ``NAME=FILE`` if they need a file.
        default_corpus: Path or URI of the corpus of tasks that name none; None if there is none.
        split: Split whose recordings the tasks of any corpus score; those of public data sets score ``test``.
        templates: Templates of the prompts of tags.
        max_train_recordings: Maximum number of recordings of the split ``train``, which probes are trained on, that
            tasks of any corpus take; None for all. Those of public data sets take all.

    Raises:
        EvaluationError: A task does not exist, is named twice, has no corpus, or does not score the split, or no task
            has prompts that a template is for.
        CorpusError: A corpus does not exist, is damaged, or has no recordings in the split.
        UnusableTextFile, StorageError: A file cannot be read.
        SeveralErrors: There are several of these errors; lists all of them.
    """
    errors = ErrorCollection()
    named: list[tuple[EvaluationTask, str]] = []
    for name, _, uri in (word.partition("=") for word in words):
        with errors.collecting():
            if name in {task.name for task, _ in named}:
                raise EvaluationError(
                    f"the task {name} is named twice; evaluate it on each corpus by a command of its own"
                )
            if name in TASKS_OF_FILES:
                named.append((_of_file(name, uri), uri))
            else:
                named.append((_of_corpus(name, uri or default_corpus, split), uri or default_corpus or ""))
    corpora: dict[str, Corpus] = {}
    for uri in dict.fromkeys(uri for task, uri in named if task.name not in TASKS_OF_FILES):
        with errors.collecting():
            corpora[uri] = Corpus.open(uri)
            if any(task.splits for task, needed in named if needed == uri):
                _check_split(corpora[uri], split)
    if templates != TAGS_ALONE:
        with errors.collecting():
            _check_templates(templates, [corpora.get(uri) for task, uri in named if _has_prompts(task)])
    errors.raise_any()
    limit = None if split == "train" else max_train_recordings
    parts = {uri: corpus if limit is None else corpus.with_at_most(limit, "train") for uri, corpus in corpora.items()}
    requests = []
    for task, uri in named:
        request = TaskRequest(task.prompted(templates), uri, None)
        if task.name not in TASKS_OF_FILES:
            whole, part = corpora[uri], corpora[uri] if task.prepared_by else parts[uri]
            notes = (_part(task, whole, part), _lacks(task, whole))
            request = replace(request, corpus=part, note=" ".join(filter(None, notes)))
        requests.append(request)
    return requests


def _part(task: EvaluationTask, whole: Corpus, part: Corpus) -> str:
    recordings, taken = (len(corpus.rows("train")) for corpus in (whole, part))
    if recordings == taken or "train" not in task.splits:
        return ""
    return (
        f"Probes are trained on {taken:,} of the {recordings:,} recordings of the split train, chosen by a digest of "
        "their ids."
    )


def _lacks(task: EvaluationTask, corpus: Corpus) -> str:
    tags = {tag for name in task.tag_lists for tag in vocabulary(name).tags}
    having = tags & set(corpus.tags())
    if len(having) == len(tags):
        return ""
    return f"The corpus has {len(having)} of the {len(tags)} tags of {', '.join(task.tag_lists)}."


def check_corpora(requests: Sequence[TaskRequest]) -> None:
    """Checks that the corpora of public data sets have anything that their tasks need, as far as the index tells.

    Raises:
        CorpusError, SeveralErrors: A corpus has no tag of a task; says how the task's corpus is made.
    """
    errors = ErrorCollection()
    for request in requests:
        lists = request.task.tag_lists
        if request.corpus is not None and lists:
            tags = [tag for name in lists for tag in vocabulary(name).tags]
            if set(tags).isdisjoint(request.corpus.tags()):
                with errors.collecting():
                    fault = f"it has no tag of the task {request.task.name}, such as {tags[0]}; jobs.prepare "
                    raise CorpusError(request.uri, [f"{fault}{request.task.prepared_by} makes the task's corpus"])
    errors.raise_any()


def _has_prompts(task: EvaluationTask) -> bool:
    return any(isinstance(protocol, PromptedProtocol) for protocol in task.protocols)


def _check_split(corpus: Corpus, split: str) -> None:
    if not len(corpus.rows(split)):
        others = " or ".join(f"--split {name}" for name in SPLITS if len(corpus.rows(name)))
        fault = f"it has no recordings in the split {split!r}; {others} scores those that it has"
        raise CorpusError(corpus.uri, [fault])


def _check_templates(templates: PromptTemplates, corpora: Sequence[Corpus | None]) -> None:
    """Checks that templates are used.

    Args:
        templates: The templates.
        corpora: The corpora of the tasks that have prompts; None for those that cannot be opened.

    Raises:
        EvaluationError: There are no such tasks, or no tags of a category; names all of them.
    """
    if not corpora:
        raise EvaluationError("--template: none of the tasks has prompts of tags; leave it out, or add --task tags")
    opened = [corpus for corpus in corpora if corpus is not None]
    if len(opened) < len(corpora):
        return
    categories = sorted({split_tag(tag)[0] for corpus in opened for tag in corpus.tags()})
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
