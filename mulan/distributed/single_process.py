"""A process group of this process alone, in which collective functions can be called without a launcher."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch._C._distributed_c10d import HashStore


@contextmanager
def single_process_group(*, use_gpu: bool) -> Iterator[None]:
    """Initialises the default process group in the block, with NCCL on a GPU and gloo otherwise.

    It also sets the environment variables from which DeepSpeed, when imported, takes the rank and the accelerator.
    """
    if not use_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("nccl" if use_gpu else "gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()
