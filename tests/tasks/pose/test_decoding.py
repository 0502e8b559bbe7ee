from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.tasks.pose.decoding import refined_peaks  # noqa: E402
from trtparse.tasks.pose.grid import Grid  # noqa: E402
from trtparse.tasks.pose.targets import distributions  # noqa: E402

GRID = Grid((20, 15))


def test_logits_of_a_gaussian_give_its_centre_back_to_the_sub_pixel() -> None:
    points = torch.tensor([[[[17.3, 33.9]], [[30.1, 41.0]]]])
    logits = distributions(points, torch.ones(1, 2, 1), GRID, 1.5).clamp(min=1e-30).log().numpy()

    found = refined_peaks(logits, GRID)

    assert found[0, :, :2] == pytest.approx(points[0, :, 0].numpy(), abs=0.01)
    shares = np.exp(logits[0]).sum((1, 2))
    assert shares == pytest.approx(np.ones(2), abs=1e-3)
    assert found[0, :, 2] == pytest.approx(np.full(2, 0.46), abs=0.05)  # of a Gaussian of 1.5 cells in 3 x 3


def test_a_peak_at_the_border_and_a_flat_map_stay_on_their_cell() -> None:
    logits = np.zeros((1, 2, 20, 15), np.float32)
    logits[0, 0, 0, 3] = 9
    found = refined_peaks(logits, GRID)
    assert found[0, 0, :2].tolist() == [3 * 4 + 1.5, 1.5]
    assert found[0, 1, :2].tolist() == [1.5, 1.5]
    assert found[0, 0, 2] > 0.9
    assert found[0, 1, 2] == pytest.approx(4 / 300)
