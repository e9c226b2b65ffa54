"""Tests the share of music in clips, all kinds of detectors, and the check before anything is started."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from mulan.config.errors import MulanError
from mulan.config.objectives import TaggingConfig
from mulan.config.sections import TextTowerConfig
from mulan.data.audio.windows import decode_recording
from mulan.data.errors import DecodeError
from mulan.model.inference.files import ModelFolderError
from mulan.model.inference.tagger import Tagger
from mulan.preparation.ast_tagger import AstCheckpoint, AstTagger
from mulan.preparation.judges import music_judge
from mulan.preparation.music_class import MusicDetectorError
from mulan.preparation.music_detector import check_detector, load_detector
from mulan.preparation.settings import MusicConfig
from mulan.storage.hub import PretrainedError
from mulan.tasks.joint import JointTask
from mulan.tasks.tagging import TaggingTask, export_tagger
from tests.model.audio_checkpoints import checkpoint_recipe, save_checkpoint
from tests.model.small import RESNET, small_recipe
from tests.preparation.ast_checkpoints import change, save_ast
from tests.preparation.results import decoded_recording
from tests.sounds import flac, tone

CLASSES = ("audioset:Piano", "audioset:Music", "audioset:Speech")
WINDOW = 160_000
"""Length of a function's window in samples."""


