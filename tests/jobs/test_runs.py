"""Tests the command that shows and stops runs."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs import runs as command
from mulan.config.errors import MulanError, SeveralErrors
from mulan.monitoring.run_list import NoStorage
from mulan.monitoring.status import RunState, RunStatus, run_status
from mulan.monitoring.stopping import NoDriver
from mulan.runs import lease as lease_module
from mulan.runs.lease import hold_lease
from mulan.runs.lease_files import ProcessIdentity
from mulan.runs.run import Run, RunError
from mulan.runs.stop import stop_request_to
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import DamagedFile
from tests.monitoring.planted import STEPS, append, lease, metrics_line, planted
from tests.monitoring.test_run_list import write_all
from tests.waiting import wait_until


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs.runs", *arguments])
    command.main()


@pytest.fixture
def storage(tmp_path: Path) -> str:
    write_all(str(tmp_path))
    return str(tmp_path)


def test_list(storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "list", "--storage", storage)
    assert "alone" in capsys.readouterr().out
    call(monkeypatch, "list", "--storage", storage, "--json")
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {name: each["kind"] for name, each in found.items()} == {
        "ablation": "ablation", "alone": "run", "broken": "run", "corpus": "other", r"odd\x1bname": "other",
        "sweep": "sweep",
    }  # fmt: skip
    assert (found["alone"]["state"], found["alone"]["step"], found["broken"]["state"]) == ("finished", STEPS, "damaged")
    assert [each["state"] for each in found["sweep"]["runs"]] == ["ended by its sweep"] * 2 + ["running"]
    Path(storage, "empty").mkdir()
    call(monkeypatch, "list", "--storage", f"{storage}/empty")
    assert capsys.readouterr().out == f"no runs in {storage}/empty\n"
    with pytest.raises(NoStorage, match="nowhere does not exist; give the folder"):
        call(monkeypatch, "list", "--storage", f"{storage}/nowhere")


def test_show(storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call(monkeypatch, "show", "alone", "--storage", storage)
    assert "loss, steps 1 to 20" in capsys.readouterr().out
    call(monkeypatch, "show", "sweep", "--storage", storage)
    assert capsys.readouterr().out.count("sweep/trial_000") == 3
    call(monkeypatch, "show", "sweep/trial_0001", "--storage", storage, "--json")
    assert json.loads(capsys.readouterr().out)["saved_step"] == 10
    with Path(storage, "alone", "metrics.jsonl").open("a") as file:
        file.write("{\n")
    call(monkeypatch, "show", "alone", "--storage", storage)
    shown = capsys.readouterr().out
    assert "finished" in shown and "line 21 of " in shown and "metrics.jsonl is damaged" in shown
    with pytest.raises(RunError, match=r"run .*broken is damaged: recipe "):
        call(monkeypatch, "show", "broken", "--storage", storage)


def test_watch_follows_a_run_and_exits_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "LOCAL_PERIOD_S", 0.02)
    run = planted(str(tmp_path), "run", steps=2, saved=[2])
    with hold_lease(run.uri):
        append(run.events_uri, [{"time": time.time(), "event": "1 workers continue from step 0"}])
        codes: list[object] = []

        def watch() -> None:
            with pytest.raises(SystemExit) as ended:
                call(monkeypatch, "watch", "run", "--storage", str(tmp_path))
            codes.append(ended.value.code)

        watching = threading.Thread(target=watch)
        watching.start()
        printed = ""

        def seen(text: str) -> bool:
            nonlocal printed
            printed += capsys.readouterr().out
            return text in printed

        wait_until(lambda: seen("run  running  step 2 of 20  loss 3.9800"), what="the first line")
        append(run.metrics_uri, [metrics_line(3)])
        append(run.events_uri, [{"time": time.time(), "event": "\x1b[31modd"}])
        wait_until(lambda: seen(r"run  \x1b[31modd"), what="the event")
        assert not codes
    watching.join()
    assert seen("run  interrupted: its driver, ") and "step 3 of 20" in printed
    assert codes == [1]
    for name, code in (("alone", 0), ("none", 2)):
        done = planted(str(tmp_path), "alone", steps=STEPS, saved=[STEPS])
        lease(done, released=True)
        with pytest.raises((SystemExit, MulanError)) as ended:
            call(monkeypatch, "watch", name, "--storage", str(tmp_path))
        assert getattr(ended.value, "code", getattr(ended.value, "exit_code", None)) == code


def test_storage_that_fails_for_a_while_does_not_end_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LOCAL_PERIOD_S", 0.0)
    run = planted(str(tmp_path), "run", steps=2)
    lease(run)
    looks: Iterator[StorageError | RunStatus] = iter(
        [StorageError("it does not answer"), replace(run_status(run), state=RunState.FINISHED)]
    )

    def look(*arguments: Any, **named: Any) -> RunStatus:
        found = next(looks)
        if isinstance(found, StorageError):
            raise found
        return found

    monkeypatch.setattr(command, "run_status", look)
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "watch", "run", "--storage", str(tmp_path))
    assert ended.value.code == 0


def test_compare(storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = f"{storage}/pages/of two.html"
    runs = ("alone", "sweep/trial_0001", "alone", "alone/", "sweep/trial_0001/")
    call(monkeypatch, "compare", *runs, "--storage", storage, "--out", out)
    assert capsys.readouterr().out == f"comparison: {out}\n"
    assert "<title>alone, sweep/trial_0001</title>" in Path(out).read_text()
    with pytest.raises(
        SeveralErrors, match=r"(?s)no run .*none.*sweep is of kind sweep; name one of its runs: sweep/tr"
    ):
        call(monkeypatch, "compare", "alone", "none", "sweep", "--storage", storage, "--out", f"{storage}/x.html")
    assert not Path(storage, "x.html").exists()


ODD_LINES = {
    "damaged": [b"{", b"[1, 2]", b"3", b"null"],
    "order": [b'{"step": %d, "loss": 1}' % step for step in (100, -100_000, 50, 200)],
    "digits": [b'{"step": 1%s, "loss": 1}' % (400 * b"0")],
    "values": [b'{"step": %d, "loss": %s1.7e308, "step_s": 5e-324}' % each for each in ((100, b""), (200, b"-"))],
    "names": [
        rb'{"step": 9, "loss_$\\frac$": 1, "loss_\ud800": 1, "validation": {"$x_$": 1, "<script>": 1, "\ud800": 2}}'
    ],
    "events": [
        rb'{"step": 8, "time": 1e300, "event": "\ud800<script>"}',
        b'{"step": 8, "time": "z", "event": {"a": 1}}',
        b'{"step": 8, "event": null}',
    ],
}


@pytest.mark.parametrize("kind", ODD_LINES)
def test_every_command_shows_a_run_with_odd_lines(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = planted(str(tmp_path), "run", steps=8, saved=[8])
    planted(str(tmp_path), "other", steps=5)
    content = b"".join(line + b"\n" for line in ODD_LINES[kind])
    for uri in (run.metrics_uri, run.events_uri, run.failures_uri):
        planted_lines = Path(uri).read_bytes() if Path(uri).exists() else b""
        Path(uri).write_bytes(content + planted_lines + content)
    for command_line in (["show", "run"], ["show", "run", "--json"], ["list", "--json"], ["watch", "run"]):
        with suppress(SystemExit):  # of watch
            call(monkeypatch, *command_line, "--storage", str(tmp_path))
        printed = capsys.readouterr().out
        assert "interrupted" in printed
        if "--json" in command_line:
            json.loads(printed, parse_constant=pytest.fail)
    out = tmp_path / "page.html"
    try:
        call(monkeypatch, "compare", "run", "other", "--storage", str(tmp_path), "--out", str(out))
    except DamagedFile:
        assert kind == "damaged"
    else:
        assert "<script" not in out.read_text(encoding="utf-8")


def test_stop_waits_for_the_end_and_says_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease_module, "RELEASE_TIMEOUT_S", 60.0)
    run = planted(str(tmp_path), "run", steps=7, saved=[5, 7])

    def train() -> None:
        with hold_lease(run.uri) as fence:
            append(run.events_uri, [{"time": time.time(), "event": "1 workers continue from step 0"}])
            begun.set()
            wait_until(lambda: stop_request_to([fence]), what="the request")

    begun = threading.Event()
    training = threading.Thread(target=train)
    training.start()
    begun.wait()
    call(monkeypatch, "stop", "run", "--storage", str(tmp_path))
    training.join()
    asked, ended = capsys.readouterr().out.splitlines()
    assert asked.startswith("run: asked process ") and ended == "run: stopped at step 7"
    with pytest.raises(NoDriver, match="has ended; there is nothing to stop"):
        call(monkeypatch, "stop", "run", "--storage", str(tmp_path))


def test_sweeps_and_ablations_are_stopped_as_a_whole(
    storage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="sweep/trial_0002 is a trial of a running sweep; stop the sweep: "):
        call(monkeypatch, "stop", "sweep/trial_0002", "--storage", storage)
    call(monkeypatch, "stop", "sweep", "--storage", storage, "--timeout", "0")
    assert capsys.readouterr().out.startswith("sweep: asked process 4242 on node-7")
    assert filesystem.exists(f"{storage}/sweep/lease/000000001.stop.json")
    with pytest.raises(NoDriver, match="trains no variant"):
        call(monkeypatch, "stop", "ablation", "--storage", storage)
    lease(Run(f"{storage}/ablation", "aset_sf"), process=ProcessIdentity.current())
    call(monkeypatch, "stop", "ablation", "--storage", storage, "--timeout", "0")
    assert filesystem.names_in(f"{storage}/ablation/aset_sf/lease") == ["000000001.json", "000000001.stop.json"]


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "x"])
def test_a_timeout_is_a_number_of_seconds(timeout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "stop", "run", f"--timeout={timeout}")
    assert ended.value.code == 2
