"""Submit a job to a cluster and follow it to its end: python -m jobs.submit --to TARGET -- python -m jobs.train ...

The target is Ray's job server (ray://HOST), a file of Ray's cluster launcher, or a namespace with KubeRay. The command
is checked there first, its log is printed, and its exit code is that of this command. After exit code 1, or when its
machine was lost, it is submitted again. An interruption stops the job.
"""

import argparse
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs import arguments
from mulan.config.errors import ErrorCollection
from mulan.config.paths import redacted
from mulan.storage.filesystem import printable
from mulan.submission.command import DRY_RUN, parsed_command, parsed_variables
from mulan.submission.errors import SubmissionError
from mulan.submission.interrupts import interrupts
from mulan.submission.kubernetes_names import MAX_INT
from mulan.submission.manifest import MANIFEST, load_manifest, rayjob_of, text_of, zones_note
from mulan.submission.modules import check_module
from mulan.submission.package import Package, packed
from mulan.submission.request import Submission
from mulan.submission.target import FORMS, JobServer, KubeRay, Launcher, Target, parsed_target
from mulan.submission.values import load_values

MAX_PACKAGE_MIB = 100.0
MAX_PACKAGE_MIB_OF_RAY = 500.0
"""The size up to which Ray takes a package."""


def parsed_arguments(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the arguments before ``--``, and the command after it."""
    parser = argparse.ArgumentParser(
        prog="jobs.submit",
        description=__doc__.split("\n")[0],
        usage="%(prog)s --to TARGET [options] -- COMMAND",
    )
    parser.add_argument("--to", metavar="TARGET", required=True, help=FORMS)
    parser.add_argument(
        "--working-dir",
        metavar="DIR",
        type=Path,
        help="folder that is packed as the command's working folder, without what .gitignore ignores, caches and "
        "secrets (default: only files that the command names below the current folder)",
    )
    parser.add_argument(
        "--max-package-mib",
        metavar="MIB",
        type=float,
        default=MAX_PACKAGE_MIB,
        help="limit of the packed files (default: %(default)g; KubeRay: at most 1 MB packed)",
    )
    parser.add_argument(
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="environment variable of the job, by default with the value that it has here; may be repeated",
    )
    parser.add_argument(
        "--retries", metavar="N", type=int, default=10, help="further attempts after exit code 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--pause-s",
        metavar="S",
        type=float,
        default=30.0,
        help="pause before each in seconds, except on KubeRay (default: %(default)g)",
    )
    parser.add_argument("--no-preflight", action="store_true", help="do not run the command with --dry-run first")
    parser.add_argument(
        "--detach", action="store_true", help="return once the job is submitted; only KubeRay retries it then"
    )
    parser.add_argument("--start", action="store_true", help="start the launcher's cluster if it is not up")
    parser.add_argument("--values", metavar="FILE", type=Path, help="TOML or YAML file with the values of KubeRay jobs")
    parser.add_argument(
        "--manifest", metavar="FILE", type=Path, help="RayJob to start from (default: cluster/rayjob.yaml)"
    )
    parser.add_argument("--print", action="store_true", dest="prints", help="print the RayJob, and submit nothing")
    end = words.index("--") if "--" in words else len(words)
    args, others = parser.parse_known_args(words[:end])
    if others:
        parser.error(unknown(others))
    return args, list(words[end:])


def unknown(words: Sequence[str]) -> str:
    """Returns what is wrong with arguments before ``--`` that are no options."""
    shown = redacted(shlex.join(words))
    if not words[0].startswith("-"):
        return f"the command comes after --: jobs.submit --to TARGET [options] -- {shown}"
    if words[0] == DRY_RUN:
        return f"{DRY_RUN} is an option of the command, after --, with which the cluster checks it first anyway"
    return f"unknown options: {shown}; those of the command come after --"


def main() -> None:
    args, words = parsed_arguments(sys.argv[1:])
    try:
        code = submit(args, words)
    except KeyboardInterrupt:  # its message would repeat the values of --env
        say("interrupted; a job that was submitted is left as it is")
        code = 130
    sys.exit(code)


def submit(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Submits what a command line requests; returns its exit code.

    Raises:
        MulanError: The request is not valid, or the cluster refuses it or does not answer.
    """
    errors = ErrorCollection()
    with errors.collecting():
        target = parsed_target(args.to)
        check_options(args, target)
    with errors.collecting():
        variables = parsed_variables(args.env, os.environ)
    with errors.collecting():
        values = load_values(args.values)
    with errors.collecting():
        command = parsed_command(words)
        with errors.collecting():
            check_module(command, args.working_dir)
        package, notes = packed(command, folder=args.working_dir, max_mib=args.max_package_mib)
    errors.raise_any()
    for note in notes:
        say(note)
    check_first = command.can_be_checked and not args.no_preflight
    submission = Submission(command, package, variables, check_first, args.retries, args.pause_s)
    if isinstance(target, JobServer):
        return submit_to_server(target.url, submission, detach=args.detach)
    if isinstance(target, Launcher):
        return submit_to_launcher(target.file, submission, start_it=args.start, detach=args.detach)
    base = load_manifest(args.manifest or MANIFEST)
    manifest, *further = rayjob_of(submission, base, values)
    if note := zones_note(manifest):
        say(note)
    if args.prints:
        for name in filter(None, further):
            say(f"{name}, which the RayJob uses, would be created too")
        print(text_of(manifest), end="")
        return 0
    from mulan.submission.kuberay import KubeRaySubmission
    from mulan.submission.kubernetes_api import KubernetesApi

    api = KubernetesApi(target.namespace, context=values.context)
    say_packed(package)
    with interrupts() as interrupted:
        to_kuberay = KubeRaySubmission(api, submission, base, values, write=write, say=say, interrupted=interrupted)
        return ended(to_kuberay.run, to_kuberay.detach, detach=args.detach)


def submit_to_launcher(file: Path, submission: Submission, *, start_it: bool, detach: bool) -> int:
    """Submits to the cluster of a launcher file, whose job server is reached through a forwarded port."""
    from mulan.submission.launcher import cluster_name, forwarding, forwarding_command, free_port, head_of, start

    if head_of(file) is None:
        if not start_it:
            raise SubmissionError([f"cluster {cluster_name(file)} is not up: start it by --start, or by ray up {file}"])
        start(file)
    port = free_port()
    with forwarding(forwarding_command(file, port), port) as url:
        if detach:
            say(f"to reach the cluster later, keep running: ray dashboard {file}")
        return submit_to_server(url, submission, detach=detach, later_url="http://127.0.0.1:8265")


def submit_to_server(url: str, submission: Submission, *, detach: bool, later_url: str = "") -> int:
    """Submits to a job server."""
    from mulan.submission.job_server import JobServerClient
    from mulan.submission.ray_submission import RaySubmission

    server = JobServerClient(url)
    say_packed(submission.package)
    with interrupts() as interrupted:
        to_ray = RaySubmission(server, submission, write=write, say=say, interrupted=interrupted, later_url=later_url)
        return ended(to_ray.run, to_ray.detach, detach=detach)


def ended(run: Callable[[], int], leave: Callable[[], None], *, detach: bool) -> int:
    """Runs a submission to its end, or only submits it; returns the exit code."""
    if not detach:
        return run()
    leave()
    return 0


def check_options(args: argparse.Namespace, target: Target) -> None:
    """Checks that the options belong to the target, and their ranges.

    Raises:
        SubmissionError: An option does not; lists all faults.
    """
    of_kuberay = {"--values": args.values, "--manifest": args.manifest, "--print": args.prints}
    faults = [
        f"{flag} is an option of --to kuberay:NAMESPACE"
        for flag, given in of_kuberay.items()
        if given and not isinstance(target, KubeRay)
    ]
    if args.start and not isinstance(target, Launcher):
        faults.append("--start is an option of --to with a launcher file")
    if args.prints and args.detach:
        faults.append("--print submits nothing, so that --detach has no meaning")
    if not 0 <= args.retries <= MAX_INT:  # for every target, so that they are exchangeable
        faults.append(f"--retries {args.retries}: must be between 0 and {MAX_INT}")
    if not 0 <= args.pause_s < math.inf:
        faults.append(f"--pause-s {args.pause_s:g}: must be a finite number that is not negative")
    if not 0 < args.max_package_mib <= MAX_PACKAGE_MIB_OF_RAY:
        faults.append(f"--max-package-mib {args.max_package_mib:g}: must be between 0 and {MAX_PACKAGE_MIB_OF_RAY:g}")
    if faults:
        raise SubmissionError(faults)


def say_packed(package: Package | None) -> None:
    """Prints what is packed."""
    if package is not None:
        count = len(package.paths)
        shown = ", ".join(map(str, package.paths[:5])) + (f" and {count - 5} more" if count > 5 else "")
        say(f"packed {len(package.content):,} bytes: {shown}")


def say(line: str) -> None:
    """Prints a line about the submission, apart from the log of the job."""
    print(f"submit  {printable(line)}", file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Prints text of the job's log as it is."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="backslashreplace").decode(encoding))
    sys.stdout.flush()


if __name__ == "__main__":
    arguments.end(main)
