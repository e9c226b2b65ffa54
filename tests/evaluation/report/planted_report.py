"""Scores of three models whose values are known, with all sections, odd names and missing values."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import soundfile

from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.evaluation.report.summary import LeftOut, TaskFacts

ODD = '<b>é & "ω" 音楽 [red]</b>'
MODELS = ("m_resnet50", "a rather long name of an encoder/laion-clap-music-audioset-epoch-15", ODD)
TAGS = ("guitar", "vocals", "no vocals", "rock", "not rock", "weird", ODD, "beats", "harpsichord", "sitar")


def encoder_info(name: str, *, embeds_text: bool = True) -> EncoderInfo:
    return EncoderInfo(
        name=name, kind="exported", uri=f"runs/{name}/model", sha256="0123456789abcdef" * 4, sample_rate_hz=16_000,
        window_samples=160_000, dim=128, is_unit=True, embeds_text=embeds_text, licence="CC-BY-NC-4.0",
    )  # fmt: skip


def planted_sets(skill: float, *, seed: int, tags: Sequence[str] = TAGS, replicates: int = 200) -> list[SetScores]:
    """Scores of a model of some skill in [0, 1]; the draws of models with one seed are paired."""
    rng = np.random.default_rng(seed)

    def draws(value: float, spread: float = 0.02) -> np.ndarray:
        """Those of models of the same seed differ by a tenth of the spread, since their draws are paired."""
        own = np.random.default_rng(int(1000 * skill)).normal(0, spread / 10, replicates)
        return value + rng.normal(0, spread, replicates) + own

    def example(number: int) -> dict[str, object]:
        hits = [
            {
                "recording": f"rec-{(number + hit) % 60:03d}",
                "title": "" if number + hit else "A song",
                "tags": [] if number + hit else [f"genre:tag {tag}" for tag in range(14)],
                "score": 0.8 - 0.1 * hit,
                "relevant": hit == number % 3,
            }
            for hit in range(3)
        ]
        return {"query": f"query {number} {ODD}", "rank": number + 1, "relevant": 1 + number % 2, "hits": hits}

    auc = 0.5 + 0.4 * skill
    names = [f"mtat:{tag}" for tag in tags]
    of_tags = np.clip(auc + np.linspace(-0.3, 0.15, len(names)), 0, 1)
    zero_shot = [
        SetScores(
            "zero_shot", name, {"roc_auc": auc, "map": 0.05 + 0.3 * skill, "prevalence": 0.053},
            {"roc_auc": draws(auc), "map": draws(0.05 + 0.3 * skill)},
            {"recordings": 5329, "tags": len(names), "positives": 14_150},
            {
                "chance": {"roc_auc": 0.5, "map": 0.053},
                "vocabulary": "mtat_top50", "vocabulary_sha256": "ab" * 32, "templates": {"mtat": ["{}"]},
                "prompts": {tag: [tag.partition(":")[2]] for tag in names},
                "tags": [
                    {
                        "tag": tag, "roc_auc": value, "roc_auc_interval": [max(value - 0.05, 0), min(value + 0.05, 1)],
                        "average_precision": value / 3, "average_precision_interval": None, "positives": 50 + number,
                        "prevalence": 0.01,
                    }
                    for number, (tag, value) in enumerate(zip(names, of_tags.tolist(), strict=True))
                ],
                "worst": names[:3],
                "without_scores": [f"mtat:never {ODD}"],
                "negations": [
                    {
                        "tag": "mtat:vocals", "negation": "mtat:no vocals", "roc_auc": 0.7, "negation_roc_auc": None,
                        "cosine": 0.97,
                    }
                ],
            },
            f"Cosine similarity of recording and prompt; {which}.",
        )
        for name, which in (("mtat_top50_annotated", "all recordings"), ("mtat_top50_tagged", "tagged recordings"))
    ]  # fmt: skip
    classes = [
        {
            "tag": f"genre:{name}", "recall": value, "recall_interval": [max(value - 0.1, 0), min(value + 0.1, 1)],
            "recordings": 29, "mistaken_for": f"genre:{other}" if other else None,
        }
        for name, value, other in (("blues", skill, "jazz"), ("jazz", skill / 2, ODD), ("metal", 1.0, ""))
    ]  # fmt: skip
    sets = [
        *zero_shot,
        SetScores("zero_shot", "gtzan", {"accuracy": 0.1 + skill / 2}, {"accuracy": draws(0.1 + skill / 2)},
                  {"recordings": 290}, {"chance": {"accuracy": 0.1}, "classes": classes},
                  "Most similar of 10 prompts."),
        SetScores("probes", "instrument", {"roc_auc": auc, "map": float("nan")}, {"roc_auc": draws(auc)},
                  {"recordings": 40}, {"settings": {"learning_rate": 1e-3}}, "Logistic regression of each tag."),
        SetScores("retrieval.captions", "song_describer", {"recall10": skill, "median_rank": 100 * (1 - skill)},
                  {"recall10": draws(skill), "median_rank": draws(100 * (1 - skill), 5)},
                  {"queries": 746, "recordings": 547},
                  {"chance": {"recall10": 10 / 547}, "examples": [example(number) for number in (0, 1, 9)]},
                  "Each caption is a query."),
        SetScores("retrieval.playlists", "titles", {"roc_auc": auc, "map": 0.1 * skill}, {}, {"queries": 7000}, {}, ""),
        SetScores("triplets", "audioset_ontology", {"accuracy": 0.5 + skill / 2}, {"accuracy": draws(0.5 + skill / 2)},
                  {"triplets": 705}, {"chance": {"accuracy": 0.5}}, "Right if the description is closer."),
        *(SetScores("robustness", f"zero_shot.mtat_top50_tagged.{name}",
                    {f"strength_{strength}": auc - slope * strength for strength in range(6)},
                    {f"strength_{strength}": draws(auc - slope * strength) for strength in range(6)}, {},
                    {"section": "zero_shot", "set": "mtat_top50_tagged", "score": "roc_auc", "corruption": name,
                     "chance": {f"strength_{strength}": 0.5 for strength in range(6)}}, "Corrupted recordings.")
          for name, slope in (("low-pass", 0.05), ("noise", 0.02))),
    ]  # fmt: skip
    return [replace(each, sample_sha256="cd" * 32) for each in sets]


def planted_scores(names: Sequence[str] = MODELS, *, tags: Sequence[str] = TAGS) -> dict[str, list[SetScores]]:
    """The second model is worse and lacks a set; the third has only triplets of its own number."""
    found = {}
    for number, name in enumerate(names):
        sets = planted_sets(0.8 - 0.3 * number, seed=0, tags=tags)
        if number == 1:
            sets = [each for each in sets if each.name != "gtzan"]
        if number == 2:
            sets = [each for each in sets if each.section in ("triplets", "zero_shot")]
        found[name] = sets
    return found


def planted_tasks() -> list[TaskFacts]:
    return [
        TaskFacts(
            "mtat", "MagnaTagATune", "Zero-shot tagging and a linear probe.", "s3://corpora/mtat", "fe" * 32,
            {MODELS[0]: {"test": 5329, "train": 18_706}, MODELS[1]: {"test": 5329, "train": 18_706}, ODD: {"test": 17}},
            {MODELS[0]: {f"rec-{ODD}": "no <samples>", **{f"rec-{n}": "cut" for n in range(30)}}},
            (LeftOut("log_mel", "zero shot tagging mtat_top50", "it embeds no text, which zero-shot tagging needs"),),
        ),
        TaskFacts("triplets", "AudioSet ontology", "Labels and their descriptions.", "", "", {}),
    ]  # fmt: skip


def planted_recordings(count: int = 60, *, dim: int = 16, seed: int = 0) -> EmbeddedRecordings:
    """Recordings near the direction of their genre, one or two windows each."""
    rng = np.random.default_rng(seed)
    genres = ("ambient", "jazz", "rock", "hip hop $5", "classical")
    directions = rng.normal(size=(len(genres), dim))
    recordings, windows, starts = [], [], [0]
    for number in range(count):
        genre = number % len(genres)
        tags = (f"genre:{genres[genre]}", "mood:calm") if number % 7 else ("mood:calm",)
        recordings.append(LabelledRecording(f"rec-{number:03d}", "test", tags, title=f"Title {number}"))
        for _ in range(1 + number % 2):
            vector = directions[genre] + 0.5 * rng.normal(size=dim)
            windows.append(vector / np.linalg.norm(vector))
        starts.append(len(windows))
    return EmbeddedRecordings(tuple(recordings), np.array(windows, np.float32), np.array(starts), is_unit=True)


def planted_audio(recording_id: str, *, seconds: float = 12.0) -> bytes:
    """A FLAC file with a tone whose pitch depends on the id."""
    rate = 16_000
    hertz = 220 + 20 * (sum(recording_id.encode()) % 20)
    tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    content = io.BytesIO()
    soundfile.write(content, tone, rate, format="FLAC")
    return content.getvalue()
