"""The overview of an index is read back, and a damaged one is named."""

from pathlib import Path

import pytest

from mulan.search.errors import UnusableIndex
from mulan.search.overview import OVERVIEW_NAME, MapPoint, Overview, TagCount

OVERVIEW = Overview(
    recordings=2,
    tags=(TagCount(tag="genre:rock", recordings=1),),
    examples=("rock",),
    map_category="genre",
    map_points=(MapPoint(recording_id="a", title="A", x=0.5, y=1.0, group="rock"),),
)


def test_an_overview_is_read_as_it_was_written(tmp_path: Path) -> None:
    OVERVIEW.write(str(tmp_path))
    assert Overview.read(str(tmp_path)) == OVERVIEW


@pytest.mark.parametrize("content", [None, "", "[]", '{"recordings": -1}', '{"map_points": [{"x": 2}]}'])
def test_a_missing_or_damaged_overview_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / OVERVIEW_NAME).write_text(content)
    with pytest.raises(UnusableIndex, match=r"overview\.json is missing or damaged; repeat jobs\.index"):
        Overview.read(str(tmp_path))
