"""GTZAN (Tzanetakis and Cook 2002): excerpts of 30 s in ten genres, of the fault-filtered lists."""

from mulan.evaluation.protocols.class_probe import ClassificationProbe
from mulan.evaluation.protocols.zero_shot import ZeroShotClassification
from mulan.evaluation.tasks.task import WHOLE_RECORDINGS, EvaluationTask

GTZAN = EvaluationTask(
    name="gtzan",
    title="GTZAN, fault-filtered",
    description="Classification of the 290 excerpts of the test list as one of ten genres.",
    prepared_by=f"--source gtzan=FOLDER {WHOLE_RECORDINGS}",
    protocols=(ZeroShotClassification("gtzan", "gtzan"), ClassificationProbe("gtzan")),
)
