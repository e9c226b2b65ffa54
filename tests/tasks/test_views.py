"""Tests the retrieval scores of views against loops over known outputs."""

import numpy as np
import pytest
import torch

from mulan.model.outputs import Embeddings
from tests.tasks.known import PAIRS, validated
from tests.training.small import small


def test_views_of_audio_alone_find_each_other() -> None:
    parts = [torch.randn(PAIRS, 3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    outputs = [Embeddings(None, None, None, views) for views in parts]
    names = [[f"{number} {place}" for place in range(PAIRS)] for number in range(2)]
    scores = validated(small("semisupcon"), outputs, names, np.zeros((2, PAIRS, 0), np.uint8))
    views = torch.cat(parts)
    first = [float(query @ views[place, -1]) >= max(float(v[0] @ views[place, -1]) for v in views)
             for place, query in enumerate(views[:, 0])]  # fmt: skip
    assert scores["recall1"] == pytest.approx(np.mean(first))
    assert scores["num_items"] == 2 * PAIRS
