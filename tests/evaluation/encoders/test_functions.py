"""Tests that models of other projects are adapted by functions, and that what is wrong with them is reported."""

import pickle
import uuid
from pathlib import Path

import numpy as np
import pytest

from mulan.evaluation.encoders.functions import FunctionEncoder, FunctionError
from tests.evaluation.encoders.windows import noise

WINDOW = 400

GOOD = """
import numpy as np, torch

class Adapted:
    sample_rate_hz, window_samples = 8000, 400

    def embed_audio(self, windows):
        assert (windows.dtype, windows.ndim, windows.shape[1]) == (np.float32, 2, 400)
        return np.stack([np.abs(windows).mean(axis=1), windows[:, 0], windows.std(axis=1)], axis=1)

    def embed_text(self, texts):
        assert isinstance(texts, list)
        return np.array([[len(text), text.count("a"), 1.0] for text in texts])

def factory():
    return Adapted()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new module that can be imported, as the path of its file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / f"module_{uuid.uuid4().hex}.py"


def opened(module: Path, source: str = GOOD, *changes: tuple[str, str]) -> FunctionEncoder:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    module.write_text(source)
    return FunctionEncoder.open(f"{module.stem}:factory", name="other", device="cpu")


def test_the_functions_embed_audio_and_text_which_are_normalised(module: Path) -> None:
    encoder, windows = opened(module), noise(40, WINDOW)
    info = encoder.info
    assert (info.name, info.kind, info.uri) == ("other", "python", f"{module.stem}:factory")
    assert (info.sample_rate_hz, info.window_samples, info.dim) == (8000, WINDOW, 3)
    assert info.is_unit and info.embeds_text
    audio, text = encoder.embed_audio(windows), encoder.embed_text(["a piano", "banana"])
    scaled = windows / 32768
    expected = np.stack([np.abs(scaled).mean(axis=1), scaled[:, 0], scaled.std(axis=1)], axis=1)
    np.testing.assert_allclose(audio, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(text, np.array([[7, 2, 1], [6, 3, 1]]) / np.sqrt([[54], [46]]), atol=1e-6)
    assert audio.dtype == text.dtype == np.float32
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(encoder.embed_audio(windows[order]), audio[order], rtol=0, atol=1e-6)
    assert encoder.embed_audio(windows[:0]).shape == encoder.embed_text([]).shape == (0, 3)


def test_without_texts_vectors_are_kept_as_they_are(module: Path) -> None:
    encoder, windows = opened(module, GOOD, ("def embed_text", "def embed_nothing")), noise(2, WINDOW)
    assert not encoder.info.embeds_text and not encoder.info.is_unit
    rows = encoder.embed_audio(windows)
    np.testing.assert_allclose(rows[:, 2], (windows / 32768).std(axis=1), rtol=1e-5)
    with pytest.raises(FunctionError, match="has no function embed_text"):
        encoder.embed_text(["piano"])


RETURNED = "return np.stack([np.abs(windows).mean(axis=1), windows[:, 0], windows.std(axis=1)], axis=1)"


@pytest.mark.parametrize(
    "result",
    [
        "np.abs(windows[:, :3]).astype(np.float64) + 1",
        "(np.abs(windows[:, :3]) + 1).tolist()",
        "torch.from_numpy(np.abs(windows[:, :3]) + 1).requires_grad_()",
        "torch.from_numpy(np.abs(windows[:, :3]) + 1).double()",
        "list(np.abs(windows[:, :3]) + 1)",
    ],
)
def test_floating_point_of_any_library_is_accepted(module: Path, result: str) -> None:
    encoder, windows = opened(module, GOOD, (RETURNED, f"return {result}")), noise(2, WINDOW)
    expected = np.abs(windows[:, :3] / 32768) + 1
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.embed_audio(windows), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ("windows[0, :3]", r"embed_audio returned float32 \[3\] for 2 items, not floating point \[2, d\]"),
        ("windows[:1, :3]", r"embed_audio returned float32 \[1, 3\] for 2 items"),
        ("windows[:, :3].astype(int)", r"embed_audio returned int64 \[2, 3\]"),
        ("windows[:, :0]", "returned vectors of size 0"),
        ("windows[:, :3] * np.nan", "returned NaN or infinite values in 2 of 2 vectors"),
        ("(windows[:, :3] + 1).astype(np.float64) * 1e300", "returned NaN or infinite values in 2 of 2 vectors"),
        ("windows[:, :3] * 0", "returned a vector of zeros, which has no direction"),
        ("None", r"embed_audio returned object \[\]"),
        ("[[1.0, 2.0], [1.0]]", "embed_audio raised ValueError"),
        ("1 / 0", "embed_audio raised ZeroDivisionError: division by zero"),
        ("windows - windows.mean(axis=0) / 2", "returns other vectors for a window with other windows beside it"),
        ("np.random.default_rng().normal(size=(len(windows), 3))", "draw no random numbers"),
        ("windows[:, :4] + 1", "embed_text returned vectors of size 3, but embed_audio of size 4"),
    ],
)
def test_what_is_wrong_with_the_vectors_is_found_when_the_encoder_is_opened(
    module: Path, result: str, fault: str
) -> None:
    with pytest.raises(FunctionError, match=fault) as caught:
        opened(module, GOOD, (RETURNED, f"return {result}"))
    assert f"encoder python={module.stem}:factory: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_vectors_that_go_wrong_later_are_reported(module: Path) -> None:
    later = "rows[~windows.any(axis=1)] = np.nan"  # as networks do that normalise their input
    encoder = opened(module, GOOD, (RETURNED, f"rows = windows[:, :3] + 1\n        {later}\n        return rows"))
    windows = np.concatenate([noise(20, WINDOW), np.zeros((1, WINDOW), np.int16)])
    with pytest.raises(FunctionError, match="embed_audio returned NaN or infinite values in 1 of 5 vectors"):
        encoder.embed_audio(windows)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (("return Adapted()", "return None"), ["NoneType: its sample_rate_hz is None", "no function embed_audio"]),
        (("8000, 400", "8000.0, 0"), [r"its sample_rate_hz is 8000\.0, not", "its window_samples is 0, not a whole"]),
        (("8000, 400", "True, '400'"), ["sample_rate_hz is True", "window_samples is '400'"]),
        (("return Adapted()", "raise OSError('no weights\\nhere')"), ["the function raised OSError: no weights here"]),
        (("def factory()", "def factory(device)"), ["the function raised TypeError"]),
        (("def factory()", "def other()"), ["has no function factory"]),
        (("import numpy as np", "import nothing_of_this_name"), ["cannot be imported: ModuleNotFoundError"]),
        (('text.count("a")', '"a"'), ["embed_text returned <U"]),
    ],
)
def test_what_is_wrong_with_the_object_is_reported_at_once(
    module: Path, change: tuple[str, str], faults: list[str]
) -> None:
    for fault in faults:
        with pytest.raises(FunctionError, match=fault):
            opened(module, GOOD, change)


@pytest.mark.parametrize(
    "change",
    [
        ("return Adapted()", "raise SystemExit"),
        (RETURNED, "raise SystemExit(0)"),
        ("import numpy", "raise SystemExit\nimport numpy"),
    ],
)
def test_a_function_that_ends_the_process_is_reported(module: Path, change: tuple[str, str]) -> None:
    with pytest.raises(FunctionError, match="SystemExit"):
        opened(module, GOOD, change)


def test_incomplete_names() -> None:
    with pytest.raises(FunctionError, match=r"does not name a module and a function\. .*python=MODULE:FUNCTION"):
        FunctionEncoder.open("package.module", name="a")


def test_the_digest_is_that_of_the_source_and_the_weights_or_of_the_stated_version(
    module: Path, tmp_path: Path
) -> None:
    sha256 = opened(module).info.sha256
    assert FunctionEncoder.open(f"{module.stem}:Adapted", name="a").info.sha256 != sha256
    changed = tmp_path / f"module_{uuid.uuid4().hex}.py"
    assert opened(changed, GOOD + "# changed\n").info.sha256 != sha256
    (tmp_path / "weights.txt").write_text("1.0")
    weights = f"float(open({str(tmp_path / 'weights.txt')!r}).read())"
    loading = tmp_path / f"module_{uuid.uuid4().hex}.py"
    first = opened(loading, GOOD, ("windows[:, 0],", f"windows[:, 0] * {weights},")).info
    assert FunctionEncoder.open(first.uri, name="a").info.sha256 == first.sha256
    (tmp_path / "weights.txt").write_text("1.1")
    assert FunctionEncoder.open(first.uri, name="a").info.sha256 != first.sha256
    stated = ("sample_rate_hz,", "version = '3'; sample_rate_hz,")
    versioned = opened(tmp_path / f"module_{uuid.uuid4().hex}.py", GOOD, stated)
    file = tmp_path / f"{versioned.info.uri.partition(':')[0]}.py"
    file.write_text(file.read_text() + "# changed\n")
    assert FunctionEncoder.open(versioned.info.uri, name="a").info.sha256 == versioned.info.sha256
