"""The models that judge recordings after decoding: the music detector, and the classifier of long-form texts.

They are loaded where they are used: once in each actor of a pool.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from mulan.config.base import Section
from mulan.preparation.faults import SettingsError
from mulan.preparation.function_tagger import names_function
from mulan.preparation.music_detector import check_detector, load_detector, tagger_folder
from mulan.preparation.settings import MusicConfig, PreparationConfig, TextConfig
from mulan.preparation.shards import NOT_MUSIC, DecodedRecording
from mulan.preparation.texts.classifier import TextClassifier, filter_folder

Judge = Callable[[DecodedRecording], DecodedRecording]
"""Returns a recording with what a model says of it. The recording has a clip."""


@dataclass(frozen=True)
class JudgeSpec:
    """A judge that is not loaded yet."""

    load: Callable[[Any], Judge]
    """Loads the model of a section of the settings."""
    section: Section
    use_gpu: bool
    """Whether it needs a GPU."""


def judges_of(config: PreparationConfig) -> Sequence[JudgeSpec]:
    """Returns the judges that the settings ask for, in the order in which they judge."""
    specs = []
    if config.music.tagger:
        specs.append(JudgeSpec(music_judge, config.music, config.music.use_gpu))
    if config.text.filter:
        specs.append(JudgeSpec(text_judge, config.text, config.text.filter_use_gpu))
    return specs


def check_judges(config: PreparationConfig) -> list[str]:
    """Checks that the models that the settings name can be loaded, and returns lines that describe them.

    Raises:
        MulanError: One of them does not exist or is not usable.
    """
    lines = []
    if config.music.tagger:
        lines.append(check_detector(config.music))
    if config.text.filter:
        classifier = TextClassifier.load(config.text.filter)
        lines.append(
            f"text filter {config.text.filter}: keeps texts from a probability of {classifier.threshold:.2f} on"
        )
    return lines


def judges_sha256(config: PreparationConfig) -> str:
    """Returns the SHA-256 of the files of all judges in hexadecimal, so that other weights make other shards.

    A function is known by its name only.

    Raises:
        MulanError: As in :func:`check_judges`.
    """
    folders = [filter_folder(config.text.filter)] if config.text.filter else []
    if config.music.tagger and not names_function(config.music.tagger):
        folders.insert(0, tagger_folder(config.music.tagger))
    digest = hashlib.sha256()
    for path in [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def music_judge(config: MusicConfig) -> Judge:
    """Returns a function that leaves out recordings of which too little is music (MuLan §3.4)."""
    detector = load_detector(config)

    def judge(recording: DecodedRecording) -> DecodedRecording:
        assert recording.clip is not None
        share = detector.music_share(recording.clip.flac)
        judged = replace(recording, music_share=share)
        if share >= config.min_share:
            return judged
        return judged.left_out(NOT_MUSIC, f"{share:.0%} of it is music, less than {config.min_share:.0%}")

    return judge


def text_judge(config: TextConfig) -> Judge:
    """Returns a function that removes the long-form texts that a classifier refuses (MuLan §3.4).

    Raises:
        SettingsError: There is no GPU here, and ``filter_use_gpu`` is set.
        PretrainedError, StorageError: The classifier cannot be loaded.
    """
    if config.filter_use_gpu and not torch.cuda.is_available():
        fault = "text.filter_use_gpu is set, but torch sees no GPU here; set it to false, or check the GPUs"
        raise SettingsError([fault])
    classifier = TextClassifier.load(config.filter, device="cuda" if config.filter_use_gpu else "cpu")

    def judge(recording: DecodedRecording) -> DecodedRecording:
        texts = list(recording.found.texts.get("long_form", ()))
        if not texts:
            return recording
        keep = classifier.keep(texts)
        kept = [text for text, is_kept in zip(texts, keep, strict=True) if is_kept]
        removed = tuple(text for text, is_kept in zip(texts, keep, strict=True) if not is_kept)
        found = replace(recording.found, texts={**recording.found.texts, "long_form": kept})
        return replace(recording, found=found, removed_texts=removed)

    return judge
