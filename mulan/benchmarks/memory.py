"""Memory of processes, and of activations on a GPU, counted with fake tensors on any machine."""

import ctypes
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.bert.modeling_bert import BertSelfAttention

from mulan.benchmarks.synthetic import model_to_measure, synthetic_batch
from mulan.config.recipe import Recipe
from mulan.model.device_batch import to_device
from mulan.model.joint import JointModel


def extra_memory_mb(run: Callable[[], object], *, device: str) -> float:
    """Measures the peak memory of a call in addition to the memory before it, in MB (10^6 bytes).

    On a CPU it is the peak of resident memory that Linux records, on CUDA that of PyTorch's allocator. On a CPU freed
    memory is returned to the system first, since new allocations that reuse it would not be counted.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    _return_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current memory (man 5 proc)
    before = _kilobytes("/proc/self/status", "VmHWM")
    run()
    return (_kilobytes("/proc/self/status", "VmHWM") - before) * 1024 / 1e6


def held_memory_mb() -> float:
    """Returns the resident memory of this process without freed memory, in MB."""
    _return_freed_memory()
    return _kilobytes("/proc/self/status", "VmRSS") * 1024 / 1e6


def free_memory_mb(*, device: str) -> float:
    """Returns the available memory of the machine or the GPU, in MB."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] / 1e6
    return _kilobytes("/proc/meminfo", "MemAvailable") * 1024 / 1e6


def limit_memory(extra_mb: float) -> None:
    """Limits the memory that this process may allocate in addition to what it has, in MB; PyTorch raises beyond it."""
    limit = int(_kilobytes("/proc/self/status", "VmData") * 1024 + extra_mb * 1e6)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _return_freed_memory() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _kilobytes(file: str, name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path(file).read_text().splitlines())
    return int(lines[name].split()[0])


def saved_bytes(forward: Callable[[], Any]) -> int:
    """Returns the bytes that the graph of ``forward()`` saves for the backward pass, counting each storage once."""
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in saved.values())


def activation_bytes(recipe: Recipe) -> dict[str, float]:
    """Returns the activation bytes per window (``audio``) and per text of full length (``text``).

    They are the difference between three and two items, which excludes weights and their casts. Attention is counted as
    in fused GPU kernels, which save no attention matrix; without dropout, those of CPUs do not either.
    """
    model = model_to_measure(recipe).train()
    if model.audio_encoder.augmentation is not None:
        model.audio_encoder.augmentation.eval()  # it saves nothing, and its draws need real tensors
    for module in model.modules():
        if isinstance(module, BertSelfAttention):
            module.dropout.p = 0.0
    sizes: dict[str, list[int]] = {"audio": [], "text": []}
    for count in (2, 3):
        part = recipe.replace({"batch.pairs_per_micro_batch": count})
        host = synthetic_batch(part, step=0, micro_batch=0, tokens=recipe.text_tower.max_tokens)
        batch = to_device(host, torch.device("cpu"), text_groups=1)
        with FakeTensorMode(allow_non_fake_inputs=True):
            sizes["audio"].append(saved_bytes(partial(model.audio_encoder, batch.waveform)))
            if isinstance(model, JointModel):
                sizes["text"].append(saved_bytes(partial(model.embed_text, batch.token_ids, batch.attention_mask)))
    return {name: float(both[1] - both[0]) for name, both in sizes.items() if both}


BYTES_OF_A_PARAMETER = 24
"""A float32 parameter, its gradient and two moments of Adam, 4 bytes each, and the exact sum of gradients, 8 bytes."""


def calculated_bytes(recipe: Recipe) -> float:
    """Returns the peak memory of one GPU that trains a recipe by gradient caching alone, as its docstring calculates.

    It is that of the parameters and their optimizer, the activations of one micro-batch whose texts all have the full
    length, the waveforms of the batch in int16, and the embeddings with their gradients: an upper bound without
    workspaces of libraries and the fragmentation of memory.
    """
    activations = sum(activation_bytes(recipe).values()) * recipe.batch.pairs_per_micro_batch
    parameters = sum(parameter.numel() for parameter in model_to_measure(recipe).parameters())
    waveforms = 2 * recipe.batch.pairs * recipe.views * recipe.data.window_samples
    embeddings = 4 * 4 * recipe.batch.pairs * recipe.embedding_dim
    return BYTES_OF_A_PARAMETER * parameters + activations + waveforms + embeddings
