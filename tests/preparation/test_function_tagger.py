"""Tests that a user's function is called with the windows, and that what is wrong with it is reported."""

import uuid
from pathlib import Path

import numpy as np
import pytest

from mulan.preparation.function_tagger import FunctionTagger, names_function
from mulan.preparation.music_class import MusicDetectorError


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new module that can be imported, as the path of its file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / f"module_{uuid.uuid4().hex}.py"


def load(module: Path, body: str) -> FunctionTagger:
    module.write_text(f"import numpy as np\nimport torch\ndef detect(waveform, rate_hz):\n    {body}\n")
    return FunctionTagger.load(f"python:{module.stem}:detect")


def test_names_of_functions() -> None:
    assert names_function("python:package.module:function")
    assert names_function("python:module")  # reported as incomplete
    assert not names_function("python:package/folder")
    assert not names_function("hub:MIT/ast")
    assert not names_function("python/model:v1")


def test_the_function_receives_the_windows_as_floating_point_and_their_rate(module: Path) -> None:
    tagger = load(
        module,
        "assert (waveform.dtype, waveform.shape, rate_hz) == (np.float32, (160_000,), 16_000)\n"
        "    return waveform[3] - waveform[7]",
    )
    assert tagger.tags == ("Music",)
    assert (tagger.sample_rate_hz, tagger.window_samples) == (16_000, 160_000)
    windows = np.zeros((3, 160_000), np.int16)
    windows[:, 3], windows[:, 7] = (16_384, 0, 32_767), (0, -32_768, 8_192)
    rows = tagger.tag_windows(windows)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, np.array([[0.5], [1], [(32_767 - 8_192) / 32_768]], np.float32))
    assert tagger.tag_windows(windows[:0]).shape == (0, 1)
    assert windows[0, 3] == 16_384


@pytest.mark.parametrize(
    "result",
    [
        "0.25",
        "np.float32(0.25)",
        "np.array([0.25])",
        "torch.tensor(0.25)",
        "torch.tensor([[0.25]])",
        "np.float16(0.25)",
    ],
)
def test_numbers_of_any_library_are_probabilities(module: Path, result: str) -> None:
    tagger = load(module, f"return {result}")
    tagger.check()
    assert tagger.tag_windows(np.zeros((1, 160_000), np.int16)) == 0.25


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return 1.5", r"the function returned 1\.5, not a probability"),
        ("return -1e-9", "the function returned -1e-09, not a probability"),
        ("return float('nan')", "returned nan"),
        ("return None", "returned None"),
        ("return '0.5'", r"returned '0\.5'"),
        ("return {'music': 0.5}", "returned {'music': 0.5}"),
        ("return np.array([0.2, 0.8])", "raised ValueError: can only convert an array of size 1"),
        ("return 1 / int(waveform.any())", "raised ZeroDivisionError: division by zero"),  # for silence
        ("return 0.5 + 1j", "returned"),
        ("raise RuntimeError('no model\\nhere')", "raised RuntimeError: no model here"),
    ],
)
def test_results_that_are_not_probabilities_are_found_by_the_check(module: Path, body: str, fault: str) -> None:
    tagger = load(module, body)
    with pytest.raises(MusicDetectorError, match=fault) as caught:
        tagger.check()
    assert f"music.tagger 'python:{module.stem}:detect'" in str(caught.value)
    assert "returns the probability of music, a number from 0 to 1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_check_also_calls_the_function_with_sound(module: Path) -> None:
    tagger = load(module, "return 2.0 * bool(waveform.any())")
    with pytest.raises(MusicDetectorError, match=r"returned 2\.0"):
        tagger.check()


@pytest.mark.parametrize(
    ("source", "name", "fault"),
    [
        ("import nothing_of_this_name", "detect", "cannot be imported: ModuleNotFoundError: No module named 'nothing"),
        ("def detect(:", "detect", "cannot be imported: SyntaxError"),
        ("", "detect", "has no function detect"),
        ("detect = 3", "detect", "detect is a int in the module"),
    ],
)
def test_functions_that_cannot_be_found(module: Path, source: str, name: str, fault: str) -> None:
    module.write_text(source)
    with pytest.raises(MusicDetectorError, match=fault):
        FunctionTagger.load(f"python:{module.stem}:{name}")


@pytest.mark.parametrize("spec", ["python:", "python:module", "python:module:", "python::function"])
def test_incomplete_names(spec: str) -> None:
    with pytest.raises(MusicDetectorError, match=r"does not name a module and a function.*python:MODULE:FUNCTION"):
        FunctionTagger.load(spec)


def test_a_module_that_does_not_exist() -> None:
    with pytest.raises(MusicDetectorError, match="the module no_such_module cannot be imported"):
        FunctionTagger.load("python:no_such_module:detect")
