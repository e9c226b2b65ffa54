"""The loop that one would write first: the same towers, PyTorch's own data parallelism and optimizer, no more."""

from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.distributed.collectives import all_gather_with_grad, all_reduce_sum, rank_and_world_size
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.objectives.objective import weighted_sum
from mulan.tasks.joint import JointTask
from mulan.tasks.task import Task, task_of
from mulan.training.optimizer import adam


def untiled_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """The global loss of [B / W, d] rows on each of W processes, with the gradients of the tiled form; but that of the
    temperature must be summed over the processes.

    Each process holds two matrices of B / W by B, and what autograd keeps of them.
    """
    rank, workers = rank_and_world_size()
    own = torch.arange(len(audio), device=audio.device)

    def log_sum_of_negatives(anchors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        similarity = anchors @ others.T / temperature
        partners = (own, own + rank * len(own))
        return similarity.index_put(partners, similarity.new_tensor(-torch.inf)).logsumexp(dim=1)

    row = log_sum_of_negatives(audio, all_gather_with_grad(text))
    column = log_sum_of_negatives(text, all_gather_with_grad(audio))
    losses = torch.logaddexp(row, column) - (audio * text).sum(dim=1) / temperature
    mine = losses.sum() / (len(audio) * workers)
    return mine + (all_reduce_sum(mine) - mine.detach())


class BareLoop:
    """One optimizer step a call. No gradient caching, no checks, no metrics but the loss.

    With several micro-batches a worker their gradients are accumulated, each with the loss of its own pairs (and its
    peers' on the other workers): less work than the exact step, which needs a second forward.
    """

    def __init__(self, model: Any, recipe: Recipe, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        model = model.to(device).train()
        self._adam = adam(model, recipe.optim)
        # data parallelism takes the mean of the workers' gradients; a loss over all of their pairs needs the sum
        task = task_of(recipe)
        self._task: Task = JointTask(recipe, contrastive=untiled_loss) if isinstance(task, JointTask) else task
        self._scale = rank_and_world_size()[1] if task.gradient_caching else 1
        self._module = DistributedDataParallel(model) if rank_and_world_size()[1] > 1 else model

    def __call__(self, batches: list[Batch]) -> float:
        for batch in batches:
            on_device = to_device(batch, self._device, text_groups=self._recipe.text_tower.length_groups)
            loss = self._loss(on_device)
            torch.autograd.backward(loss * self._scale / len(batches))
        torch.nn.utils.clip_grad_norm_(self._module.parameters(), self._recipe.optim.max_grad_norm)
        self._adam.step()
        self._adam.zero_grad()
        return float(loss.detach())

    def _loss(self, batch: DeviceBatch) -> torch.Tensor:
        return weighted_sum(self._task.loss_terms(self._module(*batch.inputs), [batch]), self._task.weights)
