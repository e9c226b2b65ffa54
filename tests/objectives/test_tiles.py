"""Tests that tiles cover the similarities of a process's rows once, and do not depend on which rows it has."""

import pytest
import torch

from mulan.objectives import tiles
from mulan.objectives.tiles import covering_rows, iterate_tiles, own_part

TEMPERATURE = torch.tensor(0.5)


def random_rows(rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("tile", [1, 3, 4, 512])
@pytest.mark.parametrize("own", [slice(0, 12), slice(0, 6), slice(6, 12), slice(4, 5), slice(9, 12)])
def test_tiles_are_the_similarities_of_the_own_rows(own: slice, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    anchors, others = random_rows(12), random_rows(12) + 1
    found = torch.full((12, 12), torch.nan, dtype=torch.float64)
    for rows, scaled, row in iterate_tiles(anchors[own], others, TEMPERATURE, own=own):
        inside, mine = own_part(rows, own)
        assert torch.equal(scaled[inside], anchors[own][mine].double() / TEMPERATURE)
        assert not scaled[: inside.start].any() and not scaled[inside.stop :].any()
        for each in row:
            assert max(each.similarity.shape) <= tile
            assert found[rows, each.columns].isnan().all()
            found[rows, each.columns] = each.similarity
    expected = (anchors.double() @ others.double().T) / TEMPERATURE
    expected.diagonal().fill_(-torch.inf)
    torch.testing.assert_close(found[own], expected[own])
    covered = covering_rows(own, 12)
    assert not found[covered].isnan().any()
    assert covered.start <= own.start and own.stop <= covered.stop
    assert covered.stop - covered.start < own.stop - own.start + 2 * tile
    found[covered] = torch.nan
    assert found.isnan().all()


def test_tiles_do_not_depend_on_the_rows_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal shapes and row positions imply equal bits."""
    monkeypatch.setattr(tiles, "TILE", 5)
    anchors = random_rows(12)

    def places(own: slice) -> set[tuple[int, int, int, int]]:
        rows = iterate_tiles(anchors[own], anchors, TEMPERATURE, own=own)
        return {(r.start, t.columns.start, *t.similarity.shape) for r, _, row in rows for t in row}

    whole = places(slice(0, 12))
    assert len(whole) == 9
    assert all(places(slice(at, at + 1)) < whole for at in range(12))
