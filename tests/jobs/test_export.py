"""Tests the export of a run's newest checkpoint; a dry run only reads it."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from mulan import MuLan
from mulan.config.recipe import recipe_from_toml
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.tasks.task import task_of
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint
from tests.jobs.called import Job


@pytest.fixture
def run(job: Job, tiny_corpus: str) -> Run:
    """Returns a run in the folder of the jobs with two checkpoints, whose tensors are filled with the step."""
    recipe = load_recipe("demo_miniature", data_uri=tiny_corpus)
    run = Run.at("runs", "x")
    run.begin(recipe)
    model = task_of(recipe).build_model()
    for steps in (3, 6):
        state = {f"weights.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
        for tensor in state.values():
            tensor.fill_(steps)
        write_checkpoint(run.uri, state, Progress(steps))
    return run


def test_the_newest_checkpoint_is_exported(job: Job, run: Run) -> None:
    assert job("export", "--name", "x") == (0, f"export  model of step 6: {run.model_uri}\n", "")
    assert MuLan.from_pretrained(run.model_uri).embed_text(["a low tone"]).shape == (1, 32)
    weights = load_file(Path(run.model_uri) / "model.safetensors")
    assert weights
    assert all((tensor == 6).all() for tensor in weights.values())


def test_a_tracker_that_does_not_receive_the_model_is_a_line_and_no_failure(
    job: Job, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run.begin(run.recipe().replace({"logging.trackers": ["tensorboard", "mlflow"]}))
    assert job("export", "--name", "x")[0] == 0
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("mulan.tracking")]
    assert line.startswith("tracker mlflow did not receive the model of step 6: TrackerError: MLFLOW_TRACKING_URI is")


def test_a_dry_run_prints_the_recipe_and_writes_nothing(job: Job, run: Run) -> None:
    before = sorted(Path.cwd().rglob("*"))
    code, out, err = job("export", "--name", "x", "--dry-run")
    assert (code, err) == (0, "")
    assert recipe_from_toml(out, name="printed") == run.recipe()
    assert sorted(Path.cwd().rglob("*")) == before


def test_a_run_without_a_checkpoint_is_refused(job: Job, tiny_corpus: str) -> None:
    run = Run.at("runs", "y")
    run.begin(load_recipe("demo_miniature", data_uri=tiny_corpus))
    for words in ([], ["--dry-run"]):
        code, out, err = job("export", "--name", "y", *words)
        assert (code, out, err) == (2, "", f"error: run {run.uri} has no checkpoint yet; nothing to export\n")
