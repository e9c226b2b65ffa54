"""Tests the evaluation of several encoders by several tasks, with Ray."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulan import MuLan
from mulan.config.errors import MulanError
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.evaluation import evaluate
from mulan.evaluation.finetuning.training import EndToEndSettings
from mulan.evaluation.metrics.tagging import tagging_scores
from mulan.evaluation.options import EvaluationOptions
from mulan.evaluation.recordings import multi_hot
from mulan.evaluation.report.assembly import report_evaluation
from mulan.evaluation.report.summary import LeftOut
from mulan.evaluation.tasks.request import task_requests
from mulan.recipes.miniature import MINILM
from tests.evaluation.tasks.planted_tasks import ontology_file

WORDS = ["tags", "captions", "playlists", "triplets"]


@pytest.mark.usefixtures("ray_cluster")
def test_encoders_are_evaluated_by_what_they_can_do_and_recordings_are_embedded_once(
    model_uri: str, stored_uri: str, tiny_corpus: str, tmp_path: Path
) -> None:
    specs = {"small": model_uri, "stored": f"parquet={stored_uri}"}
    requests = task_requests(WORDS, default_corpus=tiny_corpus)
    options = EvaluationOptions(str(tmp_path), finetune=EndToEndSettings((1e-3,), min_batches=1, max_epochs=1))
    evaluation = evaluate(specs, requests, options, baselines={"log_mel": "log_mel"})
    found = {(name, each.section, each.name): each for name, sets in evaluation.scores.items() for each in sets}
    assert {section for name, section, _ in found if name == "small"} == {
        *("zero_shot", "probes", "retrieval.captions", "retrieval.playlists", "triplets"),
    }
    assert {section for name, section, _ in found if name != "small"} == {"probes"}
    assert found["stored", "probes", "pitch"].scores["roc_auc"] == 1

    model = MuLan.from_pretrained(model_uri, device="cpu")
    audio = evaluation.audio["tags"].scored
    tags = sorted({tag for each in audio.recordings for tag in each.tags if tag.startswith("pitch:")})
    prompts = model.embed_text([tag.partition(":")[2] for tag in tags])
    expected = tagging_scores(audio.means @ prompts.T, multi_hot(audio.recordings, tags), tags)
    assert found["small", "zero_shot", "pitch"].scores["roc_auc"] == pytest.approx(expected.roc_auc, abs=1e-9)
    assert evaluation.tasks[0].left_out == (
        LeftOut("stored", "zero shot tagging", "it embeds no text in the space of its audio"),
        LeftOut(
            "fine-tuned stored",
            "tagging probe",
            "a model of kind parquet cannot be fine-tuned, only one that mulan exported",
        ),
    )
    counts = evaluation.tasks[0].recordings
    assert counts == dict.fromkeys(("small", "stored", "log_mel"), counts["small"])
    assert evaluation.audio["tags"].model == "small"
    assert {each.split for each in audio.recordings} == {"test"}
    trained = ("fine-tuned small", "small from scratch")
    assert tuple(each.name for each in evaluation.models) == (*specs, "log_mel", *trained)
    for name in trained:
        assert found[name, "probes", "pitch"].counts == found["small", "probes", "pitch"].counts

    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.parquet")}
    assert {path.parent.name for path in files} == {"embeddings", "predictions"}
    again = evaluate(specs, requests, options, baselines={"log_mel": "log_mel"})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.parquet")} == files
    first, second = (report_evaluation(each, str(tmp_path)).summary for each in (evaluation, again))
    timeless = [json.dumps({**each, "seconds": {}}) for each in (first, second)]
    assert timeless[0] == timeless[1]
    fresh = evaluate(
        {"small": model_uri},
        task_requests(["tags"], default_corpus=tiny_corpus),
        EvaluationOptions(f"{tmp_path}/fresh"),
    )
    vectors = [each.audio["tags"].scored.vectors for each in (fresh, evaluation)]
    np.testing.assert_array_equal(*vectors)
    assert {"zero_shot", "probes"} == {each.section for each in fresh.scores["small"]}
    for each in fresh.scores["small"]:
        before = found["small", each.section, each.name]
        assert each.scores == before.scores
        assert {name: draws.tobytes() for name, draws in each.draws.items()} == {
            name: draws.tobytes() for name, draws in before.draws.items()
        }
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["others"]["stored"]["probes"]["pitch"]["roc_auc"] == 1
    assert "report.json" in {path.name for path in tmp_path.iterdir()}
    assert "data:audio/mpeg" in (tmp_path / "report.html").read_text()


def test_text_encoders_are_evaluated_and_reported_without_ray(model_uri: str, tmp_path: Path) -> None:
    specs = {"joint": model_uri, "text": f"text={MINILM}", "cls": f"text-cls={MINILM}"}
    requests = task_requests([f"ontology={ontology_file(tmp_path)}"])
    evaluation = evaluate(specs, requests, EvaluationOptions(str(tmp_path)))
    report_evaluation(evaluation, str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    scores = [report["triplets"], *(report["others"][name]["triplets"] for name in ("text", "cls"))]
    assert len({each["audioset_ontology"]["accuracy"] for each in scores}) > 1
    assert "audioset_ontology" in (tmp_path / "report.html").read_text().replace("<wbr>", "")
    assert evaluation.audio == {}


def test_what_cannot_be_evaluated_is_left_out_with_its_reasons_and_the_rest_is_reported(
    stored_uri: str, tiny_corpus: str, tmp_path: Path
) -> None:
    requests = task_requests(["tags", "captions", "gtzan"], default_corpus=tiny_corpus)
    specs, options = {"log_mel": f"parquet={stored_uri}"}, EvaluationOptions(str(tmp_path))
    evaluation = evaluate(specs, requests, options, baselines={"log_mel": f"parquet={Path(stored_uri).parent}"})
    # a baseline does not take the place of a model of its name
    assert [each.name for each in evaluation.models] == ["log_mel", "log_mel 2"]
    assert [(each.section, each.name) for each in evaluation.scores["log_mel"]] == [
        ("probes", "genre"),
        ("probes", "pitch"),
    ]
    tags, captions, gtzan = (each.left_out for each in evaluation.tasks)
    no_text = "it embeds no text in the space of its audio"
    assert tags == (LeftOut("log_mel", "zero shot tagging", no_text),)
    assert captions == (LeftOut("log_mel", "caption retrieval long_form, caption retrieval short_form", no_text),)
    assert [(entry.model, entry.what) for entry in gtzan] == [
        ("log_mel", "zero shot classification gtzan"),
        ("log_mel", "classification probe gtzan"),
        ("log_mel 2", "classification probe gtzan"),
    ]
    assert "no recording has a tag of gtzan" in gtzan[1].reason
    with pytest.raises(MulanError, match="there is no such file"):
        evaluate({**specs, "second": "parquet=/nowhere.parquet"}, requests, options)


def test_sets_of_one_name_are_an_error_that_names_their_tasks(
    stored_uri: str, tiny_corpus: str, tmp_path: Path
) -> None:
    (request,) = task_requests(["tags"], default_corpus=tiny_corpus)
    twice = [request, replace(request, task=replace(request.task, name="again"))]
    specs, options = {"stored": f"parquet={stored_uri}"}, EvaluationOptions(str(tmp_path))
    with pytest.raises(EvaluationError, match=r"the tasks tags and again both have the set probes\.genre"):
        evaluate(specs, twice, options)
    doubled = replace(request, task=replace(request.task, protocols=request.task.protocols * 2))
    with pytest.raises(EvaluationError, match=r"tags has two of the set probes\.genre"):
        evaluate(specs, [doubled], options)


def test_nothing_to_evaluate_is_an_error_with_its_reasons(stored_uri: str, tiny_corpus: str, tmp_path: Path) -> None:
    assert open_encoder(f"parquet={stored_uri}").info.embeds_text is False
    requests = task_requests(["captions"], default_corpus=tiny_corpus)
    with pytest.raises(
        EvaluationError, match=r"task captions on .*: nothing can be evaluated: stored: it embeds no text"
    ):
        evaluate({"stored": f"parquet={stored_uri}"}, requests, EvaluationOptions(str(tmp_path)))
