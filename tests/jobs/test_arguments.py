"""Tests the arguments of jobs: one readable message and exit code 2 for user errors; dry runs change nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.arguments import end
from mulan.config.audio import AstTowerConfig
from mulan.config.recipe import recipe_from_toml
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped
from mulan.storage.errors import UnsupportedStorage
from tests.jobs.called import Job, assert_refused

ROOT = Path(__file__).parents[2]


@pytest.mark.processes
def test_a_refused_job_prints_one_message_and_exits_with_2(tmp_path: Path) -> None:
    """Runs in a separate process, to test the whole output."""
    invalid = [
        "--set",
        "optim.lrr=1",
        "--set",
        "embedding_dim=0",
        "--set",
        "train.precision=float16",
        "--set",
        "novalue",
    ]
    command = [
        sys.executable,
        "-m",
        "jobs.train",
        "--recipe",
        "demo_miniature",
        "--name",
        "x",
        "--storage",
        str(tmp_path),
        *invalid,
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.strip().split("\n")
    assert lines[0] == "error: recipe demo_miniature has 4 errors:"
    assert len(lines) == 5
    assert all(line.startswith("  - ") for line in lines[1:])
    for start, hint in {
        "optim.lrr is not a field": "did you mean lr?",
        "embedding_dim = 0": "greater than or equal to 1",
        "train.precision = 'float16'": "'float32' or 'bf16'",
        "--set novalue": "section.field=value",
    }.items():
        assert [line for line in lines if start in line and hint in line], start
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_storage_and_starts_no_cluster(job: Job) -> None:
    for name in ("demo", "train", "evaluate", "export"):
        code, out, err = job(name, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: jobs.{name} ")
        assert "--storage URI" in out
    assert list(Path.cwd().iterdir()) == []


def test_unknown_and_missing_arguments_are_named(job: Job) -> None:
    for name in ("train", "evaluate", "export"):
        code, out, err = job(name)
        assert (code, out) == (2, "")
        assert "--name" in err.split("\n")[-2]
    code, _, err = job("demo", "--steps", "3")
    assert code == 2
    assert "unrecognized arguments: --steps 3" in err


@pytest.mark.parametrize("name", ["train", "demo"])
def test_workers_that_cannot_share_the_batch_are_refused(name: str, job: Job) -> None:
    arguments = [
        "--recipe",
        "demo_miniature",
        "--name",
        "x",
        "--set",
        "batch.micro_batches=4",
        "--set",
        "scale.workers=8",
    ]
    arguments += ["--set", "front_end.mel_max_hz=9000"]
    messages = (
        "scale.workers = 8 cannot share batch.micro_batches = 4",
        "one of 1, 2, 4",
        "front_end.mel_max_hz = 9000",
    )
    assert_refused(job(name, *arguments), *messages)


@pytest.mark.parametrize("name", ["train", "demo"])
def test_settings_within_fields_that_are_not_sections_are_refused(name: str, job: Job) -> None:
    arguments = ["--recipe", "demo_miniature", "--name", "x"]
    arguments += ["--set", "train.steps.seed=5", "--set", "optim.lr.epsilon=1"]
    assert_refused(job(name, *arguments), "2 errors", "train.steps is not a section", "optim.lr is not a section")


def test_the_order_of_settings_does_not_matter(job: Job) -> None:
    settings = ["--set=audio_tower.hidden_size=384", "--set=audio_tower.family=ast", "--set=audio_tower.layers=3"]
    printed = [job("bench", "checkpoint", "--dry-run", *ordered) for ordered in (settings, reversed(settings))]
    assert printed[0] == printed[1]
    code, out, err = printed[0]
    assert (code, err) == (0, "")
    assert recipe_from_toml(out, name="printed").audio_tower == AstTowerConfig(hidden_size=384, layers=3)


def test_a_recipe_that_does_not_exist_is_refused(job: Job) -> None:
    assert_refused(job("train", "--recipe", "absent.toml", "--name", "x"), "absent.toml", "No such file")
    assert_refused(
        job("train", "--recipe", "demo_minature", "--name", "x"), "did you mean demo_miniature", ".toml file"
    )


def test_an_invalid_name_and_a_run_that_does_not_exist_are_refused(job: Job) -> None:
    assert_refused(job("train", "--recipe", "demo_miniature", "--name", "../x"), "--name '../x'")
    for name in ("evaluate", "export"):
        assert_refused(job(name, "--name", "absent"), "there is no run", "runs/absent", "--storage")


@pytest.mark.parametrize("name", ["train", "demo"])
def test_a_dry_run_prints_the_resolved_recipe_and_writes_nothing(name: str, job: Job, tiny_corpus: str) -> None:
    arguments = (
        "--recipe",
        "demo_miniature",
        "--name",
        "x",
        "--data",
        tiny_corpus,
        "--set",
        "optim.lr=0.25",
        "--dry-run",
    )
    code, out, err = job(name, *arguments)
    assert (code, err) == (0, "")
    expected = load_recipe("demo_miniature", ["optim.lr=0.25"], data_uri=tiny_corpus)
    assert recipe_from_toml(out, name="printed") == expected
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "uri", "message"),
    [
        ("--storage", "gs://bucket/runs", "gcsfs"),
        ("--storage", "S3:/bucket", "--storage 'S3:/bucket': it is neither a URI nor clearly a path"),
        ("--storage", "://", "neither a URI nor clearly a path"),
        ("--storage", "s3://", "the bucket or server is missing"),
        ("--storage", "", "--storage '': the path is empty"),
        ("--storage", "https://example.invalid/runs", "read-only"),
        ("--storage", "/proc/nope", "/proc/nope/x cannot be written"),
        ("--data", "abfs://container/tones", "adlfs"),
        ("--data", "s3:/bucket", "--data 's3:/bucket': it is neither"),
        ("--data", "", "--data '': the path is empty"),
    ],
)
def test_unusable_locations_are_refused_by_every_job(
    flag: str, uri: str, message: str, job: Job, tiny_corpus: str
) -> None:
    for name in ("train", "demo"):
        arguments = ["--recipe", "demo_miniature", "--name", "x", "--data", tiny_corpus, "--dry-run"]
        assert_refused(job(name, *arguments, flag, uri), message)
    if flag == "--storage" and uri not in (
        "https://example.invalid/runs",
        "/proc/nope",
    ):  # they do not get as far as reading the run
        for name in ("evaluate", "export"):
            assert_refused(job(name, "--name", "x", flag, uri), message)


def test_every_path_of_a_recipe_is_absolute(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    tower = '[audio_tower]\nfamily = "resnet"\npretrained = "../towers/resnet/"\n'
    Path("mine.toml").write_text(f'[data]\nuri = "~/corpus/"\n{tower}')
    code, out, err = job("bench", "checkpoint", "--recipe", "mine.toml", "--dry-run")
    assert (code, err) == (0, "")
    recipe = recipe_from_toml(out, name="printed")
    assert recipe.data.uri == "/home/someone/corpus"
    assert recipe.audio_tower.pretrained == f"{tmp_path.parent}/towers/resnet"


def test_only_paths_of_pretrained_weights_become_absolute(job: Job) -> None:
    for spec, expected in {
        "python:json/model": "python:json/model",
        "hub:a/b": "hub:a/b",
        "text": f"{Path.cwd()}/text",
    }.items():
        code, out, err = job("bench", "checkpoint", "--dry-run", "--set", f"text_tower.pretrained={spec}")
        assert (code, err) == (0, "")
        assert recipe_from_toml(out, name="printed").text_tower.pretrained == expected


def test_damaged_files_of_a_run_are_named_by_every_job(job: Job, tiny_corpus: str) -> None:
    run = Run.at("runs", "x")
    run.begin(load_recipe("demo_miniature", data_uri=tiny_corpus))
    Path(run.model_uri).mkdir()
    Path(run.model_uri, "model.safetensors").write_bytes(b"")
    Path(run.metrics_uri).write_bytes(b'{"step": 1}\n\x00\n')
    for arguments in (["evaluate"], ["evaluate", "--dry-run"], ["train", "--replay-step", "1"]):
        code, out, err = job(*arguments, "--name", "x")
        assert (code, out) == (2, "") and err.startswith("error: ")
        assert f"line 2 of {run.metrics_uri} is damaged; restore that file, or remove the line\n" in err
    Path(run.recipe_uri).write_bytes(b"\xff")
    for arguments in (
        ["evaluate"],
        ["export"],
        ["train", "--replay-step", "1"],
        ["demo", "--recipe", "demo_miniature"],
    ):
        code, out, err = job(*arguments, "--name", "x")
        assert (code, out) == (2, "")
        assert err.startswith(f"error: recipe {run.recipe_uri}: is not TOML")


def test_other_invalid_arguments_are_refused(job: Job, tiny_corpus: str) -> None:
    train = ("train", "--recipe", "demo_miniature", "--name", "x", "--dry-run")
    assert_refused(job(*train), "names no corpus", "--data")
    assert_refused(job(*train, "--data", "caf\udce9"), r"argument 'caf\udce9' is not UTF-8")
    assert_refused(job("demo", "--tracks", "0", "--dry-run"), "--tracks 0: at least 1")
    assert_refused(job("bench", "loss", "--json", "/proc/nope/x"), "/proc/nope cannot be written")


@pytest.mark.processes
def test_a_closed_output_ends_a_job_with_141(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "jobs.bench", "checkpoint", "--dry-run"]
    ended = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_an_interrupted_job_prints_the_command_that_resumes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mulan.launch.cluster._started", set())  # Ray serves other tests, and is not ended
    monkeypatch.setattr(sys, "argv", ["sweep.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "tune.sweep", "--name", "my sweep"])
    with pytest.raises(SystemExit) as exited:
        end(main)
    assert exited.value.code == 130
    assert capsys.readouterr().err.endswith(
        "resumes from the newest checkpoint: python -m tune.sweep --name 'my sweep'\n"
    )
    with pytest.raises(SystemExit):
        end(main, repeated="makes what is missing")
    assert capsys.readouterr().err.startswith("interrupted; the same command makes what is missing: python -m")


def test_a_job_that_was_asked_to_stop_says_how_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise RunStopped("run /runs/a stopped at step 7: requested by me")

    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "jobs.train", "--name", "a"])
    with pytest.raises(SystemExit) as exited:
        end(main)
    assert exited.value.code == 3
    assert capsys.readouterr().err == (
        "run /runs/a stopped at step 7: requested by me; the same command resumes from the newest checkpoint: "
        "python -m jobs.train --name a\n"
    )


def test_an_error_keeps_its_lines_and_shows_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise UnsupportedStorage("2 errors:\n  - \x1b[31mred\n  - naïve")

    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as ended:
        end(refused)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: 2 errors:\n  - \\x1b[31mred\n  - naïve\n"
