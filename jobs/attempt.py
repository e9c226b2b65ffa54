"""Runs a job as one attempt of many, on a cluster whose operator makes a new one after each attempt that failed.

    python -m jobs.attempt jobs.train --recipe demo --data ... --storage ... --name run1

An exit code of 2 says that no attempt can succeed: KubeRay, which knows no exit codes, would make ``backoffLimit`` more
clusters all the same. It takes a job that was stopped for complete, so after a 2 the attempt has Ray stop its own job.
"""

import json
import os
import signal
import subprocess
import sys
import time

from mulan.config.errors import USER_ERROR

_STOP_LIMIT_S = 60


def main() -> None:
    # Ray's stop reaches all processes of the job; this one ends after the job, which says how to go on
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_job)
    code = subprocess.call([sys.executable, "-m", *sys.argv[1:]])
    submission = _submission()
    if code == USER_ERROR and submission:
        print(
            f"exit code {USER_ERROR}: another attempt would end the same way. Ray is asked to stop this job, so that "
            "none is made.",
            flush=True,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        subprocess.call(["ray", "job", "stop", "--no-wait", submission])
        time.sleep(_STOP_LIMIT_S)  # a job that ends by itself first has failed, not stopped
    sys.exit(code if code >= 0 else 128 - code)


def _leave_it_to_the_job(number: int, frame: object) -> None:
    pass


def _submission() -> str:
    """The id of the Ray job that this process is the entrypoint of; empty for none."""
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return str(config.get("metadata", {}).get("job_submission_id", ""))


if __name__ == "__main__":
    main()
