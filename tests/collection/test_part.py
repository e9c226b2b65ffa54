"""Numbers that do not fit the type of a part are refused before they are written."""

from typing import Any

import numpy as np
import pytest

from mulan.collection.part import EmbeddingsError, part_schema, part_table

DIM = 4


def columns(count: int) -> dict[str, Any]:
    return {
        "recording_id": [f"r{number}" for number in range(count)],
        "uri": ["/a.wav"] * count,
        "offset": [0] * count,
        "length": [100] * count,
        "extension": ["wav"] * count,
        "start_s": [0.0] * count,
        "duration_s": [1.5] * count,
        "title": [""] * count,
        "artist": [""] * count,
        "tags": [[]] * count,
        "waveform": [bytes(200)] * count,
        "embedding": np.zeros((count, DIM), np.float32),
        "windows": [np.zeros((2, DIM), np.float32)] * count,
        "window_starts_s": [[0.0, 0.5]] * count,
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_numbers_that_do_not_fit_are_not_written(value: float) -> None:
    part = columns(3)
    part["windows"][1] = np.full((2, DIM), value, np.float32)
    with pytest.raises(EmbeddingsError, match="not finite as halffloat"):
        part_table(part, part_schema(DIM, "float16", windows=True))
    assert part_table(part, part_schema(DIM, "float16", windows=False)).num_rows == 3
