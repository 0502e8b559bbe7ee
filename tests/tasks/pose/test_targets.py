from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.tasks.pose.grid import Grid  # noqa: E402
from trtparse.tasks.pose.targets import distributions, gaussians, inside  # noqa: E402

GRID = Grid((16, 12))


def test_a_cell_s_centre_has_the_peak_and_between_two_cells_both_have_the_same() -> None:
    points = torch.tensor([[[[4 * 5 + 1.5, 4 * 7 + 1.5]], [[4 * 5 + 3.5, 4 * 7 + 1.5]]]])
    maps = gaussians(points, torch.ones(1, 2, 1), GRID, 2.0)
    assert maps[0, 0, 7, 5] == 1
    assert maps[0, 0, 7, 7] == pytest.approx(math.exp(-0.5))
    assert maps[0, 1, 7, 5] == maps[0, 1, 7, 6] == pytest.approx(math.exp(-0.25 / 8))


def test_two_places_share_a_distribution_by_their_masses_and_none_gives_nothing() -> None:
    points = torch.tensor([[[[4 * 2 + 1.5, 4 * 8 + 1.5], [4 * 9 + 1.5, 4 * 8 + 1.5]]] * 2])
    masses = torch.tensor([[[0.75, 0.25], [0.0, 0.0]]])
    maps = distributions(points, masses, GRID, 0.7)
    assert maps[0, 0].sum() == pytest.approx(1)
    assert maps[0, 0, :, :6].sum() == pytest.approx(0.75, abs=1e-3)
    assert maps[0, 1].sum() == 0


def test_a_point_off_the_cells_is_outside() -> None:
    points = torch.tensor([[-0.5, 1.0], [-0.6, 1.0], [47.4, 63.4], [47.6, 1.0], [1.0, 63.6], [float("nan"), 1.0]])
    assert inside(points, GRID).tolist() == [True, False, True, False, False, False]


def test_cells_are_counted_by_their_centres_or_by_their_first_pixels() -> None:
    assert GRID.cells(torch.tensor([1.5, 5.5])).tolist() == [0, 1]
    assert Grid((1, 1), 4, 0.0).cells(torch.tensor([8.0, 4.0])).tolist() == [2, 1]
