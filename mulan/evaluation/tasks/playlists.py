"""The titles of playlists of any corpus as queries for their recordings (MuLan §4.1.3)."""

from mulan.evaluation.protocols.retrieval import PlaylistRetrieval
from mulan.evaluation.tasks.task import EvaluationTask

PLAYLISTS = EvaluationTask(
    name="playlists",
    title="Playlists of the corpus",
    description="Retrieval of the recordings of the test split by the titles and descriptions of their playlists.",
    prepared_by="",
    protocols=(
        PlaylistRetrieval("titles"),
        PlaylistRetrieval("descriptions", source="long_form", titles="playlist"),
    ),
)
