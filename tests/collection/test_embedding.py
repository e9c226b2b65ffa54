"""The rows of a collection equal those of single files, whatever it is made of, and however often it was interrupted."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mulan import MuLan
from mulan.collection.embedding import check_skipped, embed_missing, finish, result_lines
from mulan.collection.embeddings import Embeddings, EmbeddingsError
from mulan.collection.plan import Plan, Settings, plan_parts
from mulan.collection.recordings import Collection, open_collection
from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.embedding.pipeline import Actors
from mulan.evaluation.encoders.registry import open_encoder
from mulan.preparation.settings import PreparationConfig
from tests.collection.conftest import Places

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Interrupted(Exception):
    pass


def embed(uri: str, model_uri: str, out: Path, *, stop_after: int | None = None, **settings: Any) -> Plan:
    """Embeds a collection in parts of a few recordings, and stops once this number of them is done."""
    collection, settings_of, plan = planned(uri, model_uri, out, **settings)

    def on_progress(done: int, total: int) -> None:
        assert done <= total
        if stop_after is not None and done >= stop_after:
            raise Interrupted

    embed_missing(
        collection, plan, settings_of, partial(open_encoder, model_uri), actors=Actors(), on_progress=on_progress
    )
    finish(collection, plan, settings_of, model_uri, max_skipped_share=0.1)
    return plan


def planned(uri: str, model_uri: str, out: Path, **settings: Any) -> tuple[Collection, Settings, Plan]:
    collection = open_collection(uri, PreparationConfig())
    settings_of = Settings(open_encoder(model_uri, device="cpu").info, **settings)
    return collection, settings_of, plan_parts(collection, settings_of, str(out), recordings_per_part=4)


def rows(out: Path) -> pa.Table:
    found = Embeddings.open(str(out))
    return pa.Table.from_batches(found.batches(), found.schema)


def test_vectors_are_those_of_single_files_of_a_corpus_a_folder_and_a_table(
    places: Places, model_uri: str, tmp_path: Path
) -> None:
    audio = {each.recording_id: each.audio for each in places.recordings}
    model = MuLan.from_pretrained(model_uri, device="cpu")
    for kind in ("corpus", "folder", "table"):
        out = tmp_path / kind
        embed(str(getattr(places, kind)), model_uri, out, windows=True)
        table = rows(out)
        names = [name.split("/")[-1] for name in table["recording_id"].to_pylist()]
        assert sorted(names) == sorted({*audio} - {"tone-005"})
        files = []
        for name in names:
            files.append(tmp_path / f"{name}.flac")
            files[-1].write_bytes(audio[name])
        found = np.array(table["embedding"].to_pylist())
        assert np.abs(found - model.embed_audio(files)).max() < 1e-6
        for row in table.to_pylist():
            assert Path(row["uri"]).read_bytes()[row["offset"] :][: row["length"]] in audio.values()
            windows = np.array(row["windows"])
            mean = windows.mean(axis=0)
            np.testing.assert_allclose(mean / np.linalg.norm(mean), row["embedding"], atol=1e-6)
            assert len(row["window_starts_s"]) == len(windows) == 2 * row["duration_s"]
        assert table["artist"].unique().to_pylist() == ["somebody" if kind == "table" else ""]
        (skipped,) = pa.parquet.read_table(out / "skipped.parquet").to_pylist()
        assert skipped["recording_id"].endswith("tone-005")
        assert skipped["reason"] == "truncated audio"
        assert skipped["uri"].startswith("/")
        assert Embeddings.open(str(out)).manifest.skipped == {"truncated audio": 1}


def test_an_interrupted_call_is_continued_to_the_same_bytes(places: Places, model_uri: str, tmp_path: Path) -> None:
    whole = embed(places.corpus, model_uri, tmp_path / "whole")
    for stop_after in (9, 7):
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("part-*")}
        with pytest.raises(Interrupted):
            embed(places.corpus, model_uri, tmp_path / "again", stop_after=stop_after)
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("part-*")}
        assert before.items() < after.items()
        assert not (tmp_path / "again" / "embeddings.json").exists()
        with pytest.raises(EmbeddingsError, match="unfinished"):
            Embeddings.open(str(tmp_path / "again"))
    again = embed(places.corpus, model_uri, tmp_path / "again")
    assert [part.name for part in again.parts] == [part.name for part in whole.parts]
    for name in [*(part.name for part in whole.parts), "embeddings.json", "skipped.parquet"]:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_another_type_of_numbers_replaces_the_parts(places: Places, model_uri: str, tmp_path: Path) -> None:
    embed(places.corpus, model_uri, tmp_path)
    exact = np.array(rows(tmp_path)["embedding"].to_pylist())
    plan = embed(places.corpus, model_uri, tmp_path, dtype="float16")
    found = Embeddings.open(str(tmp_path))
    assert list(result_lines(found.manifest, plan)) == [
        "skipped  truncated audio: 1",
        f"removed  {len(plan.parts)} parts of other recordings, another model or other settings",
        f"embeddings  21 recordings, {len(plan.parts)} parts: {tmp_path}",
    ]
    assert (found.dtype, found.has_windows, found.model.uri) == ("float16", False, model_uri)
    assert sorted(path.name for path in tmp_path.glob("part-*")) == sorted(found.manifest.parts)
    np.testing.assert_allclose(np.array(rows(tmp_path)["embedding"].to_pylist()), exact, atol=1e-3)


def test_too_many_skipped_recordings_leave_the_rows_and_no_result(
    places: Places, model_uri: str, tmp_path: Path
) -> None:
    embed(places.corpus, model_uri, tmp_path)
    collection, settings, plan = planned(places.corpus, model_uri, tmp_path)
    assert plan.missing == []
    with pytest.raises(TooManySkippedRecordings, match=r"(?s)1 of the 22 recordings of corpus=.*tone-005: truncated"):
        finish(collection, plan, settings, model_uri, max_skipped_share=0.04)
    assert not (tmp_path / "embeddings.json").exists()
    finish(collection, planned(places.corpus, model_uri, tmp_path)[2], settings, model_uri, max_skipped_share=0.05)
    assert Embeddings.open(str(tmp_path)).count == 21


def test_the_message_about_skipped_recordings_is_bounded() -> None:
    named = [{"recording_id": str(number), "uri": "", "reason": "damaged audio", "detail": ""} for number in range(30)]
    with pytest.raises(TooManySkippedRecordings) as caught:
        check_skipped("folder=x", Counter({"damaged audio": 90}), named, 10, max_skipped_share=0.5)
    lines = str(caught.value).splitlines()
    assert "--max-skipped-share" in lines[0]
    assert (len(lines), lines[-1]) == (22, "  and 70 more")
    with pytest.raises(TooManySkippedRecordings, match=r"repair or remove them$"):
        check_skipped("folder=x", Counter(), [], 0, max_skipped_share=1.0)
    check_skipped("folder=x", Counter({"damaged audio": 10}), named, 10, max_skipped_share=0.5)
