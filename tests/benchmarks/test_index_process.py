"""Tests what is measured of an index, and that an order with a pattern would be noticed."""

from pathlib import Path

import numpy as np
import pytest

from mulan.benchmarks import index_process
from mulan.benchmarks.index_process import open_and_plan, order, write


def test_an_index_is_written_and_opened(tmp_path: Path) -> None:
    written = write(str(tmp_path), 200_000)
    assert written["write_s"] > 0 and written["write_private_mib"] > 1
    opened = open_and_plan(str(tmp_path), 200_000)
    # ids, numbers and codes of a row take more than 60 bytes, and the rows of four sources less than 16
    assert 200_000 * 60 < opened["shared_mib"] * 2**20 < 200_000 * 100
    assert opened["first_batch_s"] > 0 and opened["private_mib"] > 1


def test_the_order_of_an_epoch_shows_no_structure() -> None:
    found = order("", 300_000)
    assert found["missing"] == 0
    assert abs(found["chi_squared_z"]) < 4 and abs(found["serial_correlation_z"]) < 4


@pytest.mark.parametrize(
    ("pattern", "noticed"),
    [
        (lambda positions: positions, ("chi_squared_z", "serial_correlation_z")),
        (lambda positions: positions[::-1], ("chi_squared_z", "serial_correlation_z")),
        (lambda positions: (positions * 7919) % 100_000, ("serial_correlation_z",)),
    ],
)
def test_a_pattern_is_noticed(pattern: object, noticed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_process, "Permutation", lambda *_, **__: pattern)
    found = order("", 100_000)
    assert found["missing"] == 0
    assert all(abs(found[name]) > 10 for name in noticed)


def test_the_correlation_equals_that_of_numpy() -> None:
    values = index_process.Permutation(5000, seed=0, purpose="train short_form", key=(0,))(np.arange(5000))
    expected = np.corrcoef(values[:-1], values[1:])[0, 1] * np.sqrt(4999)
    assert order("", 5000)["serial_correlation_z"] == pytest.approx(expected, abs=0.01)
