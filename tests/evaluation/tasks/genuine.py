"""The recordings of public data sets as their genuine metadata lists them, with random vectors, and a random model."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.protocols.class_probe import ClassificationProbe, KeyProbe
from mulan.evaluation.protocols.probe import RegressionProbe, TaggingProbe
from mulan.evaluation.protocols.protocol import Evaluated, EvaluationProtocol, SetScores
from mulan.evaluation.protocols.retrieval import CaptionRetrieval
from mulan.evaluation.protocols.zero_shot import ZeroShotClassification, ZeroShotTagging
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.evaluation.tasks.task import EvaluationTask
from mulan.preparation.faults import Faults
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.audioset import SPLITS as AUDIOSET_SPLITS
from mulan.preparation.sources.audioset_segments import SegmentTable, class_names
from mulan.preparation.sources.giantsteps import GiantstepsConfig, GiantstepsSource
from mulan.preparation.sources.gtzan import published_excerpts
from mulan.preparation.sources.mtat import CORRUPT, MtatConfig, MtatSource
from mulan.preparation.sources.mtg_jamendo import MtgJamendoConfig, MtgJamendoSource
from mulan.preparation.sources.musiccaps import captioned_clips
from mulan.preparation.sources.song_describer import captioned_tracks
from mulan.vocabularies.audioset_classes import tag_of
from tests.public_metadata import unpacked

IN_SECTION = {
    "zero_shot": (ZeroShotTagging, ZeroShotClassification),
    "probes": (TaggingProbe, ClassificationProbe, KeyProbe, RegressionProbe),
    "retrieval.captions": (CaptionRetrieval,),
}
"""The protocols of the sections of a report."""

DIM = 16
"""Size of the random vectors."""


class RandomTexts:
    """A model whose vector of a text follows from nothing but a digest of the text."""

    info = EncoderInfo("random", "function", "", "0" * 64, 16_000, 160_000, DIM, is_unit=True, embeds_text=True)

    def embed_audio(self, windows: np.ndarray) -> np.ndarray:
        raise AssertionError("the recordings have vectors")

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return unit(np.stack([np.random.default_rng(seed).normal(size=DIM) for seed in seeds]))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def random_model(recordings: Iterable[LabelledRecording], *, dim: int = DIM, replicates: int = 0) -> Evaluated:
    """Returns a model that ignores its input: each recording has one window with a random vector."""
    ordered = tuple(sorted(recordings, key=lambda recording: recording.recording_id))
    vectors = unit(np.random.default_rng(0).normal(size=(len(ordered), dim)))
    audio = EmbeddedRecordings(ordered, vectors, np.arange(len(ordered) + 1), is_unit=True)
    return Evaluated(encoder=RandomTexts(), audio=audio, recordings=ordered, replicates=replicates)


def labelled(found: Iterable[FoundRecording]) -> list[LabelledRecording]:
    """Returns what a corpus states about recordings that an importer found."""
    return [LabelledRecording(each.recording_id, each.split or "train", tuple(each.tags)) for each in found]


def magnatagatune(folder: Path) -> list[LabelledRecording]:
    for name in ("annotations_final.csv", "clip_info_final.csv"):
        unpacked(f"magnatagatune/{name}", folder)
    clips = MtatSource(str(folder), MtatConfig(tags="all")).clips(Faults())
    return [
        LabelledRecording(clip.clip_id, clip.split, tuple(f"mtat:{tag}" for tag in clip.tags), artist=clip.artist)
        for clip in clips
        if clip.clip_id not in CORRUPT
    ]


def jamendo(folder: Path) -> list[LabelledRecording]:
    (folder / "data/splits").mkdir(parents=True)
    unpacked("mtg_jamendo/data/splits/split-0", folder / "data/splits")
    tracks = MtgJamendoSource(str(folder), MtgJamendoConfig()).tracks()
    return [LabelledRecording(each.track_id, each.split, each.tags, artist=each.artist_id) for each in tracks]


def audioset(folder: Path) -> list[LabelledRecording]:
    names = class_names("audioset", "", unpacked("audioset/class_labels_indices.csv", folder).read_text())
    return [
        LabelledRecording(
            segment.youtube_id, AUDIOSET_SPLITS[part], tuple(tag_of(names[mid]) for mid in segment.labels)
        )
        for part in ("balanced_train", "eval")
        for segment in SegmentTable("audioset", str(unpacked(f"audioset/{part}_segments.csv", folder)))
    ]


def gtzan() -> list[LabelledRecording]:
    return [LabelledRecording(each.name, each.split, (f"genre:{each.genre}",)) for each in published_excerpts()]


def giantsteps(folder: Path) -> list[LabelledRecording]:
    for name in ("giantsteps-mtg-key-dataset/annotations/*.txt", "giantsteps-key-dataset/annotations/key/*"):
        unpacked(f"giantsteps_key/{name.partition('/')[0]}", folder, pattern=name)
    source = GiantstepsSource(str(folder), GiantstepsConfig())
    return [
        LabelledRecording(str(song.song_id), song.split, (f"key:{song.key}",), artist=song.artist)
        for song in (*source.training_songs(), *source.test_songs())
    ]


def emomusic(folder: Path) -> list[LabelledRecording]:
    path = unpacked("emomusic/jukemir/metadata/emomusic.json.gz", folder)
    songs = json.loads(gzip.decompress(path.read_bytes()))
    return [
        LabelledRecording(
            number,
            song["split"].replace("valid", "validation"),
            artist=song["extra"]["songs_info"]["Artist"].strip(),
            targets={
                name: float(song["extra"]["static_annotations"][f"mean_{name}"]) for name in ("arousal", "valence")
            },
        )
        for number, song in songs.items()
    ]


def musiccaps(folder: Path) -> list[LabelledRecording]:
    path = unpacked("musiccaps/musiccaps-public.csv", folder)
    return [
        LabelledRecording(
            clip.youtube_id,
            "test" if clip.is_audioset_eval else "train",
            texts={"long_form_unfiltered": (clip.caption,), "short_form": clip.aspects},
        )
        for clip in captioned_clips("musiccaps", str(path), path.read_bytes().decode())
    ]


def song_describer(folder: Path, *, valid_only: bool) -> list[LabelledRecording]:
    path = unpacked("song_describer/song_describer.csv", folder)
    tracks = captioned_tracks("sdd", str(path), path.read_bytes().decode(), valid_only=valid_only)
    return [
        LabelledRecording(
            str(track.track_id),
            "test",
            texts={"long_form_unfiltered": tuple(track.captions)},
            artist=f"{track.artist_id}",
        )
        for track in tracks
    ]


def protocols_by_set(task: EvaluationTask, section: str) -> dict[str, EvaluationProtocol]:
    """Returns the protocols of a section of a task by the names of their sets."""
    chosen = [protocol for protocol in task.protocols if isinstance(protocol, IN_SECTION[section])]
    return {getattr(each, "name", "") or getattr(each, "vocabulary", ""): each for each in chosen}


def scores_by_set(task: EvaluationTask, model: Evaluated, section: str) -> dict[str, SetScores]:
    """Returns the scores of a section of a task by the names of the sets."""
    found = [scores for each in protocols_by_set(task, section).values() for scores in each.evaluate(model)]
    assert all(each.section == section for each in found)
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def counts_of(scores: SetScores, *names: str) -> tuple[int, ...]:
    return tuple(scores.counts[name] for name in names)


def assert_chance(scores: SetScores) -> None:
    """Asserts that tagging has no skill: the average precision of few positives is somewhat above their share."""
    assert abs(scores.scores["roc_auc"] - 0.5) < 0.03, scores.scores
    assert -0.002 < scores.scores["map"] - scores.scores["prevalence"] < 0.02, scores.scores
