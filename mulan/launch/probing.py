"""Nodes are asked what they have, each by a task of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mulan.launch.capacity import Node
from mulan.launch.probe import Asked, look
from mulan.private_ray.core import TYPE_LABEL


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a cluster."""

    where: str
    """A node or, empty, the whole cluster."""
    text: str
    lasting: bool = True
    """Whether another attempt would find the same."""


def probed(nodes: Sequence[tuple[Node, Asked]], *, limit_s: float) -> tuple[list[Fault], list[str]]:
    """Asks nodes what they have, all at once; a node that is lost meanwhile has no fault.

    Returns:
        what is wrong, and which nodes could not be asked, a line each.
    """
    left = {_start(node, asked): (node, list(asked.checks())) for node, asked in nodes}
    faults: list[Fault] = []
    begun: set[str] = set()
    deadline = time.monotonic() + limit_s
    while left and (ready := ray.wait(list(left), timeout=max(0.0, deadline - time.monotonic()))[0]):
        for answers in ready:
            node, checks = left[answers]
            begun.add(node.node_id)
            try:
                what, fault, lasting = ray.get(next(answers))
                checks.remove(what)
                if fault is not None:
                    faults.append(Fault(name_of(node), f"{what}: {fault}", lasting))
            except StopIteration:
                del left[answers]
            except (NodeDiedError, TaskUnschedulableError, WorkerCrashedError):
                del left[answers]
            except RayError as error:
                del left[answers]
                faults.append(Fault(name_of(node), _in_words(error)))
    unseen = []
    for answers, (node, checks) in left.items():
        ray.cancel(answers, force=True)
        if node.node_id not in begun:
            unseen.append(f"{name_of(node)} could not be looked at: no process has started there in {limit_s:.0f} s")
        elif checks:
            faults.append(Fault(name_of(node), f"{checks[0]}: no answer in {limit_s:.0f} s", lasting=False))
    return faults, unseen


def _start(node: Node, asked: Asked) -> "ray.ObjectRefGenerator":
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    answers: ray.ObjectRefGenerator = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(look).remote(
        asked
    )
    return answers


def name_of(node: Node) -> str:
    """A node as an operator knows it."""
    kind = node.labels.get(TYPE_LABEL) or node.labels.get("pool") or ("head" if node.is_head else "")
    return f"{kind} node {node.address}".strip()


def _in_words(error: RayError) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"cannot be looked at: {type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
