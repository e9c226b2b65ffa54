"""Tests the description of recorded collectives; test_hang_watch.py records some."""

import pickle
import time
from typing import Any

from mulan.instrumentation.flight_recorder import describe_collectives, flight_record


def entry(number: int, **changes: Any) -> dict[str, Any]:
    values = {
        "process_group": ("0", "default_pg"),
        "profiling_name": "nccl:all_reduce",
        "collective_seq_id": number,
        "input_sizes": [[3, 4]],
        "state": "completed",
        "retired": True,
        "time_created_ns": time.time_ns() - 90_000_000_000,
    }
    return values | changes


def test_the_newest_collectives_are_described() -> None:
    entries = [entry(number) for number in range(1, 8)] + [entry(8, state="started", retired=False)]
    lines = describe_collectives(pickle.dumps({"version": "2.10", "entries": entries}))
    assert [line.split()[2] for line in lines] == ["4", "5", "6", "7", "8"]
    assert lines[-2].startswith("nccl:all_reduce number 7 of group 0, sizes [[3, 4]]: completed, begun 90.")
    assert lines[-1].startswith("nccl:all_reduce number 8 of group 0, sizes [[3, 4]]: not completed, begun 90.")


def test_without_a_process_group_nothing_is_recorded() -> None:
    assert describe_collectives(flight_record()) == []
