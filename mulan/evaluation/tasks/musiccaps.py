"""MusicCaps (Agostinelli et al. 2023): captions of 10 s clips of AudioSet as queries for them.

The test split has the clips of AudioSet's evaluation table. The captions are searched with as they were written.
"""

from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

MUSICCAPS = EvaluationTask(
    name="musiccaps",
    title="MusicCaps",
    description="Retrieval of the 2,858 evaluation clips, or of those that are left on YouTube, by their captions.",
    prepared_by=f"--source musiccaps=FOLDER {WHOLE_RECORDINGS}",
    protocols=(CaptionRetrieval("musiccaps", source="long_form_unfiltered"),),
)
