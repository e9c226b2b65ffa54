"""What a forward keeps for its backward, counted without computing anything, so that any machine can tell of a GPU."""

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.bert.modeling_bert import BertSelfAttention

from mulan.benchmarks.drawn import drawn_batch, model_to_measure
from mulan.config.recipe import Recipe
from mulan.model.device_batch import to_device
from mulan.model.joint import JointModel


def extra_memory_mb(run: Callable[[], object], *, device: str) -> float:
    """The peak of this process's memory while ``run`` runs, over what it held before, in MB (10^6 bytes).

    On a CPU it is resident memory, which Linux keeps the peak of; on CUDA it is what PyTorch's allocator handed out.
    What the process used once and let go of would hide an allocation that takes its place, so on a CPU it is
    handed back first.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    _hand_back()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far becomes what is held now (man 5 proc)
    before = _kilobytes("/proc/self/status", "VmHWM")
    run()
    return (_kilobytes("/proc/self/status", "VmHWM") - before) * 1024 / 1e6


def held_memory_mb() -> float:
    """This process's resident memory, without what it has let go of, in MB."""
    _hand_back()
    return _kilobytes("/proc/self/status", "VmRSS") * 1024 / 1e6


def free_memory_mb(*, device: str) -> float:
    """What can still be allocated on the machine or the GPU, in MB."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] / 1e6
    return _kilobytes("/proc/meminfo", "MemAvailable") * 1024 / 1e6


def _hand_back() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _kilobytes(file: str, name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path(file).read_text().splitlines())
    return int(lines[name].split()[0])


def kept_bytes(forward: Callable[[], Any]) -> int:
    """Bytes that the graph of ``forward()`` holds, each storage counted once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in kept.values())


def activation_bytes(recipe: Recipe) -> dict[str, float]:
    """Bytes kept for each further window (``audio``) and each further text of full length (``text``).

    The difference between three and two of them: what is kept once, the weights and their casts, is not counted.
    Attention is counted as the fused kernels of GPUs do it, which keep no attention matrix: without dropout, CPUs too.
    """
    model = model_to_measure(recipe).train()
    for module in model.modules():
        if isinstance(module, BertSelfAttention):
            module.dropout.p = 0.0
    sizes: dict[str, list[int]] = {"audio": [], "text": []}
    for count in (2, 3):
        part = recipe.replace({"batch.pairs_per_micro_batch": count})
        host = drawn_batch(part, step=0, micro_batch=0, tokens=recipe.text_tower.max_tokens)
        batch = to_device(host, torch.device("cpu"), text_groups=1)
        with FakeTensorMode(allow_non_fake_inputs=True):
            sizes["audio"].append(kept_bytes(partial(model.audio_encoder, batch.waveform.flatten(0, 1))))
            if isinstance(model, JointModel):
                sizes["text"].append(kept_bytes(partial(model.embed_text, batch.token_ids, batch.attention_mask)))
    return {name: float(both[1] - both[0]) for name, both in sizes.items() if both}
