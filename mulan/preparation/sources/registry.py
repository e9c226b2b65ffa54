"""The kinds of sources by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mulan.preparation.found import Source
from mulan.preparation.sources.audioset import AudioSetSource
from mulan.preparation.sources.emomusic import EmomusicSource
from mulan.preparation.sources.fma import FmaSource
from mulan.preparation.sources.folder import FolderSource
from mulan.preparation.sources.giantsteps import GiantstepsSource
from mulan.preparation.sources.gtzan import GtzanSource
from mulan.preparation.sources.hf_dataset import HuggingFaceDataset
from mulan.preparation.sources.mtat import MtatSource
from mulan.preparation.sources.mtg_jamendo import MtgJamendoSource
from mulan.preparation.sources.musiccaps import MusicCapsSource
from mulan.preparation.sources.nsynth import NsynthSource
from mulan.preparation.sources.song_describer import SongDescriberSource
from mulan.preparation.sources.table import TableSource
from mulan.preparation.sources.webdataset import WebDataset

SourceKind = Callable[[str, Any], Source]
"""Creates a source from its path or URI, which is absolute, and its section of the settings, a class of its own."""

KINDS: Mapping[str, SourceKind] = MappingProxyType(
    {
        # in alphabetical order
        "audioset": AudioSetSource,
        "emomusic": EmomusicSource,
        "fma": FmaSource,
        "folder": FolderSource,
        "giantsteps": GiantstepsSource,
        "gtzan": GtzanSource,
        "hf": HuggingFaceDataset,
        "mtat": MtatSource,
        "mtg_jamendo": MtgJamendoSource,
        "musiccaps": MusicCapsSource,
        "nsynth": NsynthSource,
        "song_describer": SongDescriberSource,
        "table": TableSource,
        "webdataset": WebDataset,
    }
)
"""The kinds of sources, by the names that ``--source KIND=PATH`` takes; each has a section of that name."""
