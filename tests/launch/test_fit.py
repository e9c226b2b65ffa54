"""Tests training with Ray Train, Ray Data and DeepSpeed: two real workers on this machine."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import ray.train
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.multiprocessing import ProcessRaisedException

import mulan
from mulan.config.recipe import Recipe
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.data.freed_memory import KEEP_FREED_MEMORY
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.instrumentation.settings import InstrumentSettings, StepRange
from mulan.launch import fit as fit_module
from mulan.launch.checks import check_corpus
from mulan.launch.cluster import share_reader
from mulan.launch.devices import device_kind
from mulan.launch.fit import fit, worker_environment
from mulan.launch.policies import TrainingFailed
from mulan.recipes.registry import load_recipe
from mulan.runs import lease
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.export import export_run
from mulan.runs.lease import RunHeld, RunTakenOver, hold_lease
from mulan.runs.lease_files import Holder, ProcessIdentity, file_uri, newest
from mulan.runs.recorder import read_quarantine
from mulan.runs.run import Run, RunError
from mulan.runs.stop import RunStopped, request_stop
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog, read_lines
from mulan.tasks.task import task_of
from mulan.telemetry.flops import count_flops
from tests.chaos.job import Watch
from tests.checkpoints import part_paths, write_checkpoint
from tests.conftest import tone_recording
from tests.launch.killing import kill_a_worker_of
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("ray_cluster")
whole = pytest.mark.long(group="jobs")


def miniature(uri: str, *settings: str) -> Recipe:
    return load_recipe("demo_miniature", settings, data_uri=uri)


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["loss"] for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Run:
    run = Run(str(tmp_path_factory.mktemp("runs")), "undisturbed")
    recipe = miniature(tiny_corpus, 'logging.trackers=["tensorboard"]')
    reader = share_reader(check_corpus(recipe))
    with patch("mulan.data.corpus.index.Corpus.open", side_effect=AssertionError("the index is loaded once")):
        # instruments change no result, which the tests compare with that of a process without them
        fit(recipe, run, reader=reader, instruments=InstrumentSettings(StepRange(4, 5), watch_hangs=True))
    return run


def test_two_ray_workers_train_like_one_process(undisturbed: Run, tiny_corpus: str, tmp_path: Path) -> None:
    recipe = miniature(tiny_corpus)
    alone = run_in_processes(train_inline, 1, recipe, str(tmp_path / "run"), folder=tmp_path / "out")[0][0]
    lines = undisturbed.metrics()
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert losses(lines) == losses(alone)
    assert [line.get("validation") for line in lines] == [line.get("validation") for line in alone]
    assert [line["step"] for line in lines if "validation" in line] == [3, 6]
    expected = {"step", "loss", "temperature", "learning_rate", "pairs_per_s", "data_wait_s", "grad_norm", "time"}
    assert all(expected <= line.keys() for line in lines)
    flops, reader = count_flops(task_of(recipe).build_model(), recipe), MicroBatchReader.from_recipe(recipe)
    assert [line["model_flops"] for line in lines] == [
        sum(flops(reader(Item(Phase.TRAIN, step, number))) for number in range(2)) for step in range(6)
    ]


def test_trackers_have_all_steps_of_a_run_and_its_events(undisturbed: Run) -> None:
    tracked, lines = EventAccumulator(f"{undisturbed.uri}/tensorboard").Reload(), undisturbed.metrics()
    sent = {name: [(each.step, each.value) for each in tracked.Scalars(name)] for name in tracked.Tags()["scalars"]}
    assert sent["train/loss"] == [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in lines]
    assert [step for step, _ in sent["validation/recall10"]] == [3, 6]
    assert {"speed/pairs_per_s", "speed/data_wait_ratio", "train/grad_norm", "train/temperature"} <= sent.keys()
    texts = [each.tensor_proto.string_val[0].decode() for each in tracked.Tensors("events/text_summary")]
    assert any("2 workers continue from step 0" in text for text in texts)


def test_checkpoints_and_export_of_a_run(undisturbed: Run) -> None:
    assert [one.steps_done for one in checkpoints(undisturbed.uri)] == [6, 3]
    assert export_run(undisturbed) == 6
    embedded = mulan.MuLan.from_pretrained(undisturbed.model_uri).embed_text(["a low tone", "a high tone"])
    assert embedded.shape == (2, 32)


def test_the_profile_of_a_run(undisturbed: Run) -> None:
    folder = Path(undisturbed.uri, "profile", "steps_4-5")
    assert {path.name for path in folder.iterdir()} == {
        "rank_0.json.gz",
        "rank_1.json.gz",
        "summary.json",
        "summary.txt",
    }
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == [4, 5]
    durations = {line["step"]: line["step_s"] for line in undisturbed.metrics()}
    for worker in summary["workers"]:
        assert min(one["compute"] for one in worker["steps"]) > 0
        assert min(one["collectives"] for one in worker["steps"]) > 0
    for step in summary["workers"][0]["steps"]:
        assert step["total"] >= durations[step["step"]] - 1e-4  # what the profiler annotates contains what is timed
    (event,) = [line for line in read_lines(undisturbed.events_uri) if "detail" in line]
    assert event["event"].startswith("profile of steps 4 to 5: ")
    assert "aten::_fused_adamw_" in {one["name"] for one in summary["operators"]}
    assert not Path(undisturbed.uri, "hangs").exists()


def test_log_lines_of_workers_state_the_step(undisturbed: Run) -> None:
    context = ray.get_runtime_context()
    files = Path(context.get_temp_dir(), context.get_session_name(), "logs", "train").glob("ray-train-app-worker-*.log")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    reports = [line for line in lines if line.get("run") == "undisturbed" and "TrainingReport" in line["message"]]
    assert sorted((line["step"], line["rank"]) for line in reports) == [(3, 0), (3, 1), (6, 0), (6, 1)]
    assert all(f"'step': {line['step']}," in line["message"] for line in reports)  # Ray Train's text


def test_a_run_with_a_killed_worker_trains_like_one_process(tiny_corpus: str, tmp_path: Path) -> None:
    """Also prints the cost of the kill: the time until the first step that had not been trained before."""
    steps = 40
    settings = [f"train.steps={steps}", "train.checkpoint_every_steps=5", "train.validation_micro_batches=0"]
    settings += ["audio_tower.expects_pretrained=true"]
    recipe, run = miniature(tiny_corpus, *settings), Run(str(tmp_path), "killed")
    with ThreadPoolExecutor() as pool, Watch(run) as watch:
        killing = pool.submit(kill_a_worker_of, run)
        fit(recipe, run)
        killed = killing.result()
    before = max(step for when, step in watch.steps if when < watch.joined_s)
    print(f"{watch.first_time(before + 1) - killed:.1f} s from the kill to the next step")
    lines = run.metrics()
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    events = [line["event"] for line in read_lines(run.events_uri)]
    begun, resumed = [event for event in events if "workers continue" in event]
    assert sum(event.startswith("the audio tower starts from random weights") for event in events) == 2
    kind = device_kind(torch.device("cpu"), threads=1)
    assert begun == f"2 workers continue from step 0 on {kind}"
    step = int(resumed.removeprefix("2 workers continue from step ").removesuffix(f" on {kind}"))
    assert 5 <= step < steps and step % 5 == 0
    (failure,) = read_lines(run.failures_uri)
    assert "worker" in failure["event"]
    (lost_s,) = (line["lost_s"] for line in read_lines(run.events_uri) if "lost_s" in line)
    last, first = lines[step - 1]["time"], lines[step]["time"] - lines[step]["step_s"]
    assert lost_s == pytest.approx(first - last)
    alone = run_in_processes(train_inline, 1, recipe, str(tmp_path / "run"), folder=tmp_path / "out")[0][0]
    assert losses(lines) == losses(alone)


def ask_to_stop(run: Run, *, when: Callable[[], object]) -> None:
    wait_until(when, what="the time to stop", limit_s=300.0)
    lease_file = newest(f"{run.uri}/lease")
    assert lease_file is not None
    request_stop(run.uri, lease_file)


def test_a_stopped_run_continues_like_an_undisturbed_one(tiny_corpus: str, tmp_path: Path) -> None:
    """Ray Train ends a run in order whose workers return early, which no test in one process shows."""
    settings = ["train.steps=200", "train.checkpoint_every_steps=200", "train.validation_micro_batches=0"]
    run = Run(str(tmp_path), "stopped")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask_to_stop, run, when=lambda: filesystem.exists(run.metrics_uri) and run.metrics())
        with pytest.raises(RunStopped, match=r"at step \d+, whose checkpoint is saved: requested by .* on ") as stopped:
            fit(miniature(tiny_corpus, *settings), run)
        asking.result()
    assert stopped.value.exit_code == 3
    (saved,) = checkpoints(run.uri)
    assert saved.steps_done == run.metrics()[-1]["step"] < 200
    assert not filesystem.exists(run.failures_uri)
    longer = miniature(tiny_corpus, *settings, f"train.steps={saved.steps_done + 2}")
    fit(longer, run)
    alone = run_in_processes(train_inline, 1, longer, str(tmp_path / "run"), folder=tmp_path / "out")[0][0]
    assert losses(run.metrics()) == losses(alone)


def test_a_run_that_waits_for_workers_stops(tiny_corpus: str, tmp_path: Path) -> None:
    """Only Ray Train's controller acts while there are no workers, and an error in it must end the run at once."""
    run = Run(str(tmp_path), "waiting")
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask_to_stop, run, when=lambda: newest(f"{run.uri}/lease"))
        with pytest.raises(RunStopped, match="before its first step: requested by "):
            fit(miniature(tiny_corpus, "scale.workers=[1, 2]", "scale.cpus_per_worker=1000"), run)
        asking.result()
    assert not filesystem.exists(run.failures_uri)


