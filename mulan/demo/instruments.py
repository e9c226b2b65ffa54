"""The instruments of the demo corpus: General MIDI programs, registers and sound parameters."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["bass", "chords", "lead", "figure"]


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A pitched instrument.

    Attributes:
        programs: General MIDI programs (0-127) that a listener would call by the same name.
        registers: Lowest and highest MIDI pitch for each role that the instrument can take.
        decay_s: Time constant of a plucked or struck note; None for sustained notes. The renderer supports neither
            key velocity nor decay nor tremolo, so these are applied to its output.
        tremolo_hz: Tremolo rate of instruments with a motor or a rotary speaker; otherwise None.
        trim_db: Correction of the mix level, set from spectrograms: positive for thin, negative for piercing timbres.
        audioset_label: Display name of the nearest AudioSet class.
        aliases: Other names of the instrument.
    """

    programs: tuple[int, ...]
    registers: dict[Role, tuple[int, int]]
    audioset_label: str
    decay_s: float | None = None
    tremolo_hz: float | None = None
    trim_db: float = 0.0
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DrumPiece:
    """A piece of a percussion set, with its General MIDI key and its level in dB relative to a lead instrument."""

    key: int
    level_db: float


PITCHED: dict[str, Instrument] = {
    "piano": Instrument(
        programs=(0,),
        registers={"chords": (52, 74), "lead": (64, 88), "figure": (57, 81)},
        audioset_label="Piano",
        decay_s=1.6,
        trim_db=5.0,
        aliases=("grand piano", "keys"),
    ),
    "harpsichord": Instrument(
        programs=(6,),
        registers={"chords": (52, 74), "lead": (60, 84), "figure": (57, 81)},
        audioset_label="Harpsichord",
        decay_s=0.9,
        aliases=("cembalo",),
    ),
    "organ": Instrument(
        programs=(18,),
        registers={"bass": (36, 52), "chords": (50, 72), "lead": (62, 84)},
        audioset_label="Organ",
        tremolo_hz=6.8,
        trim_db=2.5,
        aliases=("hammond organ",),
    ),
    "accordion": Instrument(
        programs=(21,),
        registers={"chords": (53, 74), "lead": (62, 86), "figure": (57, 81)},
        audioset_label="Accordion",
        aliases=("squeezebox",),
    ),
    "harmonica": Instrument(
        programs=(22,),
        registers={"lead": (62, 86), "figure": (60, 81)},
        audioset_label="Harmonica",
        aliases=("blues harp",),
    ),
    "acoustic guitar": Instrument(
        programs=(25,),
        registers={"chords": (48, 70), "lead": (59, 81), "figure": (52, 76)},
        audioset_label="Acoustic guitar",
        decay_s=1.0,
        trim_db=2.0,
        aliases=("unplugged guitar",),
    ),
    "distorted guitar": Instrument(
        programs=(30,),
        registers={"chords": (40, 58), "lead": (59, 81)},
        audioset_label="Electric guitar",
        trim_db=1.0,
        aliases=("electric guitar", "overdriven guitar"),
    ),
    "banjo": Instrument(
        programs=(105,),
        registers={"chords": (55, 74), "lead": (60, 81), "figure": (55, 79)},
        audioset_label="Banjo",
        decay_s=0.45,
        aliases=("five-string banjo",),
    ),
    "sitar": Instrument(
        programs=(104,),
        registers={"lead": (55, 76), "figure": (48, 72)},
        audioset_label="Sitar",
        decay_s=1.2,
        aliases=("sitars",),
    ),
    "harp": Instrument(
        programs=(46,),
        registers={"chords": (50, 76), "figure": (55, 86)},
        audioset_label="Harp",
        decay_s=1.2,
        trim_db=1.0,
        aliases=("concert harp",),
    ),
    "double bass": Instrument(
        programs=(32,),
        registers={"bass": (30, 48)},
        audioset_label="Double bass",
        decay_s=0.7,
        trim_db=2.0,
        aliases=("upright bass", "contrabass"),
    ),
    "electric bass": Instrument(
        programs=(33, 34),
        registers={"bass": (30, 47)},
        audioset_label="Bass guitar",
        decay_s=1.6,
        trim_db=2.0,
        aliases=("bass guitar",),
    ),
    "synth bass": Instrument(
        programs=(38,),
        registers={"bass": (29, 46)},
        audioset_label="Bass (instrument role)",
        trim_db=1.0,
        aliases=("synthesizer bass",),
    ),
    "cello": Instrument(
        programs=(42,),
        registers={"bass": (38, 54), "lead": (50, 69), "figure": (48, 66)},
        audioset_label="Cello",
        trim_db=3.0,
        aliases=("violoncello",),
    ),
    "violin": Instrument(
        programs=(40,),
        registers={"lead": (65, 91), "figure": (60, 84)},
        audioset_label="Violin, fiddle",
        trim_db=1.5,
        aliases=("fiddle",),
    ),
    "string orchestra": Instrument(
        programs=(48,),
        registers={"bass": (38, 54), "chords": (52, 79), "lead": (65, 89)},
        audioset_label="String section",
        aliases=("strings", "string section"),
    ),
    "choir": Instrument(
        programs=(52,),
        registers={"chords": (52, 74), "lead": (60, 79), "figure": (55, 76)},
        audioset_label="Choir",
        aliases=("voices",),
    ),
    "trumpet": Instrument(
        programs=(56,),
        registers={"lead": (62, 84), "figure": (58, 79)},
        audioset_label="Trumpet",
        aliases=("trumpets",),
    ),
    "trombone": Instrument(
        programs=(57,),
        registers={"lead": (46, 67), "figure": (43, 62)},
        audioset_label="Trombone",
        trim_db=1.0,
        aliases=("slide trombone",),
    ),
    "saxophone": Instrument(
        programs=(66,),
        registers={"lead": (55, 79), "figure": (52, 74)},
        audioset_label="Saxophone",
        aliases=("sax", "tenor sax"),
    ),
    "clarinet": Instrument(
        programs=(71,),
        registers={"lead": (58, 84), "figure": (52, 76)},
        audioset_label="Clarinet",
        aliases=("clarinets",),
    ),
    "flute": Instrument(
        programs=(73,),
        registers={"lead": (67, 93), "figure": (65, 86)},
        audioset_label="Flute",
        aliases=("flutes",),
    ),
    "bagpipes": Instrument(
        programs=(109,),
        registers={"lead": (62, 81), "figure": (57, 74)},
        audioset_label="Bagpipes",
        trim_db=-1.0,
        aliases=("pipes",),
    ),
    "synthesizer": Instrument(
        programs=(81,),
        registers={"chords": (50, 74), "lead": (60, 84), "figure": (55, 84)},
        audioset_label="Synthesizer",
        trim_db=1.0,
        aliases=("synth", "synth lead"),
    ),
}

