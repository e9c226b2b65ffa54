"""Emomusic (Soleymani et al. 2013): excerpts of 45 s with mean ratings of arousal and valence, in CALM's split."""

from mulan.evaluation.protocols.probe import RegressionProbe
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

EMOMUSIC = EvaluationTask(
    name="emomusic",
    title="Emomusic",
    description="Regression of the arousal and valence of the 125 songs of MediaEval's evaluation set.",
    prepared_by=f"--source emomusic=FOLDER {WHOLE_RECORDINGS}",
    protocols=(RegressionProbe("emomusic"),),
)
