"""Tests texts and calls of sources that block."""

import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from mulan.submission.errors import ClusterUnreachable
from mulan.submission.streams import TextStream, within


def test_texts_arrive_in_their_order_and_then_the_end() -> None:
    stream = TextStream(lambda put: [put(text) for text in "abc"] and None)
    texts = []
    while not stream.ended:
        texts.append(stream.read(30))
    assert "".join(texts) == "abc"
    assert stream.error is None
    assert stream.read(0) == ""


def test_a_silent_source_does_not_block_its_reader() -> None:
    release = threading.Event()
    stream = TextStream(lambda put: release.wait() and None)
    assert stream.read(0.01) == ""
    assert not stream.ended
    release.set()
    stream.read(30)
    assert stream.ended


def test_a_closed_stream_ends_its_source() -> None:
    release, ended = threading.Event(), threading.Event()

    def produce(put: Callable[[str], None]) -> None:
        try:
            put("a")
            release.wait()
            put("b")
        finally:
            ended.set()

    with closing(TextStream(produce)) as stream:
        assert stream.read(30) == "a"
    release.set()
    assert ended.wait(30)
    assert (stream.ended, stream.read(0)) == (True, "")


def test_what_ends_a_source_is_kept() -> None:
    def fail(put: object) -> None:
        raise ValueError("broken")

    stream = TextStream(fail)
    stream.read(30)
    assert stream.ended
    assert str(stream.error) == "broken"


def test_a_call_returns_or_raises_within_its_time() -> None:
    assert within(30, lambda: 7, what="it") == 7
    with pytest.raises(ZeroDivisionError):
        within(30, lambda: 1 // 0, what="it")
    release = threading.Event()
    with pytest.raises(ClusterUnreachable, match=r"head did not answer within 0\.01 s"):
        within(0.01, release.wait, what="head")
    release.set()
