"""The Song Describer dataset (Manco et al. 2023): captions of tracks of MTG-Jamendo as queries for them.

Results are usually those of the validated captions; the corpus decides which captions there are. The captions are
searched with as they were written. All tracks are of the test part of split 0 of MTG-Jamendo, but 475 of them are in
the training part of split 1.
"""

from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

SONG_DESCRIBER = EvaluationTask(
    name="song_describer",
    title="Song Describer, validated captions",
    description="Retrieval of 547 tracks by their 746 validated captions.",
    prepared_by=f"--source song_describer=FOLDER --set song_describer.valid_only=true {WHOLE_RECORDINGS}",
    protocols=(CaptionRetrieval("song_describer", source="long_form_unfiltered"),),
)

SONG_DESCRIBER_ALL = EvaluationTask(
    name="song_describer_all",
    title="Song Describer, all captions",
    description="Retrieval of 706 tracks by their 1,106 captions.",
    prepared_by=f"--source song_describer=FOLDER {WHOLE_RECORDINGS}",
    protocols=(CaptionRetrieval("song_describer_all", source="long_form_unfiltered"),),
)
