"""Kernels that give the same bits each time, on one kind of device.

PyTorch is told to take deterministic kernels and to refuse what has none (``torch.use_deterministic_algorithms``).
What that means for the operations of a step on a GPU, by the documentation and the binaries of torch 2.11:

* **Attention** (``scaled_dot_product_attention``): cuDNN's kernels, the first choice in bf16 on Hopper and Blackwell,
  are left out. Flash attention (bf16 without a mask: the spectrogram transformer) adds up the gradient of the queries
  in a fixed order, in more memory. Memory-efficient attention (float32, or with a mask: texts) no longer splits the
  keys of a head over blocks of threads, so that a small batch fills the GPU less.
* **Convolutions**: cuDNN chooses among its deterministic algorithms, and by rules instead of trials.
* **Matrix products**: the kernels are the same as without. torch gives cuBLAS a workspace for each stream, which makes
  them deterministic; since 2.10 it asks for no ``CUBLAS_WORKSPACE_CONFIG``, and none is set here.
* **Embedding**: the backward sorts the tokens in any case and costs the same.
* **Indexing** (``x[rows]``): the backward sorts in any case on GPUs; on CPUs one thread adds instead of all of them.
  ``index_copy``, ``scatter`` and the backward of ``gather`` are done by a sort, which takes time and memory.
* **Pooling**: max-pooling sums the gradient of each input in one thread in any case. Adaptive max-pooling has no
  deterministic backward, and the towers take ``amax`` instead; adaptive average-pooling to one value is a mean.
* **torch.compile**: Inductor takes fixed kernels and does without trials.

What stays as it is: TF32 and reduced-precision reductions, whose rounding belongs to the kind of device; and memory
that is not initialised, which torch would fill at a pass over every new tensor. No operation here reads such memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mulan.config.errors import MulanError


class NotDeterministic(MulanError):
    """A model has an operation without a deterministic kernel, where the recipe asks for such kernels alone."""


_REFUSED = " does not have a deterministic implementation"
"""Follows the operation's name where PyTorch refuses it."""


@contextmanager
def deterministic_kernels(on: bool) -> Iterator[None]:
    """Takes deterministic kernels within the block, in all threads of this process; leaves torch as it was before.

    Args:
        on: where not, nothing is changed.

    Raises:
        NotDeterministic: the block uses an operation that has no such kernel on its device; a warning instead would
            break the promise of equal bits where nobody looks.
    """
    if not on:
        yield
        return
    before = _settings()
    _set((True, False, False, False, True))
    try:
        yield
    except RuntimeError as error:
        if _REFUSED not in str(error):
            raise
        operation = str(error).partition(_REFUSED)[0].split("\n")[-1].strip()
        raise NotDeterministic(
            f"{operation} has no deterministic kernel on this device, and train.deterministic promises the same bits "
            "each time; take a model without that operation, or train under another --name with "
            "--set train.deterministic=false, whose results differ a little each time"
        ) from error
    finally:
        _set(before)


def _settings() -> tuple[bool, bool, bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )


def _set(settings: tuple[bool, bool, bool, bool, bool]) -> None:
    on, warn_only, fill, benchmark, cudnn = settings
    torch.use_deterministic_algorithms(on, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, cudnn
