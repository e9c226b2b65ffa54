"""Tests that spooled recordings are those that were added, whenever they are read."""

import pytest

from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.spool import RecordingSpool


def recording(number: int) -> FoundRecording:
    texts = {"short_form": [f"ünïcode {number}"] * (number % 3)}
    return FoundRecording(recording_id=f"r{number}", audio=AudioLocation(uri=f"/{number}.mp3"), texts=texts)


def test_recordings_are_read_as_often_as_wanted() -> None:
    with RecordingSpool() as spool:
        added = [(number % 2, recording(number)) for number in range(5000)]
        for source, each in added:
            spool.add(source, each)
        assert list(spool) == added
        assert next(iter(spool)) == added[0]
        assert list(spool) == added


def test_an_empty_spool_has_no_recordings() -> None:
    with RecordingSpool() as spool:
        assert list(spool) == []
        with pytest.raises(AssertionError):
            spool.add(0, recording(0))
