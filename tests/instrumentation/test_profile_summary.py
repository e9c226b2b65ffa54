"""Tests the summary of a profile over workers."""

import json

import pytest

from mulan.instrumentation.profile_summary import MAX_WORKERS, OPERATORS, ProfileSummary, RankProfile
from mulan.instrumentation.trace import OperatorTime, StepTimes, WorkerProfile


def worker(rank: int, *, collectives: float = 0.5) -> RankProfile:
    """Returns a worker with two steps of 2 s on average."""
    steps = [
        StepTimes(step, total, compute=1.0, collectives=collectives, data=0.25, host=total - 1.25 - collectives)
        for step, total in ((4, 1.9), (5, 2.1))
    ]
    operators = {f"aten::op{number}": OperatorTime(0.1 * number, calls=number) for number in range(1, 13)}
    return RankProfile(rank, f"host-{rank}", WorkerProfile(steps, operators))


def test_times_are_averaged_over_steps_and_workers() -> None:
    summary = ProfileSummary([worker(0, collectives=0.1), worker(1, collectives=0.5)], device="cpu")
    assert summary.mean is not None
    assert (summary.mean.total, summary.mean.collectives) == (pytest.approx(2.0), pytest.approx(0.3))
    assert [one.name for one in summary.operators] == [f"aten::op{number}" for number in range(12, 2, -1)]
    assert len(summary.operators) == OPERATORS
    first = summary.operators[0]
    assert (first.seconds, first.share, first.calls) == (pytest.approx(0.6), pytest.approx(0.3), 6.0)
    assert summary.line() == "2 s a step: compute 50%, collectives 15%, data 12%, host 22%; most in aten::op12"


def test_the_table_lists_workers_and_operators() -> None:
    lines = ProfileSummary([worker(0), worker(1)], device="cpu").table().splitlines()
    assert lines[0].split() == ["worker", "s", "a", "step", "compute", "collectives", "data", "host", "host", "name"]
    assert lines[2].split() == ["1", "2.000", "50.0%", "25.0%", "12.5%", "12.5%", "host-1"]
    assert lines[3].split() == ["mean", "2.000", "50.0%", "25.0%", "12.5%", "12.5%"]
    assert lines[6].split() == ["aten::op12", "6.0", "600.00", "30.0%"]
    assert max(map(len, lines)) <= 100


def test_of_many_workers_those_that_the_others_wait_for_are_shown() -> None:
    workers = [worker(rank, collectives=0.1 if rank == 40 else 0.3 + rank / 1000) for rank in range(64)]
    table = ProfileSummary(workers, device="cuda").table()
    shown = [line.split()[0] for line in table.splitlines()[1 : 1 + MAX_WORKERS]]
    assert shown == [*map(str, range(MAX_WORKERS - 1)), "40"]
    assert "(48 workers not shown)" in table
    assert len(ProfileSummary(workers, device="cuda").to_json()["workers"]) == 64


def test_a_worker_without_a_trace_is_named() -> None:
    failed = RankProfile(1, "host-1", None, "its trace cannot be read: no space")
    summary = ProfileSummary([worker(0), failed], device="cpu")
    assert "1       its trace cannot be read: no space  host-1" in summary.table().splitlines()
    content = json.loads(json.dumps(summary.to_json()))
    assert content["workers"][1] == {
        "rank": 1,
        "host": "host-1",
        "steps": [],
        "failure": "its trace cannot be read: no space",
    }
    assert content["steps"] == [4, 5]
    nothing = ProfileSummary([failed], device="cpu")
    assert (nothing.line(), nothing.to_json()["mean_step"]) == ("no step was profiled", None)


def test_names_of_operators_cannot_change_the_table() -> None:
    steps = [StepTimes(1, 1.0, 1.0, 0.0, 0.0, 0.0)]
    operators = {"void kernel<" + "float, " * 30 + ">": OperatorTime(0.5, 1), "a\x1b[31m\nb": OperatorTime(0.25, 1)}
    table = ProfileSummary([RankProfile(0, "host", WorkerProfile(steps, operators))], device="cuda").table()
    assert "\x1b" not in table and "a?[31m?b" in table
    assert max(map(len, table.splitlines())) <= 100