@pytest.fixture
def loudness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A function whose probability of music is the maximum amplitude."""
    name = f"module_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("def detect(waveform, rate_hz):\n    return abs(waveform).max()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"python:{name}:detect"


@pytest.fixture(scope="module")
def tagger_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("tagger"), CLASSES)


@pytest.fixture(scope="module")
def ast_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_ast(tmp_path_factory.mktemp("ast")))


def export(folder: Path, classes: tuple[str, ...]) -> Path:
    """Exports an untrained tagger with windows of 0.5 s, and returns the folder."""
    torch.manual_seed(0)
    recipe = small_recipe(RESNET).replace(text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=len(classes)))
    model = TaggingTask(recipe).build_model()
    with torch.no_grad():
        model.classifier.weight *= 30  # probabilities on both sides of a half
    export_tagger(model, recipe, classes, folder)
    return folder


def clip(*peaks: float, rest: int = 0) -> bytes:
    """Returns a clip with a window for each peak amplitude, and with further silent samples."""
    samples = np.zeros(WINDOW * len(peaks) + rest, np.float32)
    samples[WINDOW // 2 : WINDOW * len(peaks) : WINDOW] = peaks
    return flac(samples)


def sound(seconds: float) -> bytes:
    """Returns a clip of tones that rise every half second."""
    return flac(np.concatenate([tone(200 * 1.5**k, 0.5, seed=k) for k in range(round(2 * seconds))]))


def config(tagger: str | Path, **settings: Any) -> MusicConfig:
    return MusicConfig(tagger=str(tagger), **settings)


def test_the_share_is_that_of_the_windows_with_at_least_the_threshold(loudness: str) -> None:
    audio = clip(0.25, 0.5, 0.125, 0.75, 0.5)
    for threshold, share in ((0.75, 0.2), (0.5, 0.6), (0.51, 0.2), (0.2, 0.8), (0.0, 1.0), (0.76, 0.0)):
        assert load_detector(config(loudness, threshold=threshold)).music_share(audio) == share


def test_a_clip_is_music_if_its_share_is_at_least_the_minimum(loudness: str) -> None:
    audio = clip(*[0.9] * 2, *[0.1] * 3)  # 40 % music
    for min_share, kept in ((0.5, False), (0.3, True), (0.4, True), (0.41, False), (0.0, True)):
        judged = music_judge(config(loudness, min_share=min_share))(decoded_recording(audio))
        assert (judged.clip is not None) is kept
    assert music_judge(config(loudness))(decoded_recording(clip(0.9, 0.1))).clip  # MuLan keeps half music


def test_the_last_window_ends_where_the_clip_ends(loudness: str) -> None:
    detector = load_detector(config(loudness))
    # of 15 s, the windows are the first and the last 10 s: both contain second 7.5
    peak = np.zeros(240_000, np.float32)
    peak[120_000] = 0.9
    assert detector.music_share(flac(peak)) == 1.0
    peak = np.zeros(240_000, np.float32)
    peak[70_000] = 0.9
    assert detector.music_share(flac(peak)) == 0.5
    assert detector.music_share(flac(tone(440, 0.1) * 3)) == 1.0  # a short clip is one window


def test_the_share_of_a_clip_does_not_depend_on_those_before(loudness: str) -> None:
    detector = load_detector(config(loudness))
    clips = [clip(0.9, 0.1), clip(0.1), clip(0.6, 0.7, 0.8, 0.2)]
    assert [detector.music_share(audio) for audio in clips] == [0.5, 0.0, 0.75]


def test_a_clip_that_cannot_be_decoded_is_an_error(loudness: str) -> None:
    with pytest.raises(DecodeError):
        load_detector(config(loudness)).music_share(b"no audio")


def test_an_exported_tagger_decides_by_the_column_of_its_class_of_music(tagger_folder: Path) -> None:
    audio = sound(9.75)  # 20 windows of 0.5 s, more than are computed at once
    tagger = Tagger.from_pretrained(tagger_folder, device="cpu")
    recording = decode_recording(audio, sample_rate_hz=16_000)
    starts = np.linspace(0, len(recording) - 8000, 20).round().astype(int)
    rows = tagger.tag_windows(np.stack([recording[start : start + 8000] for start in starts]))
    threshold = float(np.median(rows[:, 1])) + 1e-3
    detector = load_detector(config(tagger_folder, threshold=threshold))
    share = np.count_nonzero(rows[:, 1] >= threshold) / 20
    assert detector.music_share(audio) == share
    assert 0 < share < 1
    assert all(np.count_nonzero(rows[:, other] >= threshold) / 20 != share for other in (0, 2))


def test_a_public_checkpoint_decides_by_the_column_of_its_class_of_music(ast_folder: Path) -> None:
    audio = sound(12)
    tagger = AstTagger.load(AstCheckpoint.read("ast", ast_folder), device=torch.device("cpu"))
    recording, length = decode_recording(audio, sample_rate_hz=16_000), tagger.window_samples
    starts = np.linspace(0, len(recording) - length, -(-len(recording) // length)).round().astype(int)
    rows = tagger.tag_windows(np.stack([recording[start : start + length] for start in starts]))
    threshold = float(np.median(rows[:, 1])) + 1e-4
    detector = load_detector(config(ast_folder, threshold=threshold))
    assert detector.music_share(audio) == np.mean(rows[:, 1] >= threshold)
    assert 0 < detector.music_share(audio) < 1


@pytest.mark.parametrize("kind", ["tagger", "ast"])
def test_folders_in_other_storage_are_used(kind: str, tagger_folder: Path, ast_folder: Path) -> None:
    folder = {"tagger": tagger_folder, "ast": ast_folder}[kind]
    uri = f"memory://{uuid.uuid4().hex}/model"
    fsspec.filesystem("memory").put(f"{folder}/", f"{uri}/", recursive=True)
    local, remote = load_detector(config(folder)), load_detector(config(uri))
    assert remote.music_share(sound(3)) == local.music_share(sound(3))
    assert check_detector(config(uri)).replace(uri, str(folder)) == check_detector(config(folder))


def test_the_check_describes_the_detector_in_a_line(
    loudness: str, tagger_folder: Path, ast_folder: Path, tmp_path: Path
) -> None:
    assert check_detector(config(loudness)) == (
        f"music detector {loudness}: class Music of 1, windows of 10 s at 16000 Hz"
    )
    assert check_detector(config(tagger_folder)) == (
        f"music detector {tagger_folder}: class audioset:Music of 3, windows of 0.5 s at 16000 Hz"
    )
    assert check_detector(config(ast_folder)) == (
        f"music detector {ast_folder}: class Music of 4, windows of 0.615 s at 16000 Hz, licence bsd-3-clause"
    )
    recipe = checkpoint_recipe("hubert", save_checkpoint("hubert", tmp_path / "checkpoint", licence="cc-by-nc-4.0"))
    recipe = recipe.replace(text_tower=TextTowerConfig(), tagging=TaggingConfig(classes=3))
    export_tagger(TaggingTask(recipe).build_model(), recipe, CLASSES, tmp_path / "model")
    assert check_detector(config(tmp_path / "model")).endswith(", licence cc-by-nc-4.0")


def test_the_check_does_not_read_weights(tagger_folder: Path, ast_folder: Path, tmp_path: Path) -> None:
    for folder in (tagger_folder, ast_folder):
        shutil.copytree(folder, tmp_path / folder.name)
        (tmp_path / folder.name / "model.safetensors").write_bytes(b"")
        check_detector(config(tmp_path / folder.name))
        with pytest.raises(MulanError):
            load_detector(config(tmp_path / folder.name))


@pytest.mark.parametrize("function", [load_detector, check_detector])
@pytest.mark.parametrize(
    ("damage", "error", "fault"),
    [
        ("missing", PretrainedError, "there is no folder"),
        ("empty", PretrainedError, r"no configuration in .*no weights in .*Set music\.tagger"),
        ("no weights", PretrainedError, r"no weights in .*Set music\.tagger"),
        ("config", PretrainedError, r"config\.json cannot be read.*Set music\.tagger"),
        ("fields", ModelFolderError, r"config\.json: classes"),
        ("joint", ModelFolderError, r"is a joint model.*load it with mulan\.MuLan"),
        ("no music", MusicDetectorError, "no class named Music; .* the nearest are 'audioset:Musical instrument'"),
        ("twice", MusicDetectorError, "several classes of music: 'audioset:Music', 'other:Music'"),
        ("ast without music", MusicDetectorError, "has no class named Music; it has 'Speech', 'Dog'"),
        ("bert", PretrainedError, "it describes a network of type 'bert'"),
    ],
)
def test_faults_are_found_when_loading_and_by_the_check(
    function: Any, damage: str, error: type[MulanError], fault: str, tagger_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    if damage == "no music":
        export(folder, ("audioset:Musical instrument", "audioset:Speech"))
    elif damage == "twice":
        export(folder, ("audioset:Music", "other:Music"))
    elif damage == "joint":
        recipe = small_recipe(RESNET)
        JointTask(recipe).export(JointTask(recipe).build_model(), folder)
    elif damage == "ast without music":
        save_ast(folder, labels=("Speech", "Dog"))
    elif damage == "bert":
        save_ast(folder, model_type="bert")
    elif damage == "empty":
        folder.mkdir()
    elif damage != "missing":
        shutil.copytree(tagger_folder, folder)
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "config":
        (folder / "config.json").write_text("{")
    elif damage == "fields":
        change(folder / "config.json", classes=None)
    with pytest.raises(error, match=fault) as caught:
        function(config(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("function", [load_detector, check_detector])
def test_functions_that_do_not_exist_and_empty_names(function: Any) -> None:
    with pytest.raises(MusicDetectorError, match="the module no_such_module cannot be imported"):
        function(config("python:no_such_module:detect"))
    with pytest.raises(MusicDetectorError, match=r"it is empty.*Set music\.tagger"):
        function(config(""))


def test_the_check_calls_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"module_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("def detect(waveform, rate_hz):\n    return 'music'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MusicDetectorError, match="the function returned 'music', not a probability"):
        check_detector(config(f"python:{name}:detect"))


def test_a_gpu_that_does_not_exist_is_refused(tagger_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MusicDetectorError, match=r"torch sees no GPU here\. Set music\.use_gpu=false"):
        load_detector(config(tagger_folder, use_gpu=True))
    check_detector(config(tagger_folder, use_gpu=True))


def test_no_code_of_a_checkpoint_is_run(ast_folder: Path) -> None:
    values = json.loads((ast_folder / "config.json").read_text())
    assert "auto_map" in values  # names code that raises
    load_detector(config(ast_folder)).music_share(sound(1))
