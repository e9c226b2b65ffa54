"""Tiles cover every similarity once, and those of a group have the same shapes whatever else a process has."""

import pytest
import torch

from mulan.objectives import tiles
from mulan.objectives.tiles import rows_of_tiles, tile_shape

TEMPERATURE = torch.tensor(0.5)


def drawn(rows: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("tile", [1, 3, 4, 512])
@pytest.mark.parametrize(("own", "group"), [(12, 12), (12, 4), (6, 6), (6, 2), (3, 1), (10, 5)])
def test_tiles_are_all_similarities(own: int, group: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "TILE", tile)
    others, first = drawn(12), 12 - own
    found = torch.full((own, 12), torch.nan, dtype=torch.float64)
    for rows, scaled, row in rows_of_tiles(others[first:], others, TEMPERATURE, first=first, group=group):
        assert torch.equal(scaled, others[first:][rows].double() / TEMPERATURE)
        assert rows.start // group == (rows.stop - 1) // group
        for each in row:
            assert len(scaled) <= tile and each.similarity.numel() <= tile * tile
            assert found[rows, each.columns].isnan().all()
            found[rows, each.columns] = each.similarity
    expected = (others[first:].double() @ others.double().T) / TEMPERATURE
    expected.diagonal(first).fill_(-torch.inf)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("group", "others"), [(2, 64), (48, 6144), (514, 6144)])
def test_shapes_do_not_depend_on_how_many_groups_a_process_has(group: int, others: int) -> None:
    """Nor does any bit then, even where kernels for other shapes add in another order."""

    def shapes(groups: int) -> list[tuple[int, ...]]:
        anchors, all_rows = torch.zeros(groups * group, 1), torch.zeros(others, 1)
        rows = rows_of_tiles(anchors, all_rows, TEMPERATURE, first=0, group=group)
        return [tuple(tile.similarity.shape) for _, _, row in rows for tile in row]

    assert shapes(4) == 4 * shapes(1)


def test_tiles_of_few_rows_are_wide() -> None:
    assert tile_shape(6144, 6144) == (512, 512)
    assert tile_shape(48, 6144) == (48, 512 * 512 // 48)
    assert tile_shape(2, 64) == (2, 64)
