import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import webdataset

from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.corpus.records import read_record
from mulan.data.errors import CorpusError
from tests.data.corpus.tars import write_tar
from tests.sounds import flac, tone

AUDIO = flac(tone(440, 0.5))
METADATA = {"texts": {"short_form": ["a tone"]}, "split": "test", "tags": ["genre:drone"], "licence": "CC0-1.0"}
GOOD = json.dumps(METADATA).encode()
OF_3_S = json.dumps(METADATA | {"duration_s": 3.0}).encode()


def adopted(path: Path, members: Sequence[tuple[str, bytes]]) -> Corpus:
    """Adopts one tar, checks that its ids are the keys that the webdataset library reads, and returns the corpus."""
    shard = write_tar(path / "a.tar", members)
    index_shards([shard], str(path / "corpus"))
    corpus = Corpus.open(str(path / "corpus"))
    theirs = [sample["__key__"] for sample in webdataset.WebDataset(shard, shardshuffle=False)]
    assert corpus.table["recording_id"].to_pylist() == [key for key in theirs if "__MACOSX" not in key]
    return corpus


def text(word: str) -> bytes:
    return json.dumps({"texts": {"short_form": [word]}}).encode()


def test_equal_names_in_different_folders_are_different_recordings(tmp_path: Path) -> None:
    other = flac(tone(880, 0.5))
    members = [("rock/01.flac", AUDIO), ("rock/01.json", text("rock")), ("jazz/01.flac", other)]
    corpus = adopted(tmp_path, [*members, ("jazz/01.json", text("jazz"))])
    records = [read_record(corpus, row) for row in range(2)]
    assert [(one.recording_id, one.audio, one.texts("short_form")) for one in records] == [
        ("rock/01", AUDIO, ["rock"]),
        ("jazz/01", other, ["jazz"]),
    ]


def test_other_texts_or_newer_files_of_the_same_size_have_another_digest(tmp_path: Path) -> None:
    def digest(word: str, modified_s: int) -> str:
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name, content in {"a.flac": AUDIO, "a.json": text(word)}.items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(content), modified_s
                tar.addfile(member, io.BytesIO(content))
        index_shards([tmp_path / "a.tar"], tmp_path)
        return Corpus.open(str(tmp_path)).index_sha256

    assert digest("calm", 0) == digest("calm", 0)
    assert len({digest("calm", 0), digest("loud", 0), digest("calm", 1)}) == 3


