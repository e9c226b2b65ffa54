"""Tests what is found in a folder of runs: single runs, groups, damaged and foreign folders."""

import time
from pathlib import Path

import pytest

from mulan.monitoring.run_list import ABLATION, SWEEP, NoStorage, OtherFolder, RunGroup, find, list_runs
from mulan.monitoring.status import RunState, RunStatus
from mulan.runs.run import RunError
from mulan.storage import filesystem
from tests.conftest import S3
from tests.monitoring.planted import STEPS, append, lease, planted
from tests.s3_proxy import FaultyS3


def write_all(storage_uri: str) -> None:
    """Writes a single run, a damaged one, a sweep of three trials, an ablation, and folders that are no runs."""
    done = planted(storage_uri, "alone", steps=STEPS, saved=[STEPS])
    lease(done, released=True)
    filesystem.write_atomically(planted(storage_uri, "broken").recipe_uri, b"[")
    sweep = planted(storage_uri, "sweep")
    lease(sweep)
    for number in range(2):
        trial = planted(f"{sweep.uri}/trials", f"trial_{number:04d}", steps=5 * (number + 1), saved=[5 * (number + 1)])
        lease(trial, released=True)
        filesystem.write_atomically(f"{trial.uri}/over.json", b"{}")
    begun = planted(f"{sweep.uri}/trials", "trial_0002", steps=3)
    lease(begun, since=time.time() - 10)
    append(begun.events_uri, [{"time": time.time(), "event": "1 workers continue"}])
    planted(f"{storage_uri}/ablation", "aset")
    planted(f"{storage_uri}/ablation", "aset_sf")
    filesystem.write_atomically(f"{storage_uri}/ablation/report/report.json", b"{}")
    filesystem.write_atomically(f"{storage_uri}/corpus/index.parquet", b"PAR1")
    filesystem.write_atomically(f"{storage_uri}/a file", b"")
    filesystem.write_atomically(f"{storage_uri}/odd\x1bname/recipe.toml", b"")


def check_all(storage_uri: str) -> None:
    found = {each.name: each for each in list_runs(storage_uri)}
    assert list(found) == sorted(found)
    assert found.keys() == {"ablation", "alone", "broken", "corpus", r"odd\x1bname", "sweep"}
    alone, broken, sweep, ablation = (found[name] for name in ("alone", "broken", "sweep", "ablation"))
    assert isinstance(alone, RunStatus) and alone.state is RunState.FINISHED and alone.step == STEPS
    assert isinstance(broken, RunStatus) and broken.state is RunState.DAMAGED
    assert isinstance(sweep, RunGroup) and sweep.kind == SWEEP and sweep.is_driven
    assert sweep.counts == {"ended by its sweep": 2, "running": 1}
    assert sweep.best is not None and sweep.best.name == "sweep/trial_0001" and sweep.best.best_score == 0.2
    assert isinstance(ablation, RunGroup) and ablation.kind == ABLATION and not ablation.is_driven
    assert [each.name for each in ablation.runs] == ["ablation/aset", "ablation/aset_sf"]
    assert found["corpus"] == OtherFolder("corpus", "no recipe.toml")
    assert isinstance(found[r"odd\x1bname"], OtherFolder)


@pytest.mark.parametrize(
    "name", ["checkpoint_000000005/manifest.json", "lease/000000001.json", "lease/000000001.stop.json", "metrics.jsonl"]
)
def test_no_content_of_a_file_hides_the_other_runs(tmp_path: Path, name: str) -> None:
    planted(str(tmp_path), "good", steps=3)
    odd = planted(str(tmp_path), "odd", steps=3, saved=[5])
    lease(odd)
    filesystem.write_atomically(f"{odd.uri}/{name}", b"[" * 30_000 + b"\n")
    assert [each.name for each in list_runs(str(tmp_path))] == ["good", "odd"]


def test_a_folder_that_is_missing_on_this_machine_is_told_from_an_empty_one(tmp_path: Path) -> None:
    assert list_runs(str(tmp_path)) == [] == list_runs(f"memory://nothing-{tmp_path.name}")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, fault in (
        ("a\nnowhere", r"a\\nnowhere does not exist"),
        ("file", "file is no folder"),
        ("link", "link is"),
    ):
        for read in (list_runs, lambda uri: find(uri, "run")):
            with pytest.raises(NoStorage, match=rf"--storage /.*/{fault}.*; give the folder") as error:
                read(f"{tmp_path}/{name}")
            assert error.value.exit_code == 2


def test_everything_in_a_folder_is_listed(storage_uri: str) -> None:
    write_all(storage_uri)
    check_all(storage_uri)


def test_runs_of_groups_are_found_by_their_names(storage_uri: str) -> None:
    write_all(storage_uri)
    assert isinstance(find(storage_uri, "alone"), RunStatus)
    assert isinstance(find(storage_uri, "broken"), RunStatus)
    assert isinstance(find(storage_uri, "sweep"), RunGroup)
    trial, variant = find(storage_uri, "sweep/trial_0001"), find(storage_uri, "ablation/aset_sf")
    assert isinstance(trial, RunStatus) and (trial.name, trial.step) == ("sweep/trial_0001", 10)
    assert trial.run.metrics_uri == f"{storage_uri}/sweep/trials/trial_0001/metrics.jsonl"
    assert isinstance(variant, RunStatus) and variant.state is RunState.NEVER_STARTED


@pytest.mark.parametrize(
    "name", ["none", "corpus", "alone/x", "sweep/none", "sweep/../alone", "ablation/report", "../x", "", "/"]
)
def test_no_other_folder_is_found(tmp_path: Path, name: str) -> None:
    write_all(str(tmp_path / "runs"))
    planted(str(tmp_path), "x")
    with pytest.raises(RunError):
        find(str(tmp_path / "runs"), name)


def test_a_run_costs_few_small_requests_on_s3(s3: S3) -> None:
    """The numbers do not depend on the length of its files."""
    write_all(s3.uri)
    check_all(s3.uri)
    proxy: FaultyS3 = s3.proxy
    requests = []
    for steps in (10, 2000):
        run = planted(f"{s3.uri}/{steps}", "run", "train.steps=5000", steps=steps, saved=[steps])
        lease(run, released=True)
        proxy.requests.clear()
        proxy.sent.clear()
        (status,) = list_runs(f"{s3.uri}/{steps}")
        assert isinstance(status, RunStatus) and status.step == steps
        requests.append(len(proxy.requests))
    assert requests[0] == requests[1] <= 12
