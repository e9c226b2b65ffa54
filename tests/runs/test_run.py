"""Tests that a run's folder keeps its contents when the run is resumed, refused or out of space."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe
from mulan.runs.lease import RunHeld, RunTakenOver
from mulan.runs.run import NOT_IN_EARLIER_RECIPES, Run, RunError
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint

INDEX = "0123456789abcdef" * 4


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo_miniature", settings, data_uri="/data/tones")


@pytest.mark.parametrize("name", ["demo", "2024-05-01", "lr=0.1_seed=3", "_trial", "v1.2"])
def test_valid_names_of_runs(name: str) -> None:
    assert Run.at("s3://bucket/runs", name).uri == f"s3://bucket/runs/{name}"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "=x", "a/b", "../a", "a b", "a\n", "naïve", "a:b"])
def test_invalid_names_are_rejected(name: str) -> None:
    with pytest.raises(RunError, match="--name") as caught:
        Run.at("runs", name)
    assert repr(name) in str(caught.value)


def test_local_storage_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Run.at("runs", "demo").recipe_uri == f"{tmp_path}/runs/demo/recipe.toml"


def test_the_same_recipe_resumes_with_any_scale(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.check(recipe())
    run.begin(recipe())
    assert run.recipe() == recipe()
    assert filesystem.read_bytes(run.recipe_uri).decode() == recipe().to_toml()
    elsewhere = recipe("scale.workers=1", "scale.data_cpus=7", "scale.max_failures=0")
    run.check(elsewhere)
    assert run.recipe() == recipe()
    run.begin(elsewhere)
    assert run.recipe() == elsewhere


def test_reactions_to_anomalies_may_change(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.begin(recipe())
    run.begin(recipe("health.non_finite=warn", "health.collapse_steps=7"))
    assert run.recipe().health.non_finite == "warn"


def test_whether_pretrained_weights_are_expected_may_change(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.begin(recipe("audio_tower.expects_pretrained=true"))
    run.begin(recipe())
    assert run.recipe() == recipe()


def test_a_run_of_an_earlier_version_keeps_its_numerics(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.begin(recipe())
    without = [line for line in recipe().to_toml().split("\n") if not line.startswith(NOT_IN_EARLIER_RECIPES)]
    assert len(without) == len(recipe().to_toml().split("\n")) - 2
    filesystem.write_atomically(run.recipe_uri, "\n".join(without).encode())
    with pytest.raises(RunError, match=r"deterministic: False there, True here\n.*exact_sums: False there, True"):
        run.check(recipe())
    as_it_was = recipe("train.exact_sums=false", "train.deterministic=false")
    run.begin(as_it_was)
    assert run.recipe() == as_it_was


def test_a_different_recipe_is_rejected_with_all_differences(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.begin(recipe())
    other = recipe("optim.lr=0.5", "data.source_ratio.playlist=0", "audio_tower.stage_depths=[2, 1]", "scale.workers=1")
    for refused in (run.check, run.begin):
        with pytest.raises(RunError) as caught:
            refused(other)
        lines = str(caught.value).split("\n")
        assert run.uri in lines[0]
        assert "--name" in lines[0]
        assert lines[1:] == [
            "  - audio_tower.stage_depths: [1, 1] there, [2, 1] here",
            "  - data.source_ratio.playlist: 1.0 there, 0.0 here",
            "  - optim.lr: 0.001 there, 0.5 here",
        ]
    assert run.recipe() == recipe()


def test_length_and_intervals_may_change(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.begin(recipe(), INDEX)
    other = recipe(
        "train.steps=12",
        "train.checkpoint_every_steps=1",
        "train.validate_every_steps=4",
        "train.keep_latest_checkpoints=5",
        "train.keep_best_checkpoints=0",
    )
    run.check(other)
    run.begin(other, INDEX)
    assert run.recipe() == other
    with pytest.raises(RunError, match=r"another recipe(.|\n)*train\.validation_micro_batches: 2 there, 4 here"):
        run.check(recipe("train.validation_micro_batches=4"))


def test_a_run_cannot_be_shorter_than_its_newest_checkpoint(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    run.begin(recipe("train.steps=12"))
    run.check(recipe("train.steps=1"))  # nothing is done yet
    write_checkpoint(run.uri, {"weights.a": torch.ones(1)}, Progress(6))
    with pytest.raises(RunError, match=r"a checkpoint of step 6, so train\.steps = 5 cannot .* set it to 6 or"):
        run.check(recipe("train.steps=5"))
    run.begin(recipe("train.steps=6"))
    assert run.recipe().train.steps == 6


def test_a_corpus_may_move_but_not_change(storage_uri: str) -> None:
    run, moved = Run.at(storage_uri, "demo"), recipe().replace({"data.uri": "s3://bucket/tones"})
    run.begin(recipe(), INDEX)
    run.check(moved)  # the corpus is not opened yet
    other = "5" * 64
    for refused in (run.check, run.begin):
        with pytest.raises(RunError) as caught:
            refused(moved, other)
        assert str(caught.value).splitlines() == [
            f"run {run.uri} was trained on another corpus; give the corpus that it began with, or another --name",
            f"  - data.uri: '/data/tones' (index {INDEX[:12]}) there, 's3://bucket/tones' (index {other[:12]}) here",
        ]
    with pytest.raises(RunError, match="another corpus"):
        run.check(recipe(), other)  # the same URI with a different corpus
    assert run.recipe() == recipe()
    run.begin(moved, INDEX)
    assert run.recipe() == moved
    run.begin(recipe(), INDEX)


def test_the_corpus_of_a_run_of_an_earlier_version_may_not_move(storage_uri: str) -> None:
    run, moved = Run.at(storage_uri, "demo"), recipe().replace({"data.uri": "s3://bucket/tones"})
    run.begin(recipe())
    with pytest.raises(RunError, match=r"data\.uri: '/data/tones' there, 's3://bucket/tones' here"):
        run.check(moved, INDEX)
    run.begin(recipe(), INDEX)
    run.check(moved, INDEX)
    filesystem.write_atomically(run.corpus_uri, b"[]")
    with pytest.raises(RunError, match=r"corpus\.json is damaged"):
        run.check(moved, INDEX)


def test_a_missing_run_is_named(storage_uri: str) -> None:
    with pytest.raises(RunError, match=rf"no run {storage_uri}/absent"):
        Run.at(storage_uri, "absent").recipe()
    assert Run.at(storage_uri, "absent").metrics() == []
    assert Run.at(storage_uri, "absent").seconds() == {}


def test_unwritable_storage_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    run = Run.at(str(tmp_path / "file"), "demo")
    with pytest.raises(StoragePermanentError, match=rf"{run.recipe_uri} cannot be written: Not a directory"):
        run.begin(recipe())
    with pytest.raises(StoragePermanentError, match=r"recipe\.toml cannot be written"), run.timed("train"):
        run.begin(recipe())  # a failure to write the time does not hide the error


ON_A_FULL_DISK = """
import resource, sys
from mulan.config.recipe import recipe_from_toml
from mulan.storage.errors import StoragePermanentError
from mulan.runs.run import Run

