from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.c_dlinknet import CDLinkNet  # noqa: E402
from trtparse.networks.registry import (  # noqa: E402
    NETWORKS,
    POSE_NETWORKS,
    create_network,
    create_pose_network,
    recognise,
)
from trtparse.networks.student import Student  # noqa: E402


def test_a_network_is_made_by_its_name_and_options() -> None:
    with torch.device("meta"):
        student = create_network("lsfa-r18", {"finest_stride": 8, "pyramid_bins": [1, 2]}, auxiliary=True)
        teacher = create_network("c-dlinknet", {"backbone": "resnet34"})
    assert isinstance(student, Student)
    assert (student.spec.finest_stride, student.spec.pyramid_bins) == (8, (1, 2))
    assert student.auxiliary_heads is not None
    assert isinstance(teacher, CDLinkNet)
    assert teacher.auxiliary_heads is None
    assert (student.auxiliary_weight, teacher.auxiliary_weight) == (0.4, 0.5)


@pytest.mark.parametrize(("kind", "nearest"), [("lsfa-r50", "lsfa-r18"), ("cdlinknet", "c-dlinknet")])
def test_an_unknown_network_is_named_with_the_nearest_there_is(kind: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"Unknown network '{kind}'. Did you mean {nearest}") as caught:
        create_network(kind, {})
    assert all(name in caught.value.hint for name in NETWORKS)


def test_one_network_s_option_is_unknown_to_another() -> None:
    with pytest.raises(UsageError, match="Unknown network option 'aspp_rates'"):
        create_network("lsfa-r18", {"aspp_rates": [6]})


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_is_recognised_by_its_tensor_names(kind: str) -> None:
    with torch.device("meta"):
        names = list(create_network(kind, {}).state_dict())
    assert recognise(names) == kind
    assert recognise([name for name in names if not name.startswith("head.")]) == kind


def test_what_resembles_nothing_is_taken_for_the_student() -> None:
    assert recognise(["weight", "bias"]) == "lsfa-r18"


def test_a_pose_network_is_made_by_its_name_and_options() -> None:
    with torch.device("meta"):
        network = create_pose_network("h-hrnet-w18", {"joints": 16, "tuning": "feature"})
        student = create_pose_network("l-mspn", {})
    assert (network.kind, network.spec.to_dict()["tuning"], network.spec.joints) == ("h-hrnet-w18", "feature", 16)
    assert (student.kind, student.spec.joints) == ("l-mspn", 17)


def test_names_of_pose_and_parsing_networks_are_distinct_and_an_unknown_one_gets_the_nearest() -> None:
    assert not set(NETWORKS) & set(POSE_NETWORKS)
    with pytest.raises(UsageError, match=r"Unknown pose network 'hrnet-w30'. Did you mean hrnet-w32"):
        create_pose_network("hrnet-w30", {})
    with pytest.raises(UsageError, match="Unknown network option 'tuning'"):
        create_pose_network("hrnet-w32", {"tuning": "feature"})
