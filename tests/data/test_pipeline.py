"""How Ray Data is run: in what executions."""

from mulan.data.pipeline import MAX_SEGMENT_GROUPS, SEGMENT_GROUPS, segments


def test_a_run_begins_in_a_short_execution_and_goes_on_in_longer_ones() -> None:
    found = segments(10**6)
    assert [number for segment in found for number in segment] == list(range(10**6))
    lengths = [len(segment) for segment in found]
    assert lengths[:4] == [SEGMENT_GROUPS, 2 * SEGMENT_GROUPS, 4 * SEGMENT_GROUPS, 8 * SEGMENT_GROUPS]
    assert max(lengths) == MAX_SEGMENT_GROUPS
    assert set(lengths[6:-1]) == {MAX_SEGMENT_GROUPS}
    assert segments(0) == []
