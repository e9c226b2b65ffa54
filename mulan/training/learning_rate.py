"""The learning rate as a pure function of the step."""

from mulan.config.sections import Optim


def learning_rate(optim: Optim, steps_done: int) -> float:
    """Linear warm-up to ``lr``, then steps down by ``decay_factor`` every ``decay_every_steps`` (MuLan §4)."""
    warmup = min(1.0, (steps_done + 1) / (optim.warmup_steps + 1))
    return optim.lr * warmup * optim.decay_factor ** (steps_done // optim.decay_every_steps)
