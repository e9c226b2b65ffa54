"""Benchmark of retrieval: the time and the memory of a search in blocks, against scikit-learn on the whole matrix."""

import json
from collections.abc import Callable

import numpy as np

from mulan.benchmarks.measure import Figure, in_fresh_process
from mulan.benchmarks.results import Goal, Report, Row
from mulan.benchmarks.retrieval_process import DIM, MAX_RELEVANT, MIN_RELEVANT, RetrievalReading

GOAL_S, GOAL_GIB = 60.0, 2.0
"""Maximum time and memory of 7,000 queries in 100,000 recordings on two cores."""
GOAL_DIFFERENCE = 1e-9
"""Maximum difference of a query's ROC-AUC or average precision from scikit-learn's."""

QUERIES_OF_SCIKIT_LEARN = 50
"""Maximum number of queries that scikit-learn scores."""
SEARCH, SCIKIT_LEARN = "search", "scikit-learn"
_TIMEOUT_S = 3600.0


def bench_retrieval(*, queries: int, recordings: int, rounds: int, progress: Callable[[str], None]) -> Report:
    """Searches with all queries in blocks, and with the first ones by scikit-learn, in turn and in fresh processes.

    Args:
        queries: Number of queries.
        recordings: Number of recordings, of which a query asks for 10 to 100.
        rounds: Number of measurements of each.
        progress: Called with a line of text after each measurement.
    """
    sizes = {SEARCH: queries, SCIKIT_LEARN: min(queries, QUERIES_OF_SCIKIT_LEARN)}
    readings: dict[str, list[RetrievalReading]] = {name: [] for name in sizes}
    for number in range(1, rounds + 1):
        for name, count in sizes.items():
            reading = _read(name, count, recordings)
            readings[name].append(reading)
            progress(
                f"round {number}/{rounds}  {name}: {count} queries in {reading.seconds:.1f} s, "
                f"{reading.cpu_s:.1f} CPU-s, {reading.peak_bytes / 2**30:.2f} GiB"
            )
    rows = [_row(name, sizes[name], taken) for name, taken in readings.items()]
    ours = rows[0].figures
    difference = _difference(readings[SEARCH][0], readings[SCIKIT_LEARN][0])
    goals = [
        Goal("time of all queries, s", ours["time"].median, GOAL_S, at_most=True),
        Goal("peak memory, GiB", ours["peak memory"].high, GOAL_GIB, at_most=True),
        Goal("largest difference from scikit-learn", difference, GOAL_DIFFERENCE, at_most=True),
    ]
    settings = {
        "queries": queries,
        "recordings": recordings,
        "d": DIM,
        "relevant recordings of a query": f"{MIN_RELEVANT} to {MAX_RELEVANT}",
        "queries of scikit-learn": sizes[SCIKIT_LEARN],
    }
    return Report("Retrieval", settings, rows, goals)


def _read(name: str, queries: int, recordings: int) -> RetrievalReading:
    arguments = [name, str(queries), str(recordings)]
    output = in_fresh_process("mulan.benchmarks.retrieval_process", arguments, timeout_s=_TIMEOUT_S)
    return RetrievalReading(**json.loads(output.splitlines()[-1]))


def _row(name: str, queries: int, readings: list[RetrievalReading]) -> Row:
    return Row(
        name,
        {
            "time": Figure(tuple(each.seconds for each in readings), "s"),
            "CPU time": Figure(tuple(each.cpu_s for each in readings), "s"),
            "of a query": Figure(tuple(1000 * each.seconds / queries for each in readings), "ms"),
            "peak memory": Figure(tuple(each.peak_bytes / 2**30 for each in readings), "GiB"),
        },
    )


def _difference(ours: RetrievalReading, theirs: RetrievalReading) -> float:
    """Returns the largest difference of a score of the queries that both have scored."""
    count = len(theirs.roc_auc)
    areas = np.array(ours.roc_auc[:count]) - theirs.roc_auc
    precisions = np.array(ours.average_precision[:count]) - theirs.average_precision
    return float(max(np.abs(areas).max(), np.abs(precisions).max()))
