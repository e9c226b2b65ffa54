"""The tasks by name."""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.tasks.audioset import AUDIOSET
from mulan.evaluation.tasks.captions import CAPTIONS
from mulan.evaluation.tasks.emomusic import EMOMUSIC
from mulan.evaluation.tasks.fma import FMA_MEDIUM, FMA_SMALL
from mulan.evaluation.tasks.giantsteps import GIANTSTEPS
from mulan.evaluation.tasks.gtzan import GTZAN
from mulan.evaluation.tasks.mtat import MTAT
from mulan.evaluation.tasks.mtg_jamendo import MTG_JAMENDO
from mulan.evaluation.tasks.musiccaps import MUSICCAPS
from mulan.evaluation.tasks.nsynth import NSYNTH
from mulan.evaluation.tasks.playlists import PLAYLISTS
from mulan.evaluation.tasks.robustness import MTAT_ROBUSTNESS, ROBUSTNESS
from mulan.evaluation.tasks.song_describer import SONG_DESCRIBER, SONG_DESCRIBER_ALL
from mulan.evaluation.tasks.tags import TAGS
from mulan.evaluation.tasks.task import EvaluationTask
from mulan.evaluation.tasks.triplets import TRIPLETS, ontology_task

TASKS_OF_FILES: Mapping[str, Callable[[str], EvaluationTask]] = MappingProxyType({"ontology": ontology_task})
"""Tasks that need a file in place of a corpus, ``--task ontology=FILE``, given its path or URI."""

TASKS: Mapping[str, EvaluationTask] = MappingProxyType(
    {
        task.name: task
        for task in (
            # of any corpus
            TAGS,
            CAPTIONS,
            PLAYLISTS,
            TRIPLETS,
            ROBUSTNESS,
            # of public data sets, in alphabetical order
            AUDIOSET,
            EMOMUSIC,
            FMA_MEDIUM,
            FMA_SMALL,
            GIANTSTEPS,
            GTZAN,
            MTAT,
            MTAT_ROBUSTNESS,
            MTG_JAMENDO,
            MUSICCAPS,
            NSYNTH,
            SONG_DESCRIBER,
            SONG_DESCRIBER_ALL,
        )
    }
)
"""The tasks, by the names that ``--task NAME=CORPUS`` takes."""


def task_named(name: str) -> EvaluationTask:
    """Returns a task of a corpus by its name.

    Raises:
        EvaluationError: There is no such task.

    Example:
        >>> task_named("gtzan").protocols[0].splits
        ('test',)
    """
    if name not in TASKS:
        names = [*TASKS, *TASKS_OF_FILES]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise EvaluationError(f"there is no task {name!r:.80}{hint} The tasks are {', '.join(names)}.")
    return TASKS[name]
