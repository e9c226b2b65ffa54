"""What a forward keeps for its backward, counted without computing anything, so that any machine can tell of a GPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.bert.modeling_bert import BertSelfAttention

from mulan.benchmarks.drawn import drawn_batch, model_to_measure
from mulan.config.recipe import Recipe
from mulan.model.joint import JointModel
from mulan.training.transfer import to_device


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
        section = recipe.batch.model_copy(update={"pairs_per_micro_batch": count})
        part = recipe.model_copy(update={"batch": section})
        host = drawn_batch(part, step=0, micro_batch=0, tokens=recipe.text_tower.max_tokens)
        batch = to_device(host, torch.device("cpu"), text_groups=1)
        with FakeTensorMode(allow_non_fake_inputs=True):
            sizes["audio"].append(kept_bytes(partial(model.audio_encoder, batch.waveform.flatten(0, 1))))
            if isinstance(model, JointModel):
                sizes["text"].append(kept_bytes(partial(model.embed_text, batch.token_ids, batch.attention_mask)))
    return {name: float(both[1] - both[0]) for name, both in sizes.items() if both}
