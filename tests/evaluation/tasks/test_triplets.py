from pathlib import Path

import pytest

from mulan.config.errors import MulanError
from mulan.evaluation.protocols.protocol import Evaluated
from mulan.evaluation.tasks.triplets import ontology_task
from tests.evaluation.tasks.planted_tasks import ConstantTexts, ontology_file


def test_the_task_of_the_ontology_reads_its_file(tmp_path: Path) -> None:
    task = ontology_task(ontology_file(tmp_path))
    encoder = ConstantTexts(["unused"])
    (scores,) = (each for protocol in task.protocols for each in protocol.evaluate(Evaluated(encoder, None)))
    assert (scores.name, scores.counts["triplets"], scores.scores["accuracy"]) == ("audioset_ontology", 141 * 5, 0.5)


def test_a_file_that_cannot_be_read_is_an_error_before_anything_is_evaluated(tmp_path: Path) -> None:
    with pytest.raises(MulanError, match=str(tmp_path / "missing.json")):
        ontology_task(str(tmp_path / "missing.json"))
