"""What a trace of PyTorch's profiler says about a step on a GPU: attention kernels, copies from the host, host waits.

The trace is that of :class:`mulan.instrumentation.profiler.StepProfiler`, whose steps are annotated. The benchmark
waits for the device before and after each, so it also annotates what the step itself does (:data:`OWN`).
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mulan.instrumentation.trace import STEP, Intervals

OWN = "the step itself"
"""Name of the annotation, within that of a step, of what training does too."""

_ATTENTION_OPERATOR = "aten::_scaled_dot_product_"
_ATTENTION_KERNEL = re.compile(r"flash|fmha|attention|sdpa", re.IGNORECASE)
"""Kernels of flash attention, of memory-efficient attention (CUTLASS's fmha) and of cuDNN's attention."""
_FUSED = "triton_"
"""Prefix of elementwise kernels of ``torch.compile``, which are named after operators beside which they run."""
_FROM_HOST = "HtoD"
_WAITS = {
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
    "cudaStreamSynchronize",
    "cuCtxSynchronize",
    "cuEventSynchronize",
    "cuStreamSynchronize",
    "cudaMemcpy",  # cudaMemcpyAsync does not wait by itself: after it, cudaStreamSynchronize does
    "cudaFree",
}
"""Calls of CUDA in which the host waits for the device."""


@dataclass(frozen=True)
class TraceFigures:
    """The figures of a trace. Without a GPU, only ``steps``, ``step_s`` and ``operators`` are not zero or empty."""

    steps: int
    """Number of steps."""
    step_s: float
    """Total duration of the steps on the host, in seconds."""
    operators: Mapping[str, int]
    """Number of calls of each attention operator, which shows the implementation that PyTorch chose."""
    kernels_s: float
    """Time in which any kernel ran, in seconds."""
    attention_s: Mapping[str, float]
    """Seconds of each attention kernel, the longest first, by a short name."""
    copies_s: float
    """Time in which memory was copied from the host to the device, in seconds."""
    overlapped_s: float
    """The part of ``copies_s`` in which a kernel ran."""
    waits: Mapping[str, int]
    """Number of calls of the steps themselves in which the host waited for the device, by function of CUDA."""


def read_figures(file: str) -> TraceFigures:
    """Returns the figures of a trace, a local JSON file compressed by gzip."""
    with gzip.open(file, "rt", encoding="utf-8") as trace:
        return figures_of(json.load(trace)["traceEvents"])


def figures_of(events: Iterable[Mapping[str, Any]]) -> TraceFigures:
    """Returns the figures of the events of a trace; their times are in microseconds."""
    by_category: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("ph") == "X":
            by_category[event.get("cat", "")].append(event)
    steps = [event for event in by_category["user_annotation"] if event["name"].startswith(STEP)]
    own = [event for event in by_category["user_annotation"] if event["name"] == OWN]
    kernels = by_category["kernel"]
    copies = [event for event in by_category["gpu_memcpy"] if _FROM_HOST in event["name"]]
    computing, copying = Intervals.of(kernels), Intervals.of(copies)
    kernels_s, copies_s, either_s = (_seconds(one) for one in (computing, copying, computing | copying))
    attention_s: dict[str, float] = defaultdict(float)
    for event in kernels:
        if _ATTENTION_KERNEL.search(event["name"]) and not event["name"].startswith(_FUSED):
            attention_s[short_name(event["name"])] += event["dur"] / 1e6
    operators = Counter(event["name"] for event in by_category["cpu_op"] if _is_attention(event["name"]))
    calls = [*by_category["cuda_runtime"], *by_category["cuda_driver"]]
    waits = Counter(event["name"] for event in calls if event["name"] in _WAITS and _is_within(event, own))
    return TraceFigures(
        steps=len(steps),
        step_s=sum(event["dur"] for event in steps) / 1e6,
        operators=dict(operators),
        kernels_s=kernels_s,
        attention_s=dict(sorted(attention_s.items(), key=lambda item: -item[1])),
        copies_s=copies_s,
        overlapped_s=kernels_s + copies_s - either_s,
        waits=dict(waits),
    )


def short_name(kernel: str) -> str:
    """Returns the name of a kernel without its return type, template arguments and parameters.

    Example:
        >>> short_name("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128> >(Flash_fwd_params)")
        'pytorch_flash::flash_fwd_kernel'
    """
    return re.split(r"[<(]", kernel.removeprefix("void "), maxsplit=1)[0].strip()


def _is_attention(operator: str) -> bool:
    return operator.startswith(_ATTENTION_OPERATOR)


def _seconds(intervals: Intervals) -> float:
    return intervals.within(float("-inf"), float("inf")) / 1e6


def _is_within(event: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> bool:
    return any(window["ts"] <= event["ts"] < window["ts"] + window["dur"] for window in windows)
