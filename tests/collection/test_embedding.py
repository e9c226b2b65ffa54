"""The rows of a collection equal those of single files, whatever it is made of and however often it is interrupted."""

import itertools
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan import MuLan
from mulan.collection import embedding
from mulan.collection.embedding import check_left_out, check_skipped, embed_missing, finish, result_lines
from mulan.collection.embeddings import CollectionEmbeddings, EmbeddingsError
from mulan.collection.plan import EmbeddingPlan, FinishedPart, Settings, plan_parts, write_finished
from mulan.collection.recordings import AudioCollection, CollectionRecording, open_collection
from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.embedding.pipeline import Actors, EncoderOpening
from mulan.evaluation.encoders.registry import open_encoder
from mulan.preparation.faults import Faults
from mulan.preparation.found import AudioLocation
from mulan.preparation.settings import PreparationConfig
from tests.collection.conftest import Places
from tests.evaluation.embedding.stub_encoder import open_stub

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Interrupted(Exception):
    pass


def embed(
    uri: str,
    out: Path,
    *,
    model_uri: str = "",
    per_part: int = 4,
    max_skipped_share: float = 0.1,
    **settings: Any,
) -> EmbeddingPlan:
    """Embeds a collection in parts of a few recordings.

    Args:
        uri: The collection.
        out: Folder of the vectors.
        model_uri: Folder of an exported model; if empty, vectors are those of an encoder without a network.
        per_part: Number of recordings of a part on average.
        max_skipped_share: Maximum share of skipped recordings.
        settings: Fields of the settings.
    """
    opening: EncoderOpening = partial(open_encoder, model_uri) if model_uri else open_stub
    collection, settings_of, plan = planned(uri, out, opening, per_part=per_part, **settings)

    def on_progress(done: int, total: int) -> None:
        assert done <= total

    embed_missing(collection, plan, settings_of, opening, actors=Actors(), on_progress=on_progress)
    finish(collection, plan, settings_of, model_uri or "stub", max_skipped_share=max_skipped_share)
    return plan


def interrupting_after(parts: int) -> Callable[..., FinishedPart]:
    """Returns a function that writes parts, and interrupts when this number of them is written."""
    remaining = itertools.count(parts - 1, -1)

    def write(*arguments: Any) -> FinishedPart:
        finished = write_finished(*arguments)
        if not next(remaining):
            raise Interrupted
        return finished

    return write


def planned(
    uri: str, out: Path, opening: EncoderOpening = open_stub, *, per_part: int = 4, **settings: Any
) -> tuple[AudioCollection, Settings, EmbeddingPlan]:
    collection = open_collection(uri, PreparationConfig())
    settings_of = Settings(opening(device="cpu").info, **settings)
    return collection, settings_of, plan_parts(collection, settings_of, str(out), recordings_per_part=per_part)


@pytest.fixture(scope="module")
def whole(places: Places, ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EmbeddingPlan]:
    """Returns the folder of the corpus's vectors, and its parts."""
    out = tmp_path_factory.mktemp("whole")
    return out, embed(places.corpus, out, windows=True)


def rows(out: Path) -> pa.Table:
    found = CollectionEmbeddings.open(str(out))
    return pa.Table.from_batches(found.batches(), found.schema)


def test_vectors_are_those_of_single_files(places: Places, model_uri: str, tmp_path: Path) -> None:
    audio = {each.recording_id: each.audio for each in places.recordings}
    embed(places.corpus, tmp_path / "out", model_uri=model_uri, windows=True)
    table = rows(tmp_path / "out")
    assert table["recording_id"].to_pylist() == sorted({*audio} - {"tone-005"})
    files = []
    for name in table["recording_id"].to_pylist():
        files.append(tmp_path / f"{name}.flac")
        files[-1].write_bytes(audio[name])
    expected = MuLan.from_pretrained(model_uri, device="cpu").embed_audio(files)
    assert np.abs(np.array(table["embedding"].to_pylist()) - expected).max() < 1e-6
    for row in table.to_pylist():
        assert Path(row["uri"]).read_bytes()[row["offset"] :][: row["length"]] == audio[row["recording_id"]]
        mean = np.mean(row["windows"], axis=0)
        np.testing.assert_allclose(mean / np.linalg.norm(mean), row["embedding"], atol=1e-6)
        assert len(row["window_starts_s"]) == len(row["windows"]) == 2 * row["duration_s"]
    assert CollectionEmbeddings.open(str(tmp_path / "out")).model.uri == model_uri


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_a_folder_and_a_table_give_the_vectors_of_the_corpus(
    places: Places, whole: tuple[Path, EmbeddingPlan], tmp_path: Path, kind: str
) -> None:
    embed(str(getattr(places, kind)), tmp_path, windows=True)
    found, expected = (
        {row["recording_id"].split("/")[-1]: row for row in rows(out).to_pylist()} for out in (tmp_path, whole[0])
    )
    assert found.keys() == expected.keys()
    for name, row in found.items():
        np.testing.assert_allclose(row["windows"], expected[name]["windows"], atol=1e-6)
        for column in ("duration_s", "length", "extension", "waveform", "window_starts_s"):
            assert row[column] == expected[name][column]
        assert row["artist"] == ("somebody" if kind == "table" else "")
    (skipped,) = pq.read_table(tmp_path / "skipped.parquet").to_pylist()
    assert skipped["recording_id"].endswith("tone-005")
    assert skipped["reason"] == "truncated audio"
    assert skipped["uri"].endswith("/tone-005.FLAC")
    assert CollectionEmbeddings.open(str(tmp_path)).manifest.skipped == {"truncated audio": 1}


