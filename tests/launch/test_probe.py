"""Tests the checks of one node, on this machine."""

from pathlib import Path

import pytest
import torch

from mulan.launch import probe
from mulan.launch.probe import NodeRequirements, run_checks, versions
from mulan.storage.errors import StorageError
from mulan.storage.hub import TEXT_ENCODER


def told(**asked: object) -> dict[str, tuple[str | None, bool]]:
    found = run_checks(NodeRequirements(**({"versions": versions()} | asked)))  # type: ignore[arg-type]
    return {what: (fault, permanent) for what, fault, permanent in found}


def test_a_machine_that_has_all(tmp_path: Path, tiny_corpus: str) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    asked = {
        "run_uri": str(tmp_path / "run"),
        "marker_uri": str(mark),
        "corpus_uris": (f"{tiny_corpus}/index.parquet",),
        "weights": (("hub:nobody/nothing", TEXT_ENCODER),),  # to be downloaded when training starts
        "free_bytes": 1,
    }
    with pytest.MonkeyPatch.context() as online:
        online.setattr(probe.huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        found = told(**asked)
    assert list(found) == ["versions", "disk", "corpus", "storage", "text_tower.pretrained"]
    assert {fault for fault, _ in found.values()} == {None}
    assert list(tmp_path.iterdir()) == [mark]


def test_a_machine_that_has_nothing_is_told_it_all_at_once(tmp_path: Path) -> None:
    found = told(
        versions=versions() | {"Ray": "2.99.0"},
        run_uri=str(tmp_path / "run"),
        marker_uri=str(tmp_path / "mark"),
        corpus_uris=(str(tmp_path / "index.parquet"),),
        weights=((str(tmp_path / "bert"), TEXT_ENCODER), ("memory://nowhere/bert", TEXT_ENCODER)),
        free_bytes=10**18,
    )
    assert {what: permanent for what, (_, permanent) in found.items()} == dict.fromkeys(found, True)
    faults = {what: str(fault) for what, (fault, _) in found.items()}
    assert faults["versions"].startswith("the node has Ray ")
    assert "instead of 2.99.0, unlike the job's driver" in faults["versions"]
    assert "torch" not in faults["versions"]
    assert "checkpoints need 1000000000; free space" in faults["disk"]
    assert "index.parquet cannot be read: " in faults["corpus"]
    assert "is not visible; use a --storage that all nodes share" in faults["storage"]
    assert faults["text_tower.pretrained"] == "memory://nowhere/bert is empty or does not exist"


def test_storage_that_may_answer_later_is_no_permanent_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(uri: str) -> None:
        raise StorageError("s3://bucket does not answer")

    (tmp_path / "mark").touch()
    monkeypatch.setattr(probe.filesystem, "check_writable", silent)
    found = told(run_uri="s3://bucket/run", marker_uri=str(tmp_path / "mark"))
    assert found["storage"] == ("s3://bucket does not answer", False)


def test_versions_name_the_source_as_it_is() -> None:
    assert versions()["mulan"].startswith("source ")
    assert versions()["torch"] == torch.__version__.partition("+")[0]


@pytest.mark.processes
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpus_that_ray_counts_and_torch_does_not_see() -> None:
    fault, permanent = told(gpus=2)["GPU"]
    assert str(fault).startswith("Ray counts 2 GPU and torch sees 0; ")
    assert permanent
