"""Tests the counts of texts by channel against an exact Counter."""

import pickle
import random
from collections import Counter

from mulan.preparation.texts.channel_texts import MAX_COUNT, ChannelTexts


def test_counts_equal_those_of_a_counter() -> None:
    draws = random.Random(1)
    exact: Counter[tuple[str, str]] = Counter()
    counts = ChannelTexts(4)
    for _ in range(1500):
        channel = f"channel {draws.randrange(30)}"
        texts = [f"Text {int(draws.paretovariate(0.5))}" for _ in range(4)]
        exact.update({(channel, text) for text in texts})
        counts.add(channel, texts)
    assert max(exact.values()) > 20 > min(exact.values())
    assert {key: counts.count(*key) for key in exact} == dict(exact)
    assert counts.count("channel 1", "absent") == 0
    assert counts.count("absent", "text 1") == 0


def test_a_full_sketch_never_counts_too_few() -> None:
    texts = [f"text {number}" for number in range(40_000)]
    counts = ChannelTexts(1)  # 262,144 counters in a row
    for text in texts:
        counts.add("channel", [text])
    found = Counter(counts.count("channel", text) for text in texts)
    assert min(found) == 1
    assert found[1] > 0.999 * found.total()
    assert max(found) <= 2


def test_a_recording_counts_once_and_case_does_not_matter() -> None:
    counts = ChannelTexts(1)
    counts.add("a", ["Night", "NIGHT", "night"])
    counts.add("a", ["nighT", "day"])
    assert [counts.count("a", text) for text in ("night", "Night", "day")] == [2, 2, 1]
    assert counts.count("an", "ight") == 0


def test_counts_end_at_a_maximum() -> None:
    counts = ChannelTexts(1)
    for _ in range(MAX_COUNT + 10):
        counts.add("a", ["x"])
    assert counts.count("a", "x") == MAX_COUNT


def test_counts_can_be_sent_to_other_processes() -> None:
    counts = ChannelTexts(1)
    counts.add("a", ["x"])
    assert pickle.loads(pickle.dumps(counts)).count("a", "x") == 1
