"""Runs a job as one of several attempts, on clusters whose operator (KubeRay) retries failed jobs.

    python -m jobs.attempt jobs.train --recipe demo --data ... --storage ... --name run1

Exit code 2 means that no attempt can succeed, and 3 that somebody asked the run to stop. KubeRay does not see exit
codes and would start ``backoffLimit`` more clusters, but it treats a stopped job as complete, so after a 2 or 3 the
attempt has Ray stop its own job.
"""

import json
import os
import signal
import subprocess
import sys
import time

from mulan.config.errors import STOPPED, USER_ERROR

_STOP_LIMIT_S = 60
_FINAL = {USER_ERROR: "another attempt would fail in the same way", STOPPED: "the run was asked to stop"}
"""Exit codes after which there is no other attempt, and the reasons."""


def main() -> None:
    # Ray's stop signals all processes of the job; this one ends after the job, which prints how to resume
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_job)
    code = subprocess.call([sys.executable, "-m", *sys.argv[1:]])
    submission = _submission()
    if code in _FINAL and submission:
        print(
            f"exit code {code}: {_FINAL[code]}. Stopping this job, so that it is not retried.",
            flush=True,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        subprocess.call(["ray", "job", "stop", "--no-wait", submission])
        time.sleep(_STOP_LIMIT_S)  # if the job ended by itself first, it would count as failed
    sys.exit(code if code >= 0 else 128 - code)


def _leave_it_to_the_job(number: int, frame: object) -> None:
    pass


def _submission() -> str:
    """Returns the id of the Ray job whose entrypoint this process is; empty if there is none."""
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return str(config.get("metadata", {}).get("job_submission_id", ""))


if __name__ == "__main__":
    main()
