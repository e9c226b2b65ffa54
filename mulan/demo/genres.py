"""Tables of rhythm, harmony and ensembles by genre, mood and tempo.

Rhythm patterns are strings over one bar of four beats; the length of the string is the grid: 16 for straight
sixteenths, 12 for triplets and swing. In drum patterns ``x`` is a hit. In chord patterns ``X`` is held until the next
hit and ``x`` is short. In bass patterns ``R``, ``3``, ``5`` and ``8`` are the chord's root, third, fifth and octave,
and ``w`` is a step of a walking bass.
"""

from dataclasses import dataclass

from mulan.demo.instruments import Role

Pattern = str
Kit = dict[str, Pattern]


@dataclass(frozen=True, kw_only=True)
class Mood:
    """Musical parameters of a mood.

    Attributes:
        mode: Semitones of the scale above the tonic.
        progressions: Chords by scale degree (0 is the tonic), one per bar.
        register_shift: Semitones by which the lead is shifted within its register.
        notes_per_beat: Mean density of the melody.
        articulation: Duration of a note as a share of the time to the next one.
        loudness_dbfs: RMS level of the finished track.
        percussion_db: Level of the drums relative to their default.
        synonyms: Other words for the mood.
    """

    mode: tuple[int, ...]
    progressions: tuple[tuple[int, ...], ...]
    register_shift: int
    notes_per_beat: float
    articulation: float
    loudness_dbfs: float
    percussion_db: float
    audioset_label: str | None
    synonyms: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Genre:
    """Musical parameters of a genre; pools list typical instruments, many of which genres share.

    Attributes:
        kits: Percussion variants, each a map from drum piece to pattern; empty for a genre without percussion.
        percussion: Tag of the percussion set.
        guest_congas: Share of compositions with added congas.
        bass: Pattern variants of the bass line.
        chords: Pattern variants of the chords.
        bars_per_chord: Number of bars per chord.
        seventh: True if chords have four notes.
        power_chords: True if chords are root, fifth and octave.
        melody_density: Factor on the mood's notes per beat.
        figure_step: Number of grid steps between the notes of an accompanying figure.
        activities: Activities of its listeners, for texts.
        tempi: Tempo classes of the genre.
        moods: Moods of the genre.
    """

    kits: tuple[Kit, ...]
    bass: tuple[Pattern, ...]
    chords: tuple[Pattern, ...]
    pools: dict[Role, tuple[str, ...]]
    tempi: tuple[str, ...]
    moods: tuple[str, ...]
    audioset_label: str
    synonyms: tuple[str, ...]
    activities: tuple[str, ...]
    percussion: str = "drums"
    guest_congas: float = 0.0
    bars_per_chord: int = 1
    seventh: bool = False
    power_chords: bool = False
    melody_density: float = 1.0
    figure_step: int = 2

    @property
    def grid(self) -> int:
        """Number of grid steps in a bar."""
        return len(self.chords[0])


TEMPI_BPM: dict[str, tuple[float, float]] = {"slow": (60, 80), "medium tempo": (98, 116), "fast": (140, 168)}

