"""Tests that a scan finds the texts of a tar's recordings and the durations of their audio, from few of its bytes."""

import json
import tarfile
from pathlib import Path

import pytest

from mulan.data.corpus import scanning
from mulan.data.corpus.scanning import ScannedSample, audio_duration_s, checked_audio, scan
from mulan.data.errors import BadRecording
from mulan.storage.ranged_file import RangedFile
from tests.data.corpus.tars import FORMATS, write_tar
from tests.encodings import by_ffmpeg
from tests.sounds import flac, noise, tone

AUDIO_BYTES = 160_000


def large_tar(path: Path, order: str, form: int, count: int = 40) -> tuple[str, int]:
    """Writes a tar of recordings of 160 kB with holes for audio; returns its path, and the size of headers and texts.

    Args:
        order: ``"together"``, ``"texts first"`` or ``"apart"``: all audio, then all texts.
    """
    start = flac(noise(8.0, 16_000, loud=0.1))[:200]
    texts = [json.dumps({"text": [f"song {n} " * (n % 90)], "tag": ["rock"]}).encode() for n in range(count)]
    audio = [(f"{n:06d}.flac", start, AUDIO_BYTES) for n in range(count)]
    small = [(f"{n:06d}.json", text, len(text)) for n, text in enumerate(texts)]
    pairs = list(zip(audio, small, strict=True))
    members = {
        "together": [member for pair in pairs for member in pair],
        "texts first": [member for pair in pairs for member in reversed(pair)],
        "apart": [*audio, *small],
    }[order]
    needed = 0
    with path.open("wb") as file:
        for name, content, size in members:
            member = tarfile.TarInfo(name if form == tarfile.USTAR_FORMAT else "d" * 120 + name)
            member.size = size
            header = member.tobuf(form)
            place = file.tell() + len(header)
            file.write(header + content)
            file.seek(place + -(-size // 512) * 512)
            needed += len(header) + (size if name.endswith("json") else 0)
        file.truncate(file.tell() + 10_240)
    return str(path), needed


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("order", ["together", "texts first", "apart"])
def test_at_most_1_percent_beyond_headers_and_texts_is_read(order: str, form: int, tmp_path: Path) -> None:
    path, needed = large_tar(tmp_path / "a.tar", order, form)
    with RangedFile(path) as file:
        for number, scanned in enumerate(scan(file)):
            audio = checked_audio(file, scanned)
            assert (audio.name[-11:], audio.size) == (f"{number:06d}.flac", AUDIO_BYTES)
            assert json.loads(scanned.texts["json"])["text"] == [f"song {number} " * (number % 90)]
            assert audio_duration_s(file, audio, scanned.audio_start) == 8.0
        assert number == 39
        assert needed < file.bytes_read < needed + 0.01 * file.size
        if form == tarfile.USTAR_FORMAT:  # pax and GNU headers of long names are several
            assert file.requests < (130 if order == "apart" else 90)


def scanned(path: Path) -> tuple[RangedFile, list[ScannedSample]]:
    file = RangedFile(str(path))
    return file, list(scan(file))


def test_audio_whose_header_states_no_duration_is_decoded(tmp_path: Path) -> None:
    sound = by_ffmpeg(tone(440, 2.0), 16_000, "matroska", "aac")
    write_tar(tmp_path / "a.tar", [("a.mka", sound), ("a.json", b"{}"), ("b.mka", b"noise" * 99), ("b.json", b"{}")])
    file, (good, bad) = scanned(tmp_path / "a.tar")
    assert audio_duration_s(file, checked_audio(file, good), good.audio_start) == pytest.approx(2.0, abs=0.1)
    with pytest.raises(BadRecording, match="undecodable audio"):
        audio_duration_s(file, checked_audio(file, bad), bad.audio_start)
    file.close()


def test_recordings_that_cannot_be_read_by_ranges_are_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_MAX_TEXT_BYTES", 5000)
    path = tmp_path / "a.tar"
    members = [
        ("empty.flac", b""),
        ("large.flac", b"x"),
        ("large.json", b"x" * 5001),
        ("cut.txt", b""),
        ("cut.flac", b"x" * 999),
    ]
    write_tar(path, members)
    with path.open("rb+") as file:
        file.truncate(5 * 512 + 512 + 5120 + 600)  # headers, large.flac, large.json, and a part of cut.flac
    opened, found = scanned(path)
    faults = {}
    for sample in found:
        with pytest.raises(BadRecording) as caught:
            checked_audio(opened, sample)
        faults[sample.sample.key] = str(caught.value)
    assert faults["empty"] == "undecodable audio: the audio file is empty"
    assert faults["large"] == "unreadable metadata: large.json has 5001 bytes"
    assert "truncated shard: cut.flac has " in faults["cut"] and "of 999 bytes" in faults["cut"]
    opened.close()


def test_damage_after_whole_recordings_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, [("a.flac", b"x" * 99), ("a.json", b"{}")])
    content = path.read_bytes()
    for damaged in (content[:2048], content[:2048] + b"what is this" * 100):
        path.write_bytes(damaged)
        found = []
        with RangedFile(str(path)) as file, pytest.raises(BadRecording, match="truncated shard"):
            found.extend(scan(file))
        assert [each.sample.key for each in found] == ["a"]
