"""Tests the fields of log records, and the log file of a driver."""

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from mulan.launch.logs import JsonFormatter, RecordFields, driver_log, label_worker_records

log = logging.getLogger("mulan.launch")


@pytest.fixture
def worker_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Gives this process the handlers of one of Ray Train's workers, in place of pytest's."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("ray.train"), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("ray.train"), "propagate", False)
    own = logging.StreamHandler(io.StringIO())
    for name in ("DeepSpeed", "transformers"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [own])
        monkeypatch.setattr(logging.getLogger(name), "propagate", False)
    yield written
    logging.captureWarnings(False)


def lines(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def test_records_of_a_worker_have_run_step_rank_and_node(worker_log: io.StringIO) -> None:
    fields = label_worker_records("run1", rank=3)
    log.warning("loading %s", "weights")
    for step in (41, 42):
        fields.begin_step(step)
        log.error("in the step")
        fields.end_step(step)
        thread = threading.Thread(target=log.error, args=("in its checkpoint",))
        thread.start()
        thread.join()
    assert [(line["message"], line["step"]) for line in lines(worker_log.getvalue())] == [
        ("loading weights", None),
        ("in the step", 41),
        ("in its checkpoint", 41),
        ("in the step", 42),
        ("in its checkpoint", 42),
    ]
    assert {(line["run"], line["rank"], line["node"]) for line in lines(worker_log.getvalue())} == {
        ("run1", 3, ray.util.get_node_ip_address())
    }


def test_libraries_and_warnings_are_logged_like_the_rest(worker_log: io.StringIO) -> None:
    label_worker_records("run1", rank=0).begin_step(7)
    for name in ("ray.train", "DeepSpeed", "transformers.modeling_utils", "of.another.library"):
        logging.getLogger(name).error("from %s", name)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # catch_warnings and pytest have undone it
        warnings.warn("deprecated", FutureWarning, stacklevel=1)
    *records, warning = lines(worker_log.getvalue())
    assert [line["message"] for line in records] == [
        "from ray.train",
        "from DeepSpeed",
        "from transformers.modeling_utils",
        "from of.another.library",
    ]
    assert "FutureWarning: deprecated" in warning["message"]
    assert {line["step"] for line in (*records, warning)} == {7}


def test_a_record_keeps_its_own_fields(worker_log: io.StringIO) -> None:
    label_worker_records("run1", rank=0).begin_step(7)
    for step in ("epoch 2", {8}):
        log.error("of a library", extra={"step": step})
    assert [(line["step"], line["run"]) for line in lines(worker_log.getvalue())] == [
        ("epoch 2", "run1"),
        ("{8}", "run1"),
    ]


def test_an_error_is_one_line_with_its_traceback(worker_log: io.StringIO) -> None:
    label_worker_records("run1", rank=0)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    (line,) = lines(worker_log.getvalue())
    assert line["message"] == "failed" and line["levelname"] == "ERROR"
    assert line["exc_text"].startswith("Traceback") and line["exc_text"].endswith("ValueError: two\nlines")


@pytest.mark.usefixtures("ray_cluster")
def test_a_driver_writes_its_warnings_to_a_file_and_as_before_to_the_console(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a process that does not set up logging
    caplog.set_level(logging.INFO, logger=log.name)  # as set by a user
    log.warning("before")
    with driver_log("sweep1/run-of-this-test"):
        log.warning("the lease could not be renewed")
        log.info("nothing")
    log.warning("after")
    assert logging.getLogger().handlers == []
    assert capsys.readouterr().err == "before\nthe lease could not be renewed\nafter\n"
    context = ray.get_runtime_context()
    folder = Path(context.get_temp_dir(), context.get_session_name(), "logs", "train")
    (file,) = folder.glob("mulan-driver-sweep1-run-of-this-test-*.log")
    (line,) = lines(file.read_text(encoding="utf-8"))
    assert (line["message"], line["levelname"], line["filename"]) == (
        "the lease could not be renewed",
        "WARNING",
        "test_logs.py",
    )
    assert (line["run"], line["step"], line["rank"]) == ("sweep1/run-of-this-test", None, None)


@pytest.mark.usefixtures("ray_cluster")
def test_a_driver_without_access_to_the_folder_of_the_session_has_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(type(ray.get_runtime_context()), "get_temp_dir", lambda self: str(tmp_path / "file"))
    before = list(logging.getLogger().handlers)
    with driver_log("run1"):
        assert logging.getLogger().handlers == before
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_fields_are_added_by_any_handler() -> None:
    record = logging.LogRecord("any", logging.INFO, "file.py", 1, "text", None, None)
    assert RecordFields(run="run1", rank=None, node="10.0.0.7").filter(record)
    assert json.loads(JsonFormatter().format(record)) | {"asctime": ""} == {
        "asctime": "",
        "levelname": "INFO",
        "message": "text",
        "filename": "file.py",
        "lineno": 1,
        "process": record.process,
        "run": "run1",
        "step": None,
        "rank": None,
        "node": "10.0.0.7",
    }