MOODS: dict[str, Mood] = {
    "happy": Mood(
        mode=(0, 2, 4, 5, 7, 9, 11),
        progressions=((0, 3, 4, 0), (0, 4, 3, 4), (0, 5, 3, 4)),
        register_shift=4,
        notes_per_beat=1.7,
        articulation=0.6,
        loudness_dbfs=-18,
        percussion_db=0,
        audioset_label="Happy music",
        synonyms=("cheerful", "joyful", "upbeat"),
    ),
    "energetic": Mood(
        mode=(0, 2, 4, 5, 7, 9, 10),
        progressions=((0, 6, 3, 0), (0, 3, 6, 3)),
        register_shift=1,
        notes_per_beat=2.8,
        articulation=0.75,
        loudness_dbfs=-13,
        percussion_db=3,
        audioset_label="Exciting music",
        synonyms=("driving", "powerful", "intense"),
    ),
    "calm": Mood(
        mode=(0, 2, 4, 5, 7, 9, 11),
        progressions=((0, 3, 0, 3), (0, 5, 3, 0)),
        register_shift=-1,
        notes_per_beat=0.7,
        articulation=1.0,
        loudness_dbfs=-26,
        percussion_db=-2,
        audioset_label="Tender music",
        synonyms=("relaxing", "peaceful", "soothing"),
    ),
    "dreamy": Mood(
        mode=(0, 2, 4, 6, 7, 9, 11),
        progressions=((0, 1, 0, 1), (0, 1, 5, 1)),
        register_shift=9,
        notes_per_beat=1.1,
        articulation=1.0,
        loudness_dbfs=-22,
        percussion_db=-1,
        audioset_label=None,
        synonyms=("ethereal", "floating"),
    ),
    "melancholic": Mood(
        mode=(0, 2, 3, 5, 7, 8, 10),
        progressions=((0, 5, 2, 6), (0, 3, 0, 4), (0, 6, 5, 4)),
        register_shift=-4,
        notes_per_beat=0.9,
        articulation=0.95,
        loudness_dbfs=-22,
        percussion_db=-1,
        audioset_label="Sad music",
        synonyms=("sad", "wistful", "sorrowful"),
    ),
    "dark": Mood(
        mode=(0, 1, 3, 5, 7, 8, 10),
        progressions=((0, 1, 0, 6), (0, 1, 2, 1), (0, 0, 1, 0)),
        register_shift=-10,
        notes_per_beat=1.3,
        articulation=0.8,
        loudness_dbfs=-17,
        percussion_db=0,
        audioset_label="Scary music",
        synonyms=("ominous", "brooding", "sinister"),
    ),
}

GUEST_CONGAS: Kit = {"high conga": "x.x...x.x.x...x.", "low conga": "......xx......xx"}

