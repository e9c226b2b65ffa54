"""Tests the division of a run into executions of Ray Data."""

from mulan.data.pipeline import MAX_SEGMENT_GROUPS, SEGMENT_GROUPS, segments


def test_the_first_execution_is_short_and_later_ones_are_longer() -> None:
    executions = segments(10**6)
    assert [number for segment in executions for number in segment] == list(range(10**6))
    lengths = [len(segment) for segment in executions]
    assert lengths[:4] == [SEGMENT_GROUPS, 2 * SEGMENT_GROUPS, 4 * SEGMENT_GROUPS, 8 * SEGMENT_GROUPS]
    assert max(lengths) == MAX_SEGMENT_GROUPS
    assert set(lengths[6:-1]) == {MAX_SEGMENT_GROUPS}
    assert segments(0) == []
