"""What a forward keeps for its backward, counted: nothing of it depends on the device, so a CPU can tell of a GPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.bert.modeling_bert import BertSelfAttention

from mulan.benchmarks.drawn import drawn_batch, model_to_measure
from mulan.config.recipe import Recipe
from mulan.model.joint import JointModel
from mulan.training.transfer import to_device


def kept_bytes(forward: Callable[[], Any], module: torch.nn.Module) -> int:
    """Bytes that the graph of ``forward()`` holds, less those of the module's own parameters and buffers."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, torch.Tensor] = {}  # the tensors too: a freed one's address may be given to another

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def activation_bytes(recipe: Recipe) -> dict[str, float]:
    """Bytes kept for each further window (``audio``) and each further text of full length (``text``).

    The difference between three and two of them: what is kept once, such as weights cast to bf16, is not counted.
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
        waveform = batch.waveform.flatten(0, 1)
        sizes["audio"].append(kept_bytes(lambda: model.audio_encoder(waveform), model))  # noqa: B023
        if isinstance(model, JointModel):
            ids, mask = batch.token_ids, batch.attention_mask
            sizes["text"].append(kept_bytes(lambda: model.embed_text(ids, mask), model))  # noqa: B023
    return {name: float(both[1] - both[0]) for name, both in sizes.items() if both}
