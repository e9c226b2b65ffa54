"""GiantSteps key (Knees et al. 2015; Faraldo et al. 2017): excerpts of two minutes of electronic dance music.

Trained on the MTG key data set with jukemir's validation split, and tested on the 604 songs of the key data set.
"""

from mulan.evaluation.protocols.class_probe import KeyProbe
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

GIANTSTEPS = EvaluationTask(
    name="giantsteps",
    title="GiantSteps key",
    description="Classification of songs as one of 24 keys, with the weighted score of MIREX.",
    prepared_by=f"--source giantsteps=FOLDER {WHOLE_RECORDINGS}",
    protocols=(KeyProbe("giantsteps"),),
)