GENRES: dict[str, Genre] = {
    "classical": Genre(
        kits=(),
        bass=("R.......5.......", "R...5...R...5..."),
        chords=("X...x...x...x...", "X.......X......."),
        pools={
            "bass": ("cello", "double bass", "string orchestra"),
            "chords": ("piano", "harpsichord", "string orchestra", "harp", "choir"),
            "lead": ("violin", "flute", "clarinet", "trumpet", "cello", "choir"),
            "figure": ("harp", "clarinet", "piano", "violin", "harpsichord", "cello"),
        },
        tempi=("slow", "medium tempo", "fast"),
        moods=("happy", "calm", "melancholic", "dark", "dreamy", "energetic"),
        audioset_label="Classical music",
        synonyms=("chamber music", "baroque", "orchestral music"),
        activities=("studying", "a quiet evening"),
    ),
    "jazz": Genre(
        kits=(
            {"ride": "x..x.xx..x.x", "pedal hat": "...x.....x..", "kick": "x.....x.....", "snare": ".....x......"},
            {"ride": "x..x.xx..x.x", "pedal hat": "...x.....x..", "snare": "..x.....x..."},
        ),
        bass=("w..w..w..w..", "w..w.ww..w.w"),
        chords=("X....x......", ".....x...x..", "...x.....x.x"),
        pools={
            "bass": ("double bass", "electric bass"),
            "chords": ("piano", "organ", "acoustic guitar"),
            "lead": ("saxophone", "trumpet", "clarinet", "trombone", "flute", "piano"),
            "figure": ("trombone", "saxophone", "clarinet", "trumpet"),
        },
        tempi=("slow", "medium tempo", "fast"),
        moods=("happy", "calm", "melancholic", "dreamy", "energetic"),
        audioset_label="Jazz",
        synonyms=("swing", "bebop", "jazz combo"),
        seventh=True,
        melody_density=1.15,
        activities=("late night drives", "dinner"),
    ),
    "rock": Genre(
        kits=(
            {"kick": "x.......x.x.....", "snare": "....x.......x...", "closed hat": "x.x.x.x.x.x.x.x."},
            {"kick": "x..x....x.x....x", "snare": "....x.......x...", "open hat": "x...x...x...x..."},
        ),
        bass=("R.R.R.R.R.R.R.R.", "R.RR..R.R.RR..5."),
        chords=("X.x.x.x.X.x.x.x.", "X..x..x.X...x.x."),
        pools={
            "bass": ("electric bass", "synth bass"),
            "chords": ("distorted guitar", "organ", "piano"),
            "lead": ("distorted guitar", "harmonica", "synthesizer", "saxophone", "bagpipes"),
            "figure": ("piano", "synthesizer", "acoustic guitar", "sitar", "harmonica"),
        },
        tempi=("slow", "medium tempo", "fast"),
        moods=("happy", "melancholic", "dark", "energetic"),
        audioset_label="Rock music",
        synonyms=("hard rock", "indie rock", "rock and roll"),
        power_chords=True,
        guest_congas=0.15,
        activities=("the gym", "a road trip"),
    ),
    "electronic": Genre(
        kits=(
            {"kick": "x...x...x...x...", "clap": "....x.......x...", "open hat": "..x...x...x...x."},
            {"kick": "x...x...x...x...", "open hat": "..x...x...x...x.", "closed hat": "xxxxxxxxxxxxxxxx"},
        ),
        bass=("..R...R...R...R.", "..RR..RR..RR..RR"),
        chords=("X...............", "X..x..x...x..x.."),
        pools={
            "bass": ("synth bass",),
            "chords": ("synthesizer", "choir", "string orchestra"),
            "lead": ("synthesizer", "flute", "distorted guitar", "choir"),
            "figure": ("synthesizer", "sitar", "piano"),
        },
        tempi=("medium tempo", "fast"),
        moods=("happy", "dreamy", "dark", "energetic"),
        audioset_label="Electronic music",
        synonyms=("house", "techno", "dance music", "edm"),
        figure_step=1,
        guest_congas=0.25,
        activities=("a workout", "the dance floor"),
    ),
    "hip hop": Genre(
        kits=(
            {"kick": "x.....x...x.....", "electric snare": "....x.......x...", "closed hat": "x.xxx.x.x.xxx.xx"},
            {"kick": "x..x......x..x..", "electric snare": "....x.......x...", "closed hat": "x.x.x.x.xxx.x.x."},
        ),
        bass=("R.....R...5.....", "R..R......R..5.."),
        chords=("X.......X.......", "X.....x........."),
        pools={
            "bass": ("synth bass", "electric bass"),
            "chords": ("piano", "string orchestra", "harpsichord", "synthesizer"),
            "lead": ("synthesizer", "flute", "trumpet", "distorted guitar", "clarinet"),
            "figure": ("harp", "sitar", "harpsichord", "violin"),
        },
        tempi=("slow", "medium tempo"),
        moods=("calm", "melancholic", "dark", "energetic", "dreamy"),
        audioset_label="Hip hop music",
        synonyms=("boom bap", "rap beat", "trap beat"),
        melody_density=0.8,
        guest_congas=0.25,
        activities=("chilling", "a late night walk"),
    ),
    "country": Genre(
        kits=(
            {"kick": "x.......x.......", "snare": "x.x.x.xxx.x.x.xx"},
            {"kick": "x.......x.......", "snare": "....x..x....x.xx"},
        ),
        bass=("R.......5.......", "R.......5.....3."),
        chords=("....x.......x...", "....x.x.....x.x."),
        pools={
            "bass": ("double bass", "electric bass"),
            "chords": ("acoustic guitar", "piano", "accordion", "banjo"),
            "lead": ("violin", "harmonica", "banjo", "acoustic guitar", "accordion"),
            "figure": ("banjo", "acoustic guitar", "violin", "harmonica", "piano"),
        },
        tempi=("slow", "medium tempo", "fast"),
        moods=("happy", "calm", "melancholic", "energetic"),
        audioset_label="Country",
        synonyms=("bluegrass", "americana", "honky tonk"),
        activities=("a road trip", "the campfire"),
    ),
    "reggae": Genre(
        kits=(
            {"kick": "........x.......", "cross stick": "........x.......", "closed hat": "x.xxx.x.x.xxx.x."},
            {"kick": "....x.......x...", "cross stick": "....x..x....x...", "closed hat": "x.x.x.x.x.x.x.x."},
        ),
        bass=("....R..R..5.R...", "R..R..3...5.8..."),
        chords=("..x...x...x...x.", "..x...xx..x...xx"),
        pools={
            "bass": ("electric bass", "synth bass"),
            "chords": ("organ", "piano", "synthesizer"),
            "lead": ("trombone", "saxophone", "trumpet", "harmonica", "organ"),
            "figure": ("trombone", "trumpet", "saxophone", "acoustic guitar"),
        },
        tempi=("slow", "medium tempo"),
        moods=("happy", "calm", "melancholic", "dreamy"),
        audioset_label="Reggae",
        synonyms=("roots reggae", "dub", "rocksteady"),
        melody_density=0.9,
        guest_congas=0.3,
        activities=("the beach", "a summer afternoon"),
    ),
    "latin": Genre(
        kits=(
            {
                "claves": "x..x..x...x.x...",
                "high conga": "x.x...x.x.x...x.",
                "low conga": "......xx......xx",
                "cowbell": "x...x.x.x...x.x.",
            },
            {
                "claves": "..x.x...x..x..x.",
                "high conga": "x..x..x.x..x..x.",
                "low conga": "......xx......xx",
                "cowbell": "x...x...x...x...",
            },
        ),
        bass=("R.....5.....8...", "R.....R.....5..."),
        chords=("x.xx.x.xx.xx.x.x", "x.x..x.x.x.x..x."),
        pools={
            "bass": ("double bass", "electric bass"),
            "chords": ("piano", "acoustic guitar", "accordion"),
            "lead": ("trumpet", "trombone", "flute", "saxophone", "violin", "distorted guitar"),
            "figure": ("trombone", "trumpet", "acoustic guitar", "clarinet"),
        },
        tempi=("medium tempo", "fast"),
        moods=("happy", "melancholic", "energetic", "dark"),
        audioset_label="Salsa music",
        synonyms=("salsa", "afro-cuban", "mambo"),
        percussion="congas",
        activities=("a salsa class", "a workout"),
    ),
    "ambient": Genre(
        kits=(),
        bass=("R...............",),
        chords=("X...............",),
        pools={
            "bass": ("synth bass", "string orchestra", "cello", "organ"),
            "chords": ("synthesizer", "choir", "string orchestra", "organ"),
            "lead": ("flute", "choir", "bagpipes", "synthesizer", "cello"),
            "figure": ("harp", "sitar", "piano", "acoustic guitar"),
        },
        tempi=("slow", "medium tempo"),
        moods=("calm", "melancholic", "dark", "dreamy"),
        audioset_label="Ambient music",
        synonyms=("new age", "drone", "atmospheric music"),
        bars_per_chord=2,
        melody_density=0.6,
        figure_step=4,
        guest_congas=0.25,
        activities=("sleep", "meditation"),
    ),
    "celtic": Genre(
        kits=({"floor tom": "x.xx.xx.xx.x"}, {"floor tom": "x..x.xx..x.x"}),
        bass=("R.....5.....", "R..R..5..5.."),
        chords=("x.xx.xx.xx.x", "x..x..x..x.."),
        pools={
            "bass": ("cello", "double bass", "string orchestra"),
            "chords": ("acoustic guitar", "accordion", "harp", "banjo"),
            "lead": ("violin", "flute", "bagpipes", "accordion", "harmonica"),
            "figure": ("harp", "bagpipes", "banjo", "violin", "clarinet"),
        },
        tempi=("slow", "medium tempo", "fast"),
        moods=("happy", "calm", "melancholic", "energetic", "dreamy"),
        audioset_label="Folk music",
        synonyms=("irish folk", "celtic folk", "jig"),
        melody_density=1.3,
        figure_step=1,
        activities=("a pub night", "a walk in the hills"),
    ),
}
