from __future__ import annotations

import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.checkpoint import load_checkpoint  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.networks.finder import STRIDE, Finder, FinderSpec, corners, decode  # noqa: E402
from trtparse.networks.finder_checkpoint import load_finder  # noqa: E402
from trtparse.networks.mspn import MSPN  # noqa: E402
from trtparse.networks.pose_checkpoint import load_pose_checkpoint  # noqa: E402
from trtparse.networks.registry import create_finder  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.origin import Origin  # noqa: E402
from trtparse.specs.skeleton import load_skeleton  # noqa: E402

SMALL = FinderSpec(people=6, widths=(4, 4, 8, 8, 8), neck=8)


def test_parameters_and_work_are_counted() -> None:
    with torch.device("meta"):
        network, image = Finder(), torch.zeros(1, 3, 192, 320)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_336_085
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    assert round(counter.get_total_flops() / 2e6) == 404  # million multiplications


def test_there_is_an_answer_for_each_cell_of_eight_pixels() -> None:
    assert Finder(SMALL)(torch.zeros(2, 3, 64, 96)).shape == (2, 5, 8, 12)
    with pytest.raises(ValueError, match="60x96 is no multiple"):
        Finder(SMALL)(torch.zeros(1, 3, 60, 96))


def test_an_untrained_finder_finds_next_to_nobody() -> None:
    scores = torch.sigmoid(Finder(SMALL).eval()(torch.rand(1, 3, 64, 64))[:, 0])
    assert float(scores.detach().mean()) < 0.1


def answer_with(*people: tuple[int, int, float, tuple[float, float, float, float]]) -> torch.Tensor:
    """(1, 5, 8, 12): ``(row, column, logit, box in pixels)`` of each, and nobody elsewhere."""
    answer = torch.zeros(1, 5, 8, 12)
    answer[:, 0] = -8
    for row, column, logit, (left, top, right, bottom) in people:
        x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
        distances = torch.tensor([x - left, y - top, right - x, bottom - y]) / STRIDE
        answer[0, :, row, column] = torch.tensor([logit, *distances.log()])
    return answer


def test_boxes_come_best_first_in_pixels_of_the_frame() -> None:
    one, other = (10.0, 8.0, 30.0, 60.0), (50.0, 20.0, 90.0, 64.0)
    rows = decode(answer_with((4, 2, 1.0, one), (5, 8, 3.0, other)), 4)
    assert rows.shape == (1, 4, 5)
    assert rows.dtype == torch.float32
    assert torch.allclose(rows[0, 0], torch.tensor([*other, 1 / (1 + math.exp(-3))]), atol=1e-3)
    assert torch.allclose(rows[0, 1], torch.tensor([*one, 1 / (1 + math.exp(-1))]), atol=1e-3)
    assert float(rows[0, 2, 4]) < 0.01


def test_of_neighbours_one_counts_even_where_int8_made_them_equal() -> None:
    box = (8.0, 8.0, 40.0, 48.0)
    rows = decode(answer_with((3, 2, 2.0, box), (3, 3, 2.0, box), (4, 3, 1.5, box)), 5)
    assert (rows[0, :, 4] > 0.5).sum() == 1


def test_a_wild_distance_stays_a_number() -> None:
    answer = torch.full((1, 5, 2, 2), 500.0)
    assert torch.isfinite(corners(answer)).all()
    assert torch.isfinite(decode(answer, 40)).all()


def test_more_boxes_than_cells_are_as_many_as_there_are_cells() -> None:
    assert decode(torch.zeros(3, 5, 4, 4), 40).shape == (3, 16, 5)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"people": 0}, "people must be at least 1"), ({"widths": [8, 8]}, "five numbers"), ({"nek": 8}, "neck")],
)
def test_impossible_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        create_finder("finder", options)


def test_a_checkpoint_comes_back_and_is_taken_for_no_other_network(tmp_path: Path) -> None:
    network = Finder(SMALL).half().float().eval()
    path = tmp_path / "finder.safetensors"
    save_checkpoint(network, path, Framing((64, 96)), None, origin=Origin("drawn people", "Apache-2.0"))

    back = load_finder(path)

    assert back.network.spec == SMALL
    assert back.framing.input_size == (64, 96)
    assert back.origin == Origin("drawn people", "Apache-2.0")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(back.network(image), network(image))
    with pytest.raises(UsageError, match="holds finder, which finds people"):
        load_checkpoint(path)
    with pytest.raises(UsageError, match="holds finder, which finds people"):
        load_pose_checkpoint(path)


def test_another_network_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pose.safetensors"
    skeleton = load_skeleton("coco17")
    save_checkpoint(MSPN(), path, Framing((64, 64)), skeleton)
    with pytest.raises(UsageError, match="holds l-mspn, which finds nobody"):
        load_finder(path)
    with pytest.raises(UsageError, match="would not say what the answers of l-mspn mean"):
        save_checkpoint(MSPN(), path, Framing((64, 64)), None)
