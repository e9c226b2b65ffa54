"""The NSynth data set of single notes (Engel et al. 2017, arXiv:1704.01279) in its official layout."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mulan.config.base import Section
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.damaged_lines import DamagedLines
from mulan.preparation.sources.official_audio import list_audio
from mulan.preparation.sources.streamed_files import json_entries
from mulan.storage import filesystem

FOLDERS: Mapping[str, str] = {"nsynth-train": "train", "nsynth-valid": "validation", "nsynth-test": "test"}
"""The splits by the names of their folders."""

_TEXTS = ("instrument_str", "instrument_family_str", "instrument_source_str")

_REMEDY = "unpack the nsynth-*.jsonwav.tar.gz of the NSynth data set again"


class NsynthConfig(Section):
    """How NSynth is read. PATH contains ``nsynth-train``, ``nsynth-valid`` and ``nsynth-test``, or some of them."""


@dataclass(frozen=True)
class NsynthNote:
    """An entry of ``examples.json``."""

    name: str
    """Name of the note, which is that of its audio file: ``bass_synthetic_068-049-025``."""
    instrument: str
    """Name of the instrument: ``bass_synthetic_068``. Those of ``train`` are in no other split."""
    family: str
    """Family of the instrument: ``bass``."""
    source: str
    """How the sound was made: ``acoustic``, ``electronic`` or ``synthetic``."""
    pitch: int
    """Pitch as a MIDI note number, 0 to 127."""
    qualities: tuple[str, ...]
    """Qualities of the sound, such as ``bright``; often none."""


class NsynthSource:
    """The notes of those splits whose folder is there, with tags for family, source, pitch and qualities.

    The artist of a note is its instrument.
    """

    def __init__(self, uri: str, config: NsynthConfig) -> None:
        """
        Args:
            uri: Path or URI of the folder that contains the folders of the splits.
        """
        self._uri = uri
        self._name = f"nsynth={uri}"

    def notes(self, folder: str) -> Iterator[NsynthNote]:
        """Yields the notes of a folder of :data:`FOLDERS`, in the order of its ``examples.json``.

        Raises:
            SourceError: The file is missing or is truncated; or, after all usable notes, some are damaged.
        """
        uri = filesystem.join(self._uri, folder, "examples.json")
        damaged = DamagedLines(uri, _REMEDY)
        for line, name, value in json_entries(self._name, uri, remedy=_REMEDY):
            try:
                yield _note(name, value)
            except ValueError as error:
                damaged.add(line, f"{name}: {error}")
        if faults := damaged.faults():
            raise SourceError(self._name, faults)

    def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
        """Yields the notes whose audio is there: train, validation, test, each in the order of its ``examples.json``.

        Raises:
            SourceError: There is none of the folders, or a file is missing or damaged.
        """
        present = filesystem.names_in(self._uri)
        folders = [folder for folder in FOLDERS if folder in present]
        if not folders:
            raise SourceError(self._name, [f"there is no {', '.join(FOLDERS)} in {self._uri}; {_REMEDY}"])
        for folder in folders:
            audio = list_audio(self._name, filesystem.join(self._uri, folder, "audio"), remedy=_REMEDY)
            for note in self.notes(folder):
                location = audio.find(f"{note.name}.wav")
                if location is None:
                    faults.missing(note.name, filesystem.join(audio.uri, f"{note.name}.wav"))
                    continue
                yield FoundRecording(
                    recording_id=note.name,
                    audio=location,
                    split=FOLDERS[folder],
                    tags=[
                        f"instrument:{note.family}",
                        f"source:{note.source}",
                        f"pitch:{note.pitch}",
                        *(f"quality:{quality}" for quality in note.qualities),
                    ],
                    artist=note.instrument,
                    provenance=f"NSynth, note {note.name}",
                    licence="CC BY 4.0",
                )


def _note(name: str, value: Any) -> NsynthNote:
    """Returns the note of an entry; raises ValueError, with what is wrong, if it is damaged."""
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} instead of an object")
    wrong = [field for field in _TEXTS if not (isinstance(value.get(field), str) and value[field])]
    pitch, qualities = value.get("pitch"), value.get("qualities_str")
    if type(pitch) is not int or not 0 <= pitch <= 127:
        wrong.append("pitch")
    if not (isinstance(qualities, list) and all(isinstance(quality, str) and quality for quality in qualities)):
        wrong.append("qualities_str")
    if value.get("note_str") != name:
        wrong.append("note_str")
    if wrong:
        raise ValueError(f"wrong or missing {', '.join(wrong)}")
    return NsynthNote(
        name=name,
        instrument=value["instrument_str"],
        family=value["instrument_family_str"],
        source=value["instrument_source_str"],
        pitch=value["pitch"],
        qualities=tuple(value["qualities_str"]),
    )
