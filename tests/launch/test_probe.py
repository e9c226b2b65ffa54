"""Tests the checks of one node, on this machine."""

import re
from pathlib import Path

import pytest
import torch

from mulan.launch import probe
from mulan.launch.probe import NodeRequirements, run_checks, versions
from mulan.storage.errors import StorageError
from mulan.storage.hub import TEXT_ENCODER


def results_of(**requirements: object) -> dict[str, tuple[str | None, bool]]:
    results = run_checks(NodeRequirements(**({"versions": versions()} | requirements)))  # type: ignore[arg-type]
    return {name: (problem, permanent) for name, problem, permanent in results}


def test_a_node_that_meets_all_requirements(tmp_path: Path, tiny_corpus: str) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    requirements = {
        "run_uri": str(tmp_path / "run"),
        "marker_uri": str(marker),
        "corpus_uris": (f"{tiny_corpus}/index.parquet",),
        "weights": (("hub:nobody/nothing", TEXT_ENCODER),),  # to be downloaded when training starts
        "free_bytes": 1,
    }
    with pytest.MonkeyPatch.context() as online:
        online.setattr(probe.huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        results = results_of(**requirements)
    assert list(results) == ["versions", "disk", "corpus", "storage", "text_tower.pretrained"]
    assert {problem for problem, _ in results.values()} == {None}
    assert list(tmp_path.iterdir()) == [marker]


def test_a_node_that_meets_no_requirement_reports_all_problems(tmp_path: Path) -> None:
    results = results_of(
        versions=versions() | {"Ray": "2.99.0"},
        run_uri=str(tmp_path / "run"),
        marker_uri=str(tmp_path / "marker"),
        corpus_uris=(str(tmp_path / "index.parquet"),),
        weights=((str(tmp_path / "bert"), TEXT_ENCODER), ("memory://nowhere/bert", TEXT_ENCODER)),
        free_bytes=10**18,
    )
    assert {name: permanent for name, (_, permanent) in results.items()} == dict.fromkeys(results, True)
    problems = {name: str(problem) for name, (problem, _) in results.items()}
    assert problems["versions"].startswith("the node has Ray ")
    assert "instead of 2.99.0, unlike the job's driver" in problems["versions"]
    assert "torch" not in problems["versions"]
    assert "checkpoints need 1000000000; free space" in problems["disk"]
    assert "index.parquet cannot be read: " in problems["corpus"]
    assert "is not visible; use a --storage that all nodes share" in problems["storage"]
    assert problems["text_tower.pretrained"] == "memory://nowhere/bert is empty or does not exist"


def test_storage_that_does_not_answer_is_a_temporary_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(uri: str) -> None:
        raise StorageError("s3://bucket does not answer")

    (tmp_path / "marker").touch()
    monkeypatch.setattr(probe.filesystem, "check_writable", silent)
    results = results_of(run_uri="s3://bucket/run", marker_uri=str(tmp_path / "marker"))
    assert results["storage"] == ("s3://bucket does not answer", False)


def test_versions_contain_a_checksum_of_the_source() -> None:
    assert versions()["mulan"].startswith("source ")
    assert versions()["torch"] == torch.__version__.partition("+")[0]


@pytest.mark.processes
def test_gpus_that_torch_does_not_see_are_a_problem() -> None:
    problem, permanent = results_of(gpus=999)["GPU"]
    assert re.match(r"Ray counts 999 GPU and torch sees \d+; ", str(problem))
    assert permanent