run = Run.at(sys.argv[1], "demo")
recipe = recipe_from_toml(sys.argv[2], name="argument")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    run.begin(recipe)
except StoragePermanentError as error:
    print(error)
"""


@pytest.mark.processes
def test_a_full_disk_keeps_the_old_recipe(tmp_path: Path) -> None:
    """Files are limited to 200 bytes, so that the write fails in the middle of the recipe."""
    run = Run.at(str(tmp_path), "demo")
    run.begin(recipe())
    bigger = recipe("scale.workers=1").to_toml()
    arguments = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), bigger]
    message = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    assert message.startswith(f"{run.recipe_uri} cannot be written: File too large; allow larger files there")
    assert run.recipe() == recipe()
    assert [path.name for path in Path(run.uri).iterdir()] == ["recipe.toml"]


def test_the_times_of_all_attempts_are_summed(storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    with pytest.raises(KeyboardInterrupt), run.timed("train"):
        raise KeyboardInterrupt
    first = run.seconds()["train"]
    with run.timed("train"):
        pass
    with run.timed("corpus"):
        pass
    assert run.seconds().keys() == {"train", "corpus"}
    assert run.seconds()["train"] > first > 0


@pytest.mark.parametrize("error", [RunHeld, RunTakenOver])
def test_a_driver_without_the_lease_adds_no_time(error: type[Exception], storage_uri: str) -> None:
    run = Run.at(storage_uri, "demo")
    with pytest.raises(error), run.timed("train"):
        raise error
    assert not run.seconds()
