"""Short forms of `make chaos`: runs that are struck, and one that is left alone."""

from pathlib import Path

import pytest

from mulan.training.run import Run, read_lines
from tests.chaos.scenarios import assert_nothing_lost, disturbed, machine_taken_and_given_back, two_nodes, undisturbed
from tests.chaos.strikes import Strike

pytestmark = pytest.mark.timeout(1500)

STEPS = 40
STRIKES = [
    Strike("data worker", after_step=3),
    Strike("training worker", after_step=8, during_checkpoint=True),
    Strike("driver", after_step=21),
]


def test_a_struck_run_is_the_run_that_was_left_alone(tiny_corpus: str, tmp_path: Path) -> None:
    twin, run = Run(str(tmp_path), "undisturbed"), Run(str(tmp_path), "disturbed")
    with two_nodes() as nodes:
        grown = undisturbed(nodes, tiny_corpus, twin, STEPS)
        costs = disturbed(nodes, tiny_corpus, run, STRIKES, steps=STEPS, seed=0)
    assert_nothing_lost(run, twin)
    assert [each for each in grown if not each.within] == []
    assert {each.held.partition(":")[0] for each in grown} >= {"training worker 0", "training worker 1", "driver"}
    assert [cost.noticed_s is None for cost in costs] == [True, False, False]  # a data worker stops nobody
    assert len(read_lines(run.failures_uri)) == 1  # a driver that is gone tells nothing


def test_a_machine_that_is_taken_and_given_back_changes_no_result(tiny_corpus: str, tmp_path: Path) -> None:
    machine_taken_and_given_back(tiny_corpus, Run(str(tmp_path), "elastic"), tmp_path, steps=STEPS)
