"""AudioSet (Gemmeke et al. 2017): 10 s clips of YouTube videos with labels of 527 classes."""

from collections.abc import Iterator

from mulan.config.base import Section
from mulan.preparation.audio_files import AudioFiles
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.audioset_segments import REMEDY, Segment, SegmentTable, class_names
from mulan.preparation.sources.official_files import read_official
from mulan.preparation.sources.youtube_names import ClipFiles
from mulan.storage import filesystem
from mulan.vocabularies.audioset_classes import class_list, tag_of

SPLITS = {"balanced_train": "train", "eval": "test", "unbalanced_train": "train"}
"""The split of each table of segments, by its name without ``_segments.csv``. There is no validation split."""

LICENCE = "labels CC BY 4.0 (Google), audio of the uploader of the video"


class AudioSetConfig(Section):
    """The source ``audioset``: a folder with AudioSet's tables of segments, its table of classes, and audio files."""

    music_only: bool = False
    """Whether only clips with a label of music are used: the class Music or one below it in the ontology."""
    full_videos: bool = False
    """Whether files that are named by nothing but the id are whole videos, of which the clip is a part. Files whose
    names state a time contain only the clip."""


class AudioSetSource:
    """AudioSet's clips as recordings: the display names of their labels are texts of ``audioset`` and tags.

    The folder has at least one of ``balanced_train_segments.csv``, ``eval_segments.csv`` and
    ``unbalanced_train_segments.csv``, and ``class_labels_indices.csv``. The audio is found in any folder below it by
    the names of :class:`ClipFiles`. The balanced and unbalanced tables are the split ``train``, and the evaluation
    table is ``test``. As there is no validation split, recipes train with ``train.validation_micro_batches=0`` on a
    corpus of nothing but AudioSet.
    """

    def __init__(self, uri: str, config: AudioSetConfig) -> None:
        """
        Args:
            uri: Absolute path or URI of the folder.
            config: The settings.
        """
        self._uri, self._config, self._name = uri, config, f"audioset={uri}"

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the clips with audio, table by table in the order of their names, each in its own order.

        Raises:
            SourceError: A table is missing or damaged. All tables are checked before the first clip.
        """
        uri = filesystem.join(self._uri, "class_labels_indices.csv")
        names = class_names(self._name, uri, read_official(self._name, uri, remedy=REMEDY))
        tables = self._tables()
        seen: set[str] = set()
        damage = [fault for table in tables.values() for fault in table.faults(names, seen)]
        if damage:
            raise SourceError(self._name, damage)
        files = ClipFiles(AudioFiles.below(self._uri))
        music = class_list("music").classes
        for name, table in tables.items():
            for segment in table:
                if not self._config.music_only or any(label in music for label in segment.labels):
                    labels = [names[label] for label in segment.labels]
                    yield from self._recording(segment, name, labels, files, faults)

    def _tables(self) -> dict[str, SegmentTable]:
        """Returns the tables that exist, by the names of their parts of AudioSet."""
        uris = {name: filesystem.join(self._uri, f"{name}_segments.csv") for name in SPLITS}
        present = {name: uri for name, uri in uris.items() if filesystem.exists(uri)}
        if not present:
            wanted = ", ".join(f"{name}_segments.csv" for name in SPLITS)
            raise SourceError(self._name, [f"{self._uri} has none of {wanted}; {REMEDY}"])
        return {name: SegmentTable(self._name, uri) for name, uri in present.items()}

    def _recording(
        self, segment: Segment, part: str, labels: list[str], files: ClipFiles, faults: Faults
    ) -> Iterator[FoundRecording]:
        file = files.find(segment.youtube_id, segment.start_s)
        if file is None:
            faults.missing(segment.youtube_id, files.looked_for(segment.youtube_id))
            return
        is_part = self._config.full_videos and not file.is_cut
        yield FoundRecording(
            recording_id=segment.youtube_id,
            audio=file.location,
            split=SPLITS[part],
            texts={"audioset": labels},
            tags=[tag_of(label) for label in labels],
            start_s=segment.start_s if is_part else None,
            end_s=segment.end_s if is_part else None,
            provenance=f"AudioSet {part}, YouTube {segment.youtube_id}, {segment.start_s:g}-{segment.end_s:g} s",
            licence=LICENCE,
        )
