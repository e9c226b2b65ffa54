"""Show and stop runs: python -m jobs.runs list|show|watch|compare|stop --storage URI

Reads only the runs' folders, from anywhere that can access the storage, and starts nothing; ``stop`` also writes a
request there. RUN is a name, or SWEEP/TRIAL, ABLATION/VARIANT. The exit code of ``watch`` is that of the run it has
watched: 0 finished, 1 failed or interrupted, 3 stopped.
"""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any

from rich.live import Live

from jobs import arguments
from jobs.arguments import CONSOLE
from mulan.config.errors import STOPPED, USER_ERROR, ErrorCollection, MulanError
from mulan.monitoring.driver import Driver, LeaseWatch
from mulan.monitoring.line_sample import LineSample
from mulan.monitoring.run_list import ABLATION, SWEEP, Listed, RunGroup, find, list_runs
from mulan.monitoring.status import RunState, RunStatus, run_status
from mulan.monitoring.stopping import NoDriver, stop_and_wait
from mulan.monitoring.terminal import RunsTable, status_line, status_view
from mulan.runs.run import RunError
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesTail, read_lines

LOCAL_PERIOD_S, REMOTE_PERIOD_S = 2.0, 10.0
"""Times between two looks of ``watch``, on a disk and in other storage."""
_LINE_PERIOD_S = 10.0
"""Minimum time between two lines about steps where the output is not a terminal."""
STOP_TIMEOUT_S = 300.0
_CODES = {RunState.FINISHED: 0, RunState.ENDED_EARLY: 0, RunState.STOPPED: STOPPED, RunState.DAMAGED: USER_ERROR}
"""Exit codes of ``watch``; 1 for all other states."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.runs", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|show|watch|compare|stop")
    for name, help_text in {
        "list": "all runs of a storage, and where each stands",
        "show": "one run with its curves, or the runs of a sweep or an ablation",
        "watch": "one run, until it ends",
        "compare": "a page with the differences of runs, their curves and their evaluations",
        "stop": "save a checkpoint at the next step and end; the same command as before resumes the run",
    }.items():
        _add_arguments(commands.add_parser(name, help=help_text, description=help_text), name)
    args = parser.parse_args()
    arguments.checked("--storage", args.storage)
    {"list": show_list, "show": show, "watch": watch, "compare": compare, "stop": stop}[args.command](args)


def _add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    parser.add_argument("--storage", metavar="URI", default="runs", help="folder of runs (default: %(default)s)")
    if command == "compare":
        parser.add_argument(
            "runs", metavar="RUN", nargs="+", help="names of the runs; the others are compared with the first"
        )
        parser.add_argument("--out", metavar="FILE.html", required=True, help="path or URI of the page")
    elif command != "list":
        parser.add_argument("run", metavar="RUN", help="name of the run")
    if command in ("list", "show"):
        parser.add_argument("--json", action="store_true", help="print JSON")
    if command == "stop":
        parser.add_argument(
            "--timeout",
            metavar="S",
            type=_seconds,
            default=STOP_TIMEOUT_S,
            help="seconds to wait for its end; 0 only asks (default: %(default)s)",
        )


def _seconds(text: str) -> float:
    value = float(text)  # argparse reports a ValueError
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{value} is not a number of seconds")
    return value


def show_list(args: argparse.Namespace) -> None:
    """Prints what is in a folder of runs."""
    listed = list_runs(args.storage)
    if args.json:
        print(json.dumps([_as_json(each) for each in listed], indent=2))
    elif listed:
        CONSOLE.print(RunsTable(listed, now=time.time()))
    else:
        CONSOLE.print(f"no runs in {filesystem.absolute(args.storage)}", soft_wrap=True)


def show(args: argparse.Namespace) -> None:
    """Prints a run with its curves, or the runs of a group."""
    found = find(args.storage, args.run)
    if args.json:
        print(json.dumps(_as_json(found), indent=2))
    elif isinstance(found, RunGroup):
        CONSOLE.print(RunsTable(found.runs, now=time.time()))
    elif found.state is RunState.DAMAGED:
        raise RunError(f"run {found.uri} is damaged: {found.reason}")
    else:
        run = found.run
        faults: list[MulanError] = []
        lines = _read_or_note(run.metrics_uri, faults)
        events = _read_or_note(run.events_uri, faults)
        score = run.recipe().selection_metric.name
        CONSOLE.print(status_view(found, lines, _texts(events), score=score, now=time.time()))
        for fault in faults:
            CONSOLE.print(str(fault), soft_wrap=True)


def watch(args: argparse.Namespace) -> None:
    """Shows a run until it ends, and exits with its code."""
    status = _single(find(args.storage, args.run))
    if status.state is RunState.DAMAGED:
        raise RunError(f"run {status.uri} is damaged: {status.reason}")
    run, lease = status.run, LeaseWatch()
    period_s = LOCAL_PERIOD_S if filesystem.is_local(run.uri) else REMOTE_PERIOD_S
    metrics, further = JsonLinesTail(run.metrics_uri), JsonLinesTail(run.events_uri)
    lines, events = LineSample(), list[str]()
    score = run.recipe().selection_metric.name
    with Live(console=CONSOLE, auto_refresh=False) if CONSOLE.is_terminal else nullcontext() as view:
        printed_s, printed_step = -_LINE_PERIOD_S, -1
        while True:
            lines.add(metrics.new_lines())
            new = _texts(further.new_lines())
            events = [*events, *new][-100:]
            is_last = status.state.is_over
            if view is not None:
                view.update(status_view(status, lines.lines, events, score=score, now=time.time()), refresh=True)
            else:
                for event in new if printed_step >= 0 else new[-3:]:
                    CONSOLE.print(f"{status.name}  {event}", soft_wrap=True)
                if is_last or (status.step != printed_step and time.monotonic() - printed_s >= _LINE_PERIOD_S):
                    CONSOLE.print(status_line(status), soft_wrap=True)
                    printed_s, printed_step = time.monotonic(), status.step
            if is_last:
                break
            time.sleep(period_s)
            with suppress(StorageError):  # it is looked at again, and the exit code is that of the run
                status = run_status(run, name=status.name, watch=lease)
    raise SystemExit(_CODES.get(status.state, 1))


def compare(args: argparse.Namespace) -> None:
    """Writes a page that compares runs."""
    out_uri = filesystem.absolute(arguments.checked("--out", args.out) or "")
    found, errors = dict[str, RunStatus](), ErrorCollection()
    for name in dict.fromkeys(args.runs):
        with errors.collecting():
            status = _single(find(args.storage, name))
            found.setdefault(status.name, status)  # a run may be named in several ways
    errors.raise_any()
    # imports matplotlib
    from mulan.monitoring.comparison import read_runs
    from mulan.monitoring.comparison_page import comparison_page

    page = comparison_page(read_runs(list(found.values())), now=time.time())
    filesystem.write_atomically(out_uri, page.encode())
    CONSOLE.print(f"comparison: {out_uri}", soft_wrap=True)


def stop(args: argparse.Namespace) -> None:
    """Asks a run, a sweep, or the running variants of an ablation to stop, and waits for their end."""
    found = find(args.storage, args.run)
    if isinstance(found, RunGroup) and found.kind == ABLATION:
        asked: Sequence[tuple[str, str]] = [(each.name, each.uri) for each in found.runs if not each.state.is_over]
        if not asked:
            raise NoDriver(f"ablation {found.uri} trains no variant; there is nothing to stop")
    else:
        asked = [(found.name, found.uri)]
    group, _, member = args.run.partition("/")
    parent = find(args.storage, group) if member else None
    if isinstance(parent, RunGroup) and parent.kind == SWEEP and parent.is_driven:
        raise RunError(f"{args.run} is a trial of a running sweep; stop the sweep: python -m jobs.runs stop {group}")
    for name, uri in asked:

        def say(driver: Driver, name: str = name) -> None:
            CONSOLE.print(f"{name}: asked {driver.describe()}, to stop", soft_wrap=True)

        stop_and_wait(uri, timeout_s=args.timeout, on_request=say)
        if args.timeout:
            ended = find(args.storage, name)
            at = f"{ended.state} at step {ended.saved_step}" if isinstance(ended, RunStatus) else "stopped"
            CONSOLE.print(f"{name}: {at}", soft_wrap=True)


def _single(found: RunStatus | RunGroup) -> RunStatus:
    if isinstance(found, RunGroup):
        names = ", ".join(each.name for each in found.runs[:5])
        raise RunError(f"{found.name} is of kind {found.kind}; name one of its runs: {names or 'it has none yet'}")
    return found


def _read_or_note(uri: str, faults: list[MulanError]) -> list[dict[str, Any]]:
    try:
        return read_lines(uri)
    except MulanError as error:  # a damaged line
        faults.append(error)
        return []


def _texts(events: Sequence[dict[str, Any]]) -> list[str]:
    return [filesystem.printable(str(line.get("event", "")))[:500] for line in events]


def _as_json(each: Listed) -> dict[str, Any]:
    kind = "run" if isinstance(each, RunStatus) else each.kind if isinstance(each, RunGroup) else "other"
    return {"kind": kind, **asdict(each)}


if __name__ == "__main__":
    arguments.end(main, repeated="shows the runs again")
