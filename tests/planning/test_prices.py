"""Tests costs against calculations by hand, and the faults of price tables."""

from pathlib import Path

import pytest
import tomli_w

from mulan.planning.prices import Prices, UnusablePrices, Usage, cost, read_prices

TABLE = {
    "currency": "EUR",
    "source": "a contract",
    "date": "2026-01-31",
    "gpu_hour": 2.0,
    "worker_cpu_hour": 0.5,
    "data_cpu_hour": 0.25,
    "read_requests_per_1000": 0.125,
    "read_per_gib": 4.0,
    "stored_per_gib_month": 7.3,
}
USAGE = Usage(
    gpu_hours=10.0,
    worker_cpu_hours=3.0,
    data_cpu_hours=8.0,
    read_requests=16_000,
    read_bytes=3 * 2**30,
    stored_byte_hours=100 * 2**30,
)


def table(folder: Path, **changes: object) -> str:
    path = folder / "prices.toml"
    path.write_text(tomli_w.dumps({key: value for key, value in (TABLE | changes).items() if value is not None}))
    return str(path)


def test_costs_by_hand(tmp_path: Path) -> None:
    assert cost(USAGE, read_prices(table(tmp_path))) == pytest.approx(
        {
            "GPUs": 20.0,
            "CPUs of workers": 1.5,
            "CPUs for data": 2.0,
            "requests": 2.0,
            "bytes read": 12.0,
            "checkpoints stored": 1.0,
            "total": 38.5,
        }
    )


def test_the_default_is_marked_as_examples_with_a_date() -> None:
    prices = read_prices(None)
    assert "examples" in prices.source and "--prices" in prices.source
    assert prices.date.year >= 2026
    assert sum(cost(USAGE, prices).values()) > 0


def test_every_entry_of_the_default_has_a_comment_with_its_unit() -> None:
    lines = Path("mulan/planning/prices.toml").read_text(encoding="utf-8").splitlines()
    entries = {line.partition(" = ")[0]: line for line in lines if " = " in line and not line.startswith("#")}
    assert entries.keys() == Prices.model_fields.keys()
    assert [name for name, line in entries.items() if name not in ("currency", "source") and "#" not in line] == []


def test_all_faults_of_a_table_are_listed(tmp_path: Path) -> None:
    with pytest.raises(UnusablePrices) as refused:
        read_prices(table(tmp_path, gpu_hour=-1.0, gpu_hours=3.0, data_cpu_hour=None, date="yesterday"))
    for name in ("prices.toml", "gpu_hour", "gpu_hours", "data_cpu_hour", "date"):
        assert name in str(refused.value)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusablePrices, match=r"--prices .*nowhere.toml"):
        read_prices(str(tmp_path / "nowhere.toml"))
    path = tmp_path / "prices.toml"
    for content in (b"gpu_hour 2", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(UnusablePrices, match="is not TOML"):
            read_prices(str(path))
