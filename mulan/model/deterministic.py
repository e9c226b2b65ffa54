"""Deterministic kernels, which return the same bits every time on devices of the same kind.

PyTorch uses deterministic kernels, and raises for operations without one (``torch.use_deterministic_algorithms``).
The consequences for the operations of a step on a GPU, according to the documentation and binaries of torch 2.11:

* **Attention** (``scaled_dot_product_attention``): cuDNN's kernels, the first choice in bf16 on Hopper and Blackwell,
  are not used. Flash attention (bf16 without a mask: the spectrogram transformer) adds the gradient of the queries in a
  fixed order, with more memory. Memory-efficient attention (float32, or with a mask: texts) no longer splits the keys
  of a head over thread blocks, so that a small batch utilises the GPU less.
* **Convolutions**: cuDNN chooses among its deterministic algorithms, by heuristics instead of benchmarks.
* **Matrix products**: the usual kernels. torch gives cuBLAS a workspace for each stream, which makes them
  deterministic; since 2.10 it requires no ``CUBLAS_WORKSPACE_CONFIG``, and none is set here.
* **Embedding**: the backward pass sorts the tokens in any case, at the same cost.
* **Indexing** (``x[rows]``): the backward pass sorts in any case on GPUs; on CPUs a single thread adds.
  ``index_copy``, ``scatter`` and the backward pass of ``gather`` use a sort, which takes time and memory.
* **Pooling**: max-pooling sums the gradient of each input in one thread in any case. Adaptive max-pooling has no
  deterministic backward pass, so the towers use ``amax``; adaptive average-pooling to one value is a mean.
* **torch.compile**: Inductor uses fixed kernels without autotuning.

TF32 and reduced-precision reductions are not changed, although their rounding depends on the kind of device. The
filling of uninitialised memory, a pass over every new tensor, is disabled: no operation here reads such memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mulan.config.errors import MulanError


class NotDeterministic(MulanError):
    """The model uses an operation without a deterministic kernel, and deterministic kernels are required."""


_TRAINING = (
    "train.deterministic promises the same bits each time; use a model without this operation, or train under another "
    "--name with --set train.deterministic=false, whose results differ slightly each time"
)

_ERROR_SUFFIX = " does not have a deterministic implementation"
"""The text that follows the operation's name in PyTorch's error."""


@contextmanager
def deterministic_kernels(on: bool, *, promise: str = _TRAINING) -> Iterator[None]:
    """Uses deterministic kernels in the block, in all threads of this process, then restores torch's settings.

    Args:
        on: If False, the settings are not changed.
        promise: What promises the same bits, and the remedy, for the message of an error.

    Raises:
        NotDeterministic: The block uses an operation without such a kernel on its device.
    """
    if not on:
        yield
        return
    before = _settings()
    _set((True, False, False, False, True))
    try:
        yield
    except RuntimeError as error:
        if _ERROR_SUFFIX not in str(error):
            raise
        operation = str(error).partition(_ERROR_SUFFIX)[0].split("\n")[-1].strip()
        raise NotDeterministic(f"{operation} has no deterministic kernel on this device, and {promise}") from error
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
