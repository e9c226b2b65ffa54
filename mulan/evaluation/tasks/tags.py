"""The tags of any corpus: each category that the test split has is a set."""

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.zero_shot import ZeroShotTagging
from mulan.evaluation.tasks.task import EvaluationTask

TAGS = EvaluationTask(
    name="tags",
    title="Tags of the corpus",
    description="Tagging with the tags of the corpus by category, on the recordings with one of them.",
    prepared_by="",
    protocols=(ZeroShotTagging("tagged"), TaggingProbe(recordings="tagged")),
)
