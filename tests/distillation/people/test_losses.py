from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.distillation.people.losses import distance_difference, focal, generalised_iou  # noqa: E402
from trtparse.distillation.people.targets import make_targets  # noqa: E402
from trtparse.networks.finder import STRIDE, corners  # noqa: E402


def cells(*values: float) -> torch.Tensor:
    return torch.tensor([[values]])


def test_a_certain_and_right_heatmap_costs_nothing_and_a_wrong_one_much() -> None:
    heat, counts = cells(1, 0, 0), torch.ones(1, 1, 3)
    assert float(focal(cells(20, -20, -20), heat, counts)) == pytest.approx(0, abs=1e-6)
    wrong = float(focal(cells(-2, 2, -20), heat, counts))
    assert wrong == pytest.approx((0.8808**2 * 2.1269) * 2, rel=1e-3)


def test_a_cell_beside_a_middle_is_punished_less_and_one_that_does_not_count_not_at_all() -> None:
    ones = torch.ones(1, 1, 2)
    beside, far = (focal(cells(20, 2), cells(1, value), ones) for value in (0.8, 0.0))
    assert float(beside) == pytest.approx(float(far) * 0.2**4, rel=1e-3)
    assert float(focal(cells(20, 2), cells(1, 0), cells(1, 0))) == pytest.approx(0, abs=1e-6)


def test_a_frame_without_anybody_has_a_finite_loss() -> None:
    assert float(focal(cells(0, 0), cells(0, 0), torch.ones(1, 1, 2))) == pytest.approx(2 * 0.25 * np.log(2), rel=1e-5)


def boxes(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("box", "loss"),
    [((0, 0, 10, 10), 0.0), ((0, 0, 5, 10), 0.5), ((20, 0, 30, 10), 1 + 1 / 3), ((5, 0, 15, 10), 1 - 1 / 3)],
)
def test_generalised_iou_of_boxes_whose_shares_are_known(box: tuple[float, ...], loss: float) -> None:
    one = torch.ones(1, 1, 1)
    assert float(generalised_iou(boxes(*box), boxes(0, 0, 10, 10), one)) == pytest.approx(loss, abs=1e-5)


def test_the_right_distances_cost_nothing_and_weights_of_nothing_nothing() -> None:
    targets = make_targets(np.array([[16, 8, 48, 56.0]]), np.zeros((0, 4)), (64, 64))
    wanted, weights = torch.from_numpy(targets.boxes)[None], torch.from_numpy(targets.weights)[None]
    grid = (torch.arange(8) + 0.5) * STRIDE
    x, y = grid.view(1, 1, 8), grid.view(1, 8, 1)
    left, top, right, bottom = wanted.unbind(1)
    distances = torch.stack([x - left, y - top, right - x, bottom - y], 1).clamp(min=1) / STRIDE
    answer = torch.cat([torch.zeros(1, 1, 8, 8), distances.log()], 1)
    assert float(distance_difference(answer[:, 1:], wanted, weights, STRIDE)) == pytest.approx(0, abs=1e-5)
    assert float(generalised_iou(corners(answer), wanted, weights)) == pytest.approx(0, abs=1e-4)
    assert float(distance_difference(answer[:, 1:] + 1, wanted, torch.zeros_like(weights), STRIDE)) == 0
