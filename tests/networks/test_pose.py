from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.pose import PoseNetwork, PoseSpec  # noqa: E402


@pytest.mark.parametrize("joints", [0, 256, -1])
def test_a_number_of_joints_that_cannot_be_is_refused(joints: int) -> None:
    with pytest.raises(UsageError, match=f"joints must lie between 1 and 255, not {joints}"):
        PoseSpec(joints=joints)


def test_a_word_is_no_number_of_joints() -> None:
    with pytest.raises(UsageError, match="joints must be a whole number, not '17'"):
        PoseSpec.from_dict({"joints": "17"})


@pytest.mark.parametrize(("height", "width"), [(256, 200), (40, 192), (0, 32)])
def test_an_input_that_does_not_divide_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"input {height}x{width} is no multiple of 32x32"):
        PoseNetwork("none", PoseSpec())(torch.zeros(1, 3, height, width))
