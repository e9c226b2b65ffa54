"""Triplets of texts, without audio (MuLan §4.1.4): of the playlists and recordings of any corpus, and of AudioSet."""

from mulan.evaluation.protocols.ontology import described_classes
from mulan.evaluation.protocols.triplet_sources import OntologyTriplets, PlaylistTriplets, RecordingTriplets
from mulan.evaluation.protocols.triplets import TextTriplets
from mulan.evaluation.tasks.task import EvaluationTask

TRIPLETS = EvaluationTask(
    name="triplets",
    title="Text triplets of the corpus",
    description="Titles of playlists against descriptions, and short texts of recordings against long ones.",
    prepared_by="",
    protocols=(TextTriplets("playlists", PlaylistTriplets()), TextTriplets("recordings", RecordingTriplets())),
)


def ontology_task(uri: str) -> EvaluationTask:
    """Returns the task of AudioSet's ontology, which needs its file instead of a corpus.

    Args:
        uri: Path or URI of ``ontology.json`` of github.com/audioset/ontology.

    Raises:
        EvaluationError, UnusableTextFile: The file cannot be read, or is damaged; lists all faults.
        StorageError: The storage does not respond.
    """
    source = OntologyTriplets(uri)
    described_classes(uri, source.classes)  # so that a damaged file is an error before anything is computed
    return EvaluationTask(
        name="ontology",
        title="Text triplets of AudioSet's ontology",
        description="Labels of 141 classes of music against their descriptions.",
        prepared_by="",
        protocols=(TextTriplets("audioset_ontology", source),),
    )
