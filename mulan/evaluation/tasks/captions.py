"""The texts of the recordings of any corpus as queries for its recordings."""

from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.tasks.task import EvaluationTask

CAPTIONS = EvaluationTask(
    name="captions",
    title="Captions of the corpus",
    description="Retrieval of the recordings of the test split by their long texts, and by their short ones.",
    prepared_by="",
    protocols=(CaptionRetrieval("long_form"), CaptionRetrieval("short_form", source="short_form")),
)
