"""Tests that batches on the device equal the batches on the host."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mulan.model.device_batch import to_device
from mulan.model.towers.text_lengths import length_groups
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
        assert [group.max_length for group in carried.groups] == [group.max_length for group in expected]
        for group, other in zip(carried.groups, expected, strict=True):
            assert group.rows.device.type == device.type
            assert torch.equal(group.rows.cpu(), other.rows)
        assert carried.batch is batch
        assert len(carried.inputs) == 4


def test_all_fields_are_copied() -> None:
    assert_carried(torch.device("cpu"))


def test_masked_positions_are_computed_on_the_host() -> None:
    for batch in batches_of(small("mulap"), 0):
        masks, carried = batch.masks, to_device(batch, torch.device("cpu"), text_groups=1)
        assert masks is not None
        assert carried.masks is not None
        assert len(carried.inputs) == 4
        hidden = carried.masks.positions
        assert hidden.segments.tolist() == masks.segment_hidden.tolist()
        width = masks.token_targets.shape[1]
        predicted = [
            (pair, place) for pair in range(6) for place in range(width) if masks.token_targets[pair, place] >= 0
        ]
        assert hidden.token_indices.tolist() == [pair * width + place for pair, place in predicted]
        assert carried.masks.token_targets.tolist() == [masks.token_targets[one] for one in predicted]
        segments = [(pair, place) for pair in range(6) for place in range(3) if masks.segment_hidden[pair, place]]
        assert hidden.segment_indices.tolist() == [pair * 3 + place for pair, place in segments]
        assert carried.masks.matched.tolist() == masks.matched.tolist()


def test_equal_texts_have_equal_ids_whatever_their_padding() -> None:
    (batch, *_) = batches_of(small("demo"), 0)

    def ids(texts: list[list[int]], length: int) -> list[int]:
        token_ids = np.array([text + [0] * (length - len(text)) for text in texts])
        attention_mask = np.array([[1] * len(text) + [0] * (length - len(text)) for text in texts])
        changed = replace(batch, token_ids=token_ids, attention_mask=attention_mask)
        return to_device(changed, torch.device("cpu"), text_groups=1).texts.tolist()

    texts = [[101, 7, 102], [101, 7, 8, 102], [101, 7, 102], [101, 102], [101, 8, 102], [101, 7, 0, 102]]
    short, long = ids(texts, 4), ids(texts, 9)
    assert short == long
    assert short[0] == short[2]
    assert len(set(short)) == 5
    assert short[0] == -9213422285758260820  # the same in every process


def test_recordings_have_distinct_integer_ids() -> None:
    (batch, *_) = batches_of(small("semisupcon"), 0)
    renamed = replace(batch, recording_id=("a", "b", "a", "a ", "ä", ""))
    numbers = to_device(renamed, torch.device("cpu"), text_groups=1).recordings.tolist()
    assert numbers[0] == numbers[2]
    assert len(set(numbers)) == 5


def test_the_inputs_of_a_batch_without_text_are_its_waveforms() -> None:
    (batch, *_) = batches_of(small("m_resnet50_audioset"), 0)
    carried = to_device(batch, torch.device("cpu"), text_groups=3)
    assert carried.inputs == (carried.waveform,)
    assert carried.tags.shape == (6, 2)


def test_the_memory_of_the_host_may_be_read_only() -> None:
    """Arrays in Ray's object store are read-only."""
    (batch, *_) = batches_of(small("demo"), 0)
    batch.waveform.setflags(write=False)
    to_device(batch, torch.device("cpu"), text_groups=1).waveform.zero_()
    assert batch.waveform.any()


@pytest.mark.gpu
def test_copies_to_a_gpu_are_asynchronous_and_complete() -> None:
    assert_carried(torch.device("cuda"))
    recipe = small("demo")
    torch.cuda.set_sync_debug_mode("error")
    try:
        carried = [to_device(batch, torch.device("cuda"), text_groups=2) for batch in batches_of(recipe, 1)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch, there in zip(batches_of(recipe, 1), carried, strict=True):
        assert np.array_equal(there.waveform.cpu().numpy(), batch.waveform)
