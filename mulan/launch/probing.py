"""Runs the checks of all nodes of a cluster, each in a task of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.launch.capacity import Node
from mulan.launch.probe import NodeRequirements, run_checks
from mulan.private_ray.core import TYPE_LABEL


@dataclass(frozen=True)
class Problem:
    """A problem of a cluster."""

    where: str
    """The node that has the problem; empty for the whole cluster."""
    text: str
    permanent: bool = True
    """True if another attempt would meet the same problem."""


def probe_nodes(nodes: Sequence[tuple[Node, NodeRequirements]], *, limit_s: float) -> tuple[list[Problem], list[str]]:
    """Checks all nodes concurrently. A node that is lost meanwhile has no problem.

    Returns:
        The problems, and one line for each node that could not be checked.
    """
    pending = {_start(node, required): (node, list(required.checks())) for node, required in nodes}
    problems: list[Problem] = []
    begun: set[str] = set()
    deadline = time.monotonic() + limit_s
    while pending and (ready := ray.wait(list(pending), timeout=max(0.0, deadline - time.monotonic()))[0]):
        for answers in ready:
            node, checks = pending[answers]
            begun.add(node.node_id)
            try:
                check, problem, permanent = ray.get(next(answers))
                checks.remove(check)
                if problem is not None:
                    problems.append(Problem(node_name(node), f"{check}: {problem}", permanent))
            except StopIteration:
                del pending[answers]
            except (NodeDiedError, TaskUnschedulableError, WorkerCrashedError):
                del pending[answers]
            except RayError as error:
                del pending[answers]
                problems.append(Problem(node_name(node), _describe_error(error)))
    unchecked = []
    for answers, (node, checks) in pending.items():
        ray.cancel(answers, force=True)
        if node.node_id not in begun:
            unchecked.append(f"{node_name(node)} could not be checked: no process started there within {limit_s:.0f} s")
        elif checks:
            problems.append(Problem(node_name(node), f"{checks[0]}: no answer within {limit_s:.0f} s", permanent=False))
    return problems, unchecked


def _start(node: Node, required: NodeRequirements) -> "ray.ObjectRefGenerator":
    on_node = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    answers: ray.ObjectRefGenerator = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=on_node)(
        run_checks
    ).remote(required)
    return answers


def node_name(node: Node) -> str:
    """Returns the name of a node for messages: its type or pool, and its address."""
    kind = node.labels.get(TYPE_LABEL) or node.labels.get("pool") or ("head" if node.is_head else "")
    return f"{kind} node {node.address}".strip()


def _describe_error(error: RayError) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"cannot be checked: {type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