DRUM_PIECES: dict[str, DrumPiece] = {
    "kick": DrumPiece(key=36, level_db=-1.0),
    "snare": DrumPiece(key=38, level_db=-1.0),
    "electric snare": DrumPiece(key=40, level_db=-1.0),
    "cross stick": DrumPiece(key=37, level_db=-2.0),
    "clap": DrumPiece(key=39, level_db=-1.0),
    "closed hat": DrumPiece(key=42, level_db=-8.0),
    "pedal hat": DrumPiece(key=44, level_db=-7.0),
    "open hat": DrumPiece(key=46, level_db=-7.0),
    "ride": DrumPiece(key=51, level_db=-5.0),
    "floor tom": DrumPiece(key=43, level_db=-1.0),
    "high conga": DrumPiece(key=63, level_db=-2.0),
    "low conga": DrumPiece(key=64, level_db=-1.0),
    "cowbell": DrumPiece(key=56, level_db=-10.0),
    "claves": DrumPiece(key=75, level_db=-9.0),
}

PERCUSSION_LABELS: dict[str, str] = {"drums": "Drum kit", "congas": "Conga"}
PERCUSSION_ALIASES: dict[str, tuple[str, ...]] = {
    "drums": ("drum kit", "drummer"),
    "congas": ("conga drums", "hand percussion"),
}