def test_several_audio_members_are_rejected(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", [("a.flac", AUDIO), ("a.mp3", AUDIO), ("a.json", GOOD)])
    with pytest.raises(CorpusError, match=r"a\.tar: a: no audio: a needs one audio member and has several: flac, mp3"):
        index_shards([shard], str(tmp_path))
    shard = write_tar(tmp_path / "b.tar", [("a.flac", AUDIO), ("a.flac", AUDIO), ("a.json", GOOD)])
    with pytest.raises(CorpusError, match=r"several a\.flac"):
        index_shards([shard], str(tmp_path))


FAULTY = [
    ("good.flac", AUDIO), ("good.json", GOOD),
    ("silent.json", GOOD),
    ("mute.flac", AUDIO),
    ("broken.flac", AUDIO), ("broken.json", b'{"texts": '),
    ("list.flac", AUDIO), ("list.json", b"[]"),
    ("textless.flac", AUDIO), ("textless.json", b"{}"),
    ("noise.flac", b"not audio at all" * 99), ("noise.json", GOOD),
    ("empty.flac", b""), ("empty.json", GOOD),
    ("endless.flac", AUDIO), ("endless.json", json.dumps(METADATA | {"duration_s": float("nan")}).encode()),
    ("divided.flac", AUDIO), ("divided.json", json.dumps(METADATA | {"split": "valid"}).encode()),
    ("good.flac", AUDIO), ("good.json", GOOD),
    ("last.flac", AUDIO), ("last.json", GOOD),
]  # fmt: skip
BAD = ["good", "silent", "mute", "broken", "list", "textless", "noise", "empty", "endless", "divided"]


def test_all_faults_are_listed_and_can_be_skipped(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "faulty.tar", FAULTY)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(Path(write_tar(tmp_path / "x.tar", [("z.flac", AUDIO), ("z.json", GOOD)])).read_bytes()[:-11_000])
    shards = [shard, str(tmp_path / "absent.tar"), str(cut)]
    with pytest.raises(CorpusError) as caught:
        index_shards(iter(shards), str(tmp_path / "corpus"))
    listed = "\n".join(caught.value.faults)
    assert [name for name in BAD if f"{shard}: {name}: " not in listed] == []
    assert f"{tmp_path}/absent.tar: unreadable shard: cannot be read: " in listed
    assert f"{cut}: " in listed
    assert not (tmp_path / "corpus").exists()
    skipped = index_shards(shards, str(tmp_path / "corpus"), on_error="skip")
    assert [item.name for item in skipped][:-1] == [*BAD, str(tmp_path / "absent.tar")]
    assert Corpus.open(str(tmp_path / "corpus")).table["recording_id"].to_pylist() == ["good", "last"]


def test_keys_may_restart_in_every_shard(tmp_path: Path) -> None:
    shards = [write_tar(tmp_path / f"{n}.tar", [("0000.flac", AUDIO), ("0000.json", GOOD)]) for n in range(2)]
    with pytest.raises(CorpusError, match=r"1\.tar: 0000: duplicate id: .* also in .*0\.tar; .*keys_restart=True"):
        index_shards(shards, str(tmp_path))
    index_shards(shards, str(tmp_path), keys_restart=True)
    corpus = Corpus.open(str(tmp_path))
    assert corpus.table["recording_id"].to_pylist() == ["0/0000", "1/0000"]
    assert read_record(corpus, 1).audio == AUDIO


def test_shards_of_equal_names_in_different_folders_have_different_ids(tmp_path: Path) -> None:
    for folder in ("train", "validation"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", [("k.flac", AUDIO), ("k.json", GOOD)])
    index_shards([tmp_path / "train" / "0.tar", tmp_path / "validation" / "0.tar"], str(tmp_path), keys_restart=True)
    corpus = Corpus.open(str(tmp_path))
    assert [read_record(corpus, row).recording_id for row in range(2)] == ["train/0/k", "validation/0/k"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("a.mp3", b""), ("a.json", OF_3_S)], r"b\.tar: a: undecodable audio: the audio file is empty"),
        ([("a.txt", b"words"), ("a.json", OF_3_S)], r"b\.tar: a: no audio: a needs one audio member and has none"),
        ([("a.bin", b"words"), ("a.json", OF_3_S)], r"b\.tar: a: undecodable audio"),
        ([("a.flac", AUDIO), ("a.json", b'{"texts": {}, "duration_s": 1' + b"0" * 400 + b"}")], "duration_s is 1000"),
        ([("README", b"words")], r"b\.tar: no recordings"),
    ],
    ids=["empty audio", "a text alone", "a text for audio", "a length beyond floats", "no recordings"],
)
def test_members_without_audio_are_rejected_despite_a_stated_duration(
    members: list[tuple[str, bytes]], words: str, tmp_path: Path
) -> None:
    good = write_tar(tmp_path / "a.tar", [("good.flac", AUDIO), ("good.json", GOOD)])
    shards = [good, write_tar(tmp_path / "b.tar", members)]
    with pytest.raises(CorpusError, match=words):
        index_shards(shards, str(tmp_path))
    (skipped,) = index_shards(shards, str(tmp_path), on_error="skip")
    assert skipped.detail.startswith(f"in {shards[1]}: ") or skipped.name == shards[1]


def test_paths_of_shards_are_written_as_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    members = [[(f"{name}.flac", AUDIO), (f"{name}.json", GOOD)] for name in "abc"]
    write_tar(tmp_path / "a.tar", members[0])
    write_tar(tmp_path / "home" / "b.tar", members[1])
    write_tar(tmp_path / "c.tar", members[2])
    index_shards(["a.tar", "~/b.tar", Path("c.tar")], "corpus")
    corpus = Corpus.open("corpus")
    assert corpus.table["uri"].to_pylist() == [str(tmp_path / name) for name in ("a.tar", "home/b.tar", "c.tar")]
    monkeypatch.chdir("/")
    assert [read_record(corpus, row).audio for row in range(3)] == [AUDIO] * 3


def test_concatenated_and_invalid_tars_are_rejected(tmp_path: Path) -> None:
    one = Path(write_tar(tmp_path / "a.tar", [("a.flac", AUDIO), ("a.json", GOOD)])).read_bytes()
    for content, words in (
        (one + one, "data after the end mark"),
        (b"no tar" * 999, "no tar members"),
        (b"", "empty file"),
    ):
        (tmp_path / "b.tar").write_bytes(content)
        with pytest.raises(CorpusError, match=words):
            index_shards([tmp_path / "b.tar"], str(tmp_path / "corpus"))
    assert not (tmp_path / "corpus" / INDEX_NAME).exists()
    with pytest.raises(CorpusError, match="pass a single tar as a list"):
        index_shards(str(tmp_path / "a.tar"), str(tmp_path / "corpus"))
    with pytest.raises(CorpusError, match="no recordings"):
        index_shards([], str(tmp_path / "corpus"))
