"""The settings of a preparation: frozen, validated sections, which ``--set section.field=value`` changes."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mulan.config.base import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Section
from mulan.preparation.fields import FieldsConfig
from mulan.preparation.sources.audioset import AudioSetConfig
from mulan.preparation.sources.emomusic import EmomusicConfig
from mulan.preparation.sources.fma import FmaConfig
from mulan.preparation.sources.folder import FolderConfig
from mulan.preparation.sources.giantsteps import GiantstepsConfig
from mulan.preparation.sources.gtzan import GtzanConfig
from mulan.preparation.sources.hf_dataset import HfConfig
from mulan.preparation.sources.mtat import MtatConfig
from mulan.preparation.sources.mtg_jamendo import MtgJamendoConfig
from mulan.preparation.sources.musiccaps import MusicCapsConfig
from mulan.preparation.sources.nsynth import NsynthConfig
from mulan.preparation.sources.song_describer import SongDescriberConfig
from mulan.preparation.sources.table import TableConfig
from mulan.preparation.sources.webdataset import WebDatasetConfig
from mulan.preparation.texts.rules import RULE_NAMES


class ClipConfig(Section):
    """The part of a recording that is kept, and its form (MuLan §3.4: 30 s from second 30 on, at 16 kHz)."""

    start_s: NonNegativeFloat = 30
    """Start of the clip in seconds. In a shorter recording, the clip ends where the recording ends."""
    duration_s: NonNegativeFloat = 30
    """Maximum duration of the clip in seconds; 0 keeps the whole recording."""
    sample_rate_hz: Annotated[int, Field(ge=1000, le=655_350)] = 16_000
    """Sample rate of the clip in Hz, at most what FLAC supports."""
    min_duration_s: PositiveFloat = 1.0
    """Minimum duration in seconds of what can be decoded of a recording before any damage; recordings with less are
    left out."""
    max_silence: Fraction = 1.0
    """Maximum share of silent seconds in a clip; recordings with more are left out. Completely silent ones always are.
    """


class SplitConfig(Section):
    """The splits of recordings whose source has none. Recordings of one artist are in one split.

    The shares are at most 1 together; the rest is ``train``.
    """

    validation: Fraction = 0.05
    """Share of the artists in ``validation``."""
    test: Fraction = 0.05
    """Share of the artists in ``test``."""

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.validation + self.test > 1:
            raise ValueError(f"validation and test are more than 1 together: {self.validation:g} + {self.test:g}")
        return self


class MusicConfig(Section):
    """The music detector (MuLan §3.4: clips of which at least half is music)."""

    tagger: str = ""
    """Tagger with a class "Music": a folder or URI of a tagger that mulan exported, a folder, URI or ``hub:OWNER/NAME``
    of an Audio Spectrogram Transformer, or ``python:MODULE:FUNCTION``; empty to keep everything."""
    threshold: Fraction = 0.5
    """Minimum probability of music in a window that counts as music."""
    min_share: Fraction = 0.5
    """Minimum share of a clip's windows that are music."""
    use_gpu: bool = False
    """Whether each actor of the detector reserves a GPU."""


class TextConfig(Section):
    """The filters of texts (MuLan §3.4)."""

    off: tuple[str, ...] = ()
    """Names of the rules that are not applied (:mod:`mulan.preparation.texts.rules`)."""
    unfiltered: bool = True
    """Whether the texts before filtering are kept as ``short_form_unfiltered`` and ``long_form_unfiltered``."""
    short_form_max_words: PositiveInt = 24
    """Maximum number of words of short-form texts and titles of playlists; longer ones are removed."""
    long_form_max_words: PositiveInt = 128
    """Maximum number of words of long-form texts. Longer ones are split into sentences, and longer sentences cut."""
    sentences: bool = False
    """Whether all long-form texts are split into sentences, as in MuLan, and not only those that are too long."""
    max_channel_repeats: Annotated[int, Field(ge=1, le=254)] = 10
    """Maximum number of recordings of one channel that may have a text; texts of more recordings are removed as
    boilerplate, whatever their case."""
    channel_memory_mib: PositiveInt = 64
    """Size in MiB of the counters of texts by channel (:class:`mulan.preparation.texts.channel_texts.ChannelTexts`);
    64 serve some ten million distinct texts."""
    filter: str = ""
    """Folder or URI of a classifier of long-form texts that ``jobs.train_text_filter`` trained; empty for none."""
    filter_use_gpu: bool = False
    """Whether each actor of the classifier reserves a GPU."""
    languages: tuple[Annotated[str, Field(pattern="^[a-z]{2,3}$")], ...] = ()
    """ISO 639 codes of the languages of texts with more than four words; empty to keep every language."""
    playlists: str = ""
    """Table (CSV, TSV, JSON lines, Parquet or Arrow) with the columns ``playlist``, a title, and ``recording``,
    the id of a recording or the path of its audio; empty for none."""

    @field_validator("off")
    @classmethod
    def _check_names(cls, off: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted({*off} - {*RULE_NAMES}):
            raise ValueError(f"no rule is called {', '.join(unknown)}; the rules are {', '.join(RULE_NAMES)}")
        return off


class DuplicateConfig(Section):
    """The removal of duplicates."""

    audio: bool = True
    """Whether recordings with the same decoded audio are kept only once."""
    texts: Literal["titled", "all", "off"] = "titled"
    """Which recordings are kept only once if their texts are nearly equal: with ``titled`` those that have the same
    title and artist, since templates of captions describe many different recordings; with ``all`` any recordings whose
    texts have at least 8 words; with ``off`` none."""
    similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.9
    """Minimum Jaccard similarity of nearly equal texts, of their shingles of 5 characters."""


class PreparationConfig(Section):
    """All settings of a preparation."""

    clip: ClipConfig = ClipConfig()
    splits: SplitConfig = SplitConfig()
    music: MusicConfig = MusicConfig()
    text: TextConfig = TextConfig()
    duplicates: DuplicateConfig = DuplicateConfig()
    fields: FieldsConfig = FieldsConfig()
    audioset: AudioSetConfig = AudioSetConfig()
    emomusic: EmomusicConfig = EmomusicConfig()
    fma: FmaConfig = FmaConfig()
    folder: FolderConfig = FolderConfig()
    giantsteps: GiantstepsConfig = GiantstepsConfig()
    gtzan: GtzanConfig = GtzanConfig()
    hf: HfConfig = HfConfig()
    mtat: MtatConfig = MtatConfig()
    mtg_jamendo: MtgJamendoConfig = MtgJamendoConfig()
    musiccaps: MusicCapsConfig = MusicCapsConfig()
    nsynth: NsynthConfig = NsynthConfig()
    song_describer: SongDescriberConfig = SongDescriberConfig()
    table: TableConfig = TableConfig()
    webdataset: WebDatasetConfig = WebDatasetConfig()
    recordings_per_shard: PositiveInt = 128
    """Average number of recordings in a shard."""
    max_left_out: Fraction = 0.5
    """Maximum share of a source's recordings that may be left out because their audio is missing or cannot be used."""

    def of_source(self, kind: str) -> Section:
        """Returns the settings of a kind of source, with the shared names of fields if it has none of its own.

        Args:
            kind: One of :data:`mulan.preparation.sources.registry.KINDS`.
        """
        section: Section = getattr(self, kind)
        has_default_fields = getattr(section, "fields", None) == FieldsConfig()
        return section.replace(fields=self.fields) if has_default_fields else section