def test_an_interrupted_call_is_continued_to_the_same_bytes(
    places: Places, whole: tuple[Path, EmbeddingPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for written in (2, 1):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
        with monkeypatch.context() as patched:
            patched.setattr(embedding, "write_finished", interrupting_after(written))
            with pytest.raises(Interrupted):
                embed(places.corpus, tmp_path, windows=True)
        after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
        assert before.items() < after.items()
        assert len(after) == len(before) + written
        assert not (tmp_path / "embeddings.json").exists()
        with pytest.raises(EmbeddingsError, match="unfinished"):
            CollectionEmbeddings.open(str(tmp_path))
    embed(places.corpus, tmp_path, windows=True)
    for name in [*(part.name for part in whole[1].parts), "embeddings.json", "skipped.parquet"]:
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


def test_another_type_of_numbers_replaces_the_parts(
    places: Places, whole: tuple[Path, EmbeddingPlan], tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    plan = embed(places.corpus, tmp_path, dtype="float16")
    found = CollectionEmbeddings.open(str(tmp_path))
    assert list(result_lines(found.manifest, plan)) == [
        "skipped  truncated audio: 1",
        f"removed  {len(plan.parts)} parts of other recordings, another model or other settings",
        f"embeddings  21 recordings, {len(plan.parts)} parts: {tmp_path}",
    ]
    assert (found.dtype, found.has_windows, found.count) == ("float16", False, 21)
    assert sorted(path.name for path in tmp_path.glob("part-*")) == sorted(found.manifest.parts)
    vectors = [np.array(rows(out)["embedding"].to_pylist()) for out in (tmp_path, whole[0])]
    np.testing.assert_allclose(*vectors, atol=1e-3)


def test_too_many_skipped_recordings_leave_the_rows_and_no_result(
    places: Places, whole: tuple[Path, EmbeddingPlan], tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    collection, settings, plan = planned(places.corpus, tmp_path, windows=True)
    assert plan.missing == []
    with pytest.raises(TooManySkippedRecordings, match=r"(?s)1 of the 22 recordings of corpus=.*tone-005: truncated"):
        finish(collection, plan, settings, "stub", max_skipped_share=0.0)
    assert not (tmp_path / "embeddings.json").exists()
    finish(collection, planned(places.corpus, tmp_path, windows=True)[2], settings, "stub", max_skipped_share=0.01)
    assert CollectionEmbeddings.open(str(tmp_path)).count == 21


def test_the_message_about_skipped_recordings_is_bounded() -> None:
    named = [{"recording_id": str(number), "uri": "", "reason": "damaged audio", "detail": ""} for number in range(30)]
    with pytest.raises(TooManySkippedRecordings) as caught:
        check_skipped("folder=x", Counter({"damaged audio": 90}), named, 10, "; and so on", max_skipped_share=0.5)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("by --max-skipped-share; and so on")
    assert (len(lines), lines[-1]) == (22, "  and 70 more")
    with pytest.raises(TooManySkippedRecordings, match=r"repair or remove them$"):
        check_skipped("folder=x", Counter(), [], 0, "", max_skipped_share=1.0)
    check_skipped("folder=x", Counter({"damaged audio": 10}), named, 10, "", max_skipped_share=0.5)


@pytest.mark.parametrize(
    ("left_out", "rows", "share", "is_allowed"),
    [
        (1, 9, 0.01, True), (2, 9, 0.01, False), (2, 198, 0.01, True), (1, 9, 0.0, False), (0, 9, 0.0, True),
        (1, 0, 1.0, False),
    ],
)  # fmt: skip
def test_a_single_recording_may_be_left_out_of_a_small_collection(
    left_out: int, rows: int, share: float, is_allowed: bool
) -> None:
    faults = Faults(counts=Counter({"empty file": left_out}), named={"empty file": ["a.wav"]} if left_out else {})
    place = AudioLocation(uri="/a.wav")
    recordings = [CollectionRecording(recording_id=str(number), place=place, version="") for number in range(rows)]
    with nullcontext() if is_allowed else pytest.raises(TooManySkippedRecordings, match=r"  - empty file: a\.wav"):
        check_left_out(AudioCollection("folder=x", recordings, faults), max_skipped_share=share)


def test_a_part_of_skipped_recordings_alone_has_no_rows(places: Places, tmp_path: Path) -> None:
    for name in ("a b/tone-005.FLAC", "tone-000.FLAC"):
        shutil.copy(places.folder / name, tmp_path)
    plan = embed(str(tmp_path), tmp_path / "out", per_part=1, windows=True, max_skipped_share=0.5)
    assert sorted(part.rows for part in plan.finished.values()) == [0, 1]
    assert CollectionEmbeddings.open(str(tmp_path / "out")).count == 1
    (tmp_path / "tone-000.FLAC").unlink()
    with pytest.raises(TooManySkippedRecordings, match=r"1 of the 1 recordings .* cannot be embedded"):
        embed(str(tmp_path), tmp_path / "out", per_part=1, windows=True, max_skipped_share=1.0)
