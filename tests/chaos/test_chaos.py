"""Tests short forms of ``make chaos``: disturbed runs against an undisturbed one."""

from collections.abc import Iterator

import pytest

from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines
from tests.chaos.scenarios import (
    Size,
    assert_nothing_lost,
    disturbed,
    node_preempted_and_added,
    two_nodes,
    undisturbed,
)
from tests.chaos.strikes import Strike
from tests.nodes import Cluster

pytestmark = [pytest.mark.processes, pytest.mark.long(group="chaos"), pytest.mark.timeout(1500)]

SHORT = Size(steps=60, pairs_per_micro_batch=16, window_s=10)
STRIKES = [
    Strike("data worker", after_step=0),  # the data of all steps may be ready before the first one ends
    Strike("training worker", after_step=8, during_checkpoint=True),
    Strike("driver", after_step=21),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def twin(nodes: Cluster, tiny_corpus: str, runs: str) -> Run:
    """Returns the undisturbed run."""
    run = Run(runs, "undisturbed")
    growth = undisturbed(nodes, tiny_corpus, run, SHORT)
    assert [each for each in growth if not each.within] == []
    assert {each.held.partition(":")[0] for each in growth} >= {"training worker 0", "training worker 1", "driver 0"}
    return run


def test_a_disturbed_run_equals_the_undisturbed_one(nodes: Cluster, twin: Run, tiny_corpus: str, runs: str) -> None:
    run = Run(runs, "disturbed")
    costs = list(disturbed(nodes, tiny_corpus, run, SHORT, STRIKES, seed=0))
    assert_nothing_lost(run, twin)
    assert [cost.detected_s is None for cost in costs] == [
        True,
        False,
        False,
    ]  # the loss of a data worker stops no training process
    (failure,) = read_lines(run.failures_uri)  # a killed driver records nothing
    assert "ActorDiedError: The actor is dead because its worker process has died" in failure["event"]


def test_a_preempted_and_an_added_node_change_no_result(nodes: Cluster, twin: Run, tiny_corpus: str, runs: str) -> None:
    run = Run(runs, "elastic")
    for _ in node_preempted_and_added(nodes, tiny_corpus, run, SHORT):
        pass
    assert_nothing_lost(run, twin)