def test_the_driver_releases_its_lease_and_checkpoints_contain_its_generation(undisturbed: Run) -> None:
    holding = newest(f"{undisturbed.uri}/lease")
    assert holding is not None and holding.holder is not None and holding.holder.released
    manifest = json.loads(Path(checkpoints(undisturbed.uri)[0].uri, "manifest.json").read_text())
    assert manifest["generation"] == 1


def test_a_checkpoint_records_the_kinds_of_device(undisturbed: Run) -> None:
    checkpoint = read_newest(undisturbed.uri, on_corrupt=pytest.fail)
    assert checkpoint is not None and checkpoint.progress.trained_on == [device_kind(torch.device("cpu"), threads=1)]


def test_a_second_driver_is_refused(tiny_corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL_PERIOD_S", 0.05)
    run = Run(str(tmp_path), "twice")
    JsonLinesLog(run.metrics_uri).append([{"step": 119}, {"step": 120}])
    with hold_lease(run.uri), pytest.raises(RunHeld, match=rf"process {os.getpid()} on .*, its last step is 120; "):
        fit(miniature(tiny_corpus), run)
    assert not Path(run.recipe_uri).exists()


def test_a_driver_whose_run_was_taken_over_raises_and_records_nothing(
    tiny_corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of its workers is not recorded, since the run's folder belongs to the other driver."""
    run = Run(str(tmp_path), "taken-over")

    class TakenOver:
        def __init__(self, *_: object, on_failure: Callable[[str], None], **__: object) -> None:
            self._on_failure = on_failure

        def fit(self) -> None:
            other = Holder(ProcessIdentity("node-7", 4242, "", 0))
            filesystem.write_atomically(file_uri(f"{run.uri}/lease", 2), other.content())
            with suppress(RunTakenOver):
                self._on_failure("a worker was lost")
            raise ray.train.TrainingFailedError

    monkeypatch.setattr(fit_module, "Trainer", TakenOver)
    with pytest.raises(RunTakenOver, match="taken over by process 4242 on node-7"):
        fit(miniature(tiny_corpus), run)
    assert not Path(run.failures_uri).exists()


@whole
def test_a_corrupt_checkpoint_is_skipped(undisturbed: Run, tiny_corpus: str, tmp_path: Path) -> None:
    run = Run(str(tmp_path), undisturbed.name)
    shutil.copytree(undisturbed.uri, run.uri)
    checkpoint = read_newest(run.uri, on_corrupt=pytest.fail, max_step=3)
    assert checkpoint is not None
    write_checkpoint(
        run.uri, checkpoint.state, replace(checkpoint.progress, trained_on=["NVIDIA H100 80GB HBM3, torch 2.11.0"])
    )
    state = part_paths(f"{run.uri}/checkpoint_000000006")[1]
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    fit(miniature(tiny_corpus), run)
    assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4, 5, 6]
    assert losses(run.metrics()) == losses(undisturbed.metrics())
    events = [line["event"] for line in read_lines(run.events_uri)]
    assert any("checkpoint_000000006 is corrupt" in event for event in events)
    assert events[-2].startswith("2 workers continue from step 3 on CPU ")
    assert "only on one kind of device: steps up to 3 were trained on NVIDIA H100" in events[-1]
    last = read_newest(run.uri, on_corrupt=pytest.fail)
    local_kind = device_kind(torch.device("cpu"), threads=1)
    assert last is not None and last.progress.trained_on == sorted([local_kind, "NVIDIA H100 80GB HBM3, torch 2.11.0"])


def test_a_finished_run_is_left_unchanged_and_another_recipe_is_refused(undisturbed: Run, tiny_corpus: str) -> None:
    modified = Path(undisturbed.metrics_uri).stat().st_mtime_ns
    fit(miniature(tiny_corpus, "scale.workers=1"), undisturbed)
    assert Path(undisturbed.metrics_uri).stat().st_mtime_ns == modified
    with pytest.raises(RunError, match=r"another recipe(.|\n)*optim\.lr: 0\.001 there, 0\.5 here"):
        fit(miniature(tiny_corpus, "optim.lr=0.5"), undisturbed)


@whole
def test_a_nonfinite_loss_stops_the_run_at_its_step(tiny_corpus: str, tmp_path: Path) -> None:
    run = Run(str(tmp_path), "diverged")
    with pytest.raises(TrainingFailed, match=r"the loss of step 2 is nan; the weights are those of step 1\.") as failed:
        fit(miniature(tiny_corpus, "optim.lr=1e37", "optim.warmup_steps=0"), run)
    assert f"{run.anomaly_uri(2)}. See: {run.replay_command(2)}. " in str(failed.value)
    assert failed.value.exit_code == 2  # another attempt would fail in the same way
    assert [line["step"] for line in run.metrics()] == [1]
    recordings = json.loads(Path(run.anomaly_uri(2)).read_text())["recordings"]
    assert [len(names) for names in recordings] == [8, 8]
    assert sum("the loss of step 2 is nan" in line["event"] for line in read_lines(run.events_uri)) == 1


@whole
def test_unusable_recordings_are_skipped_and_named_until_there_are_too_many(tiny_corpus: str, tmp_path: Path) -> None:
    def damaged(number: int, bad: set[int]) -> Recording:
        good = tone_recording(number, "train" if number < 32 else "validation")
        return Recording(**(vars(good) | {"audio": good.audio[:20_000]})) if number in bad else good

    one, many = str(tmp_path / "one"), str(tmp_path / "many")
    write_corpus((damaged(number, {3}) for number in range(40)), one)
    write_corpus((damaged(number, set(range(20))) for number in range(40)), many)
    run = Run(str(tmp_path), "one-bad")
    fit(miniature(one), run)
    (row,) = read_quarantine(run.quarantine_uri)
    assert (row["recording_id"], row["reason"]) == ("tone-003", "truncated audio")
    skipped = run.metrics()[-1]["skipped_recordings"]
    assert skipped.keys() == {"truncated audio"}
    assert skipped["truncated audio"] > 0
    summary = r"could not be used in the first \d+ examples; data.max_skipped_share = 0.01 allows 10 in 1000\n"
    summary += r"  - truncated audio: \d+\nthe last: tone-0\d\d: truncated audio: .+\nquarantine.parquet in the run's"
    with pytest.raises(ProcessRaisedException, match=summary):
        run_in_processes(train_inline, 1, miniature(many), str(tmp_path / "many-bad"), folder=tmp_path / "out")


def test_workers_have_the_environment_variables_of_the_recipe_and_those_of_mulan(tiny_corpus: str) -> None:
    scale = miniature(tiny_corpus, "scale.env.NCCL_DEBUG=INFO").scale
    assert (
        worker_environment(scale)
        == {
            "NCCL_DEBUG": "INFO",
            "TOKENIZERS_PARALLELISM": "false",
            "DS_ACCELERATOR": "cpu",
        }
        | KEEP_FREED_MEMORY
    )
    assert "DS_ACCELERATOR" not in worker_environment(scale.replace(use_gpu=True))
