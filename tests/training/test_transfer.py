"""Batches on the device are the batches on the host."""

import numpy as np
import pytest
import torch

from mulan.model.text_lengths import length_groups
from mulan.training.transfer import to_device
from tests.training.small import batches_of, small


def assert_carried(device: torch.device) -> None:
    recipe = small("m_ast")
    for batch in batches_of(recipe, 0):
        carried = to_device(batch, device, text_groups=3)
        for name in ("waveform", "token_ids", "attention_mask", "tags"):
            tensor, array = getattr(carried, name), getattr(batch, name)
            assert tensor.device.type == device.type
            assert np.array_equal(tensor.cpu().numpy(), array)
        expected = length_groups(batch.attention_mask, 3)
        assert [group.longest for group in carried.groups] == [group.longest for group in expected]
        for group, other in zip(carried.groups, expected, strict=True):
            assert group.rows.device.type == device.type
            assert torch.equal(group.rows.cpu(), other.rows)
        assert carried.batch is batch
        assert len(carried.inputs) == 4


def test_nothing_is_lost_on_the_way() -> None:
    assert_carried(torch.device("cpu"))


def test_a_batch_without_text_is_waveforms_alone() -> None:
    (batch, *_) = batches_of(small("m_resnet50_audioset"), 0)
    carried = to_device(batch, torch.device("cpu"), text_groups=3)
    assert carried.inputs == (carried.waveform,)
    assert carried.tags.shape == (6, 2)


def test_the_host_s_memory_may_be_read_only() -> None:
    """As it is in Ray's object store."""
    (batch, *_) = batches_of(small("demo"), 0)
    batch.waveform.setflags(write=False)
    to_device(batch, torch.device("cpu"), text_groups=1).waveform.zero_()
    assert batch.waveform.any()


@pytest.mark.gpu
def test_to_a_gpu_copies_are_queued_and_arrive() -> None:
    assert_carried(torch.device("cuda"))
    recipe = small("demo")
    torch.cuda.set_sync_debug_mode("error")
    try:
        carried = [to_device(batch, torch.device("cuda"), text_groups=2) for batch in batches_of(recipe, 1)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch, there in zip(batches_of(recipe, 1), carried, strict=True):
        assert np.array_equal(there.waveform.cpu().numpy(), batch.waveform)
