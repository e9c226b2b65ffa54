import pickle

import pytest

from mulan.data.errors import BadRecording, DecodeError


@pytest.mark.parametrize("kind", [BadRecording, DecodeError])
def test_reason_and_detail_survive_pickling(kind: type[BadRecording]) -> None:
    error = pickle.loads(pickle.dumps(kind("no samples", "a file")))
    assert type(error) is kind
    assert (error.reason, error.detail, str(error)) == ("no samples", "a file", "no samples: a file")


def test_a_detail_is_one_line_of_bounded_length_and_valid_unicode() -> None:
    error = BadRecording("missing shard", "shards/\n\udce9\ud83c.tar \0" + "x" * 100_000)
    assert str(error).encode().startswith(b"missing shard: shards/ \\udce9\\ud83c.tar ")
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def test_a_detail_cannot_turn_the_text_that_follows_around() -> None:
    assert str(BadRecording("unreadable", "song\u202e3pm.exe")) == "unreadable: song\\u202e3pm.exe"
