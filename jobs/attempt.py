"""Runs a job as one of several attempts, on clusters whose operator (KubeRay) retries failed jobs.

    python -m jobs.attempt jobs.train --recipe demo --data ... --storage ... --name run1

With ``--check-first`` before the job, it first runs with ``--dry-run``, and ends there if that fails.

Exit code 2 means that no attempt can succeed, and 3 that somebody asked the run to stop. KubeRay does not see exit
codes and would start ``backoffLimit`` more clusters, but it treats a stopped job as complete, so after a 2 or 3 the
attempt has Ray stop its own job. A module that does not exist counts as a 2.
"""

import json
import os
import signal
import subprocess
import sys
import time

from mulan.config.errors import USER_ERROR
from mulan.submission.attempts import FINAL, exit_code
from mulan.submission.command import DRY_RUN
from mulan.submission.modules import fault_of_module

CHECK_FIRST = "--check-first"
_STOP_LIMIT_S = 60


def main() -> None:
    # Ray's stop signals all processes of the job; this one ends after the job, which prints how to resume
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_job)
    check_first = sys.argv[1:2] == [CHECK_FIRST]
    words = sys.argv[2 if check_first else 1 :]
    fault = fault_of_module(words[0]) if words else "give the module of a job, such as jobs.train"
    if fault:
        print(f"error: jobs.attempt: {fault}", file=sys.stderr, flush=True)
    code = USER_ERROR if fault else _run([sys.executable, "-m", *words], check_first=check_first)
    submission = _submission()
    if code in FINAL and submission:
        print(f"{FINAL[code]} Stopping this job, so that it is not retried.", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        subprocess.call(["ray", "job", "stop", "--no-wait", submission])
        time.sleep(_STOP_LIMIT_S)  # if the job ended by itself first, it would count as failed
    sys.exit(exit_code(code))


def _run(job: list[str], *, check_first: bool) -> int:
    """Runs the job, after its check if that is wanted and if it passes; returns the exit code."""
    code = subprocess.call([*job, DRY_RUN], stdout=subprocess.DEVNULL) if check_first else 0
    return code or subprocess.call(job)


def _leave_it_to_the_job(number: int, frame: object) -> None:
    pass


def _submission() -> str:
    """Returns the id of the Ray job whose entrypoint this process is; empty if there is none."""
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return str(config.get("metadata", {}).get("job_submission_id", ""))


if __name__ == "__main__":
    main()
