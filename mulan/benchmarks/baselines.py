"""Reference implementations: the untiled loss, and a minimal training loop with PyTorch's data parallelism and Adam."""

from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.distributed.collectives import all_gather, all_gather_with_grad, all_reduce_sum, rank_and_world_size
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.tasks.joint import JointTask
from mulan.tasks.task import Task, task_of
from mulan.training.optimizer import adam
from mulan.training.step import weighted_sum


def untiled_loss(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor, texts: torch.Tensor | None = None
) -> torch.Tensor:
    """Computes MuLan's global loss of [B / W, d] rows on each of W processes, with the gradients of the tiled form.

    Only the gradient of the temperature has to be summed over the processes. Each process holds two matrices of
    B / W by B, and what autograd saves for their backward pass. Pairs whose ``texts``, int64 [B / W], are equal are no
    negatives of each other.
    """
    rank, workers = rank_and_world_size()
    own = torch.arange(len(audio), device=audio.device)

    def log_sum_of_negatives(anchors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        similarity = anchors @ others.T / temperature
        if texts is not None:
            similarity = similarity.masked_fill(texts[:, None] == all_gather(texts), -torch.inf)
        partners = (own, own + rank * len(own))
        return similarity.index_put(partners, similarity.new_tensor(-torch.inf)).logsumexp(dim=1)

    row = log_sum_of_negatives(audio, all_gather_with_grad(text))
    column = log_sum_of_negatives(text, all_gather_with_grad(audio))
    losses = torch.logaddexp(row, column) - (audio * text).sum(dim=1) / temperature
    local = losses.sum() / (len(audio) * workers)
    return local + (all_reduce_sum(local) - local.detach())


class BareLoop:
    """Runs one optimizer step per call, without gradient caching, checks, or metrics other than the loss.

    The gradients of a worker's micro-batches are accumulated, each with the loss of its own pairs (and those of its
    peers on the other workers): less work than the exact step, which needs a second forward pass.
    """

    def __init__(self, model: Any, recipe: Recipe, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        model = model.to(device).train()
        self._adam = adam(model, recipe.optim)
        # data parallelism averages the workers' gradients; a loss over all of their pairs needs the sum. The tiled
        # losses, all but MuLan's, return the whole gradient of temperature and bias on each worker: it counts W times
        task = task_of(recipe)
        self._task: Task = JointTask(recipe, contrastive=untiled_loss) if isinstance(task, JointTask) else task
        self._scale = rank_and_world_size()[1] if task.gradient_caching else 1
        self._module = DistributedDataParallel(model) if rank_and_world_size()[1] > 1 else model

    def __call__(self, batches: list[Batch]) -> float:
        for batch in batches:
            on_device = to_device(batch, self._device, text_groups=self._recipe.text_tower.length_groups)
            loss = self._loss(on_device)
            torch.autograd.backward(loss * self._scale / len(batches))
        torch.nn.utils.clip_grad_norm_(self._module.parameters(), self._recipe.optim.clipping_norm)
        self._adam.step()
        self._adam.zero_grad()
        return float(loss.detach())

    def _loss(self, batch: DeviceBatch) -> torch.Tensor:
        return weighted_sum(self._task.loss_terms(self._module(*batch.inputs), [batch]), self._task.weights)
