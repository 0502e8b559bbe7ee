from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.networks.student import Student, StudentSpec  # noqa: E402


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def empty(auxiliary: bool = False, **options: object) -> Student:
    """A network without memory for its values."""
    with torch.device("meta"):
        return Student(StudentSpec(**options), auxiliary)  # type: ignore[arg-type]


def test_the_parameter_counts_are_the_published_structure_s() -> None:
    assert parameters(empty()) == 12_944_192
    assert parameters(empty(finest_stride=8)) == 12_870_112


def test_separable_fusions_save_a_tenth_of_the_parameters() -> None:
    assert parameters(empty(separable=True)) == 11_730_528  # the 11.73 M of the structure's description


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # Without a pyramid the head's 3x3 convolution reads 512 channels in place of 128, so the plainest network
        # is not the smallest.
        ({"context": "none", "fusion": "none"}, 11_176_512 + 9 * 512 * 128 + 256 + 128 * 20),
        ({"context": "sppm", "fusion": "none"}, 11_176_512 + 345_088 + 9 * 128 * 64 + 128 + 64 * 20),
        ({"context": "psp", "fusion": "none"}, 11_176_512 + 1_443_072 + 9 * 128 * 64 + 128 + 64 * 20),
        ({"context": "sppm", "fusion": "add"}, 12_944_192 - 4 * 96),
        ({"context": "psp"}, 12_944_192 - 345_088 + 1_443_072),
        ({"fusion": "channel_attention"}, 13_060_256),
    ],
)
def test_each_row_of_the_ablation_changes_one_part(options: dict[str, object], count: int) -> None:
    assert parameters(empty(**options)) == count


def test_no_fusion_means_a_head_on_the_deepest_level() -> None:
    for context in ("none", "psp", "sppm"):
        head, *auxiliary = empty(True, context=context, fusion="none").forward_coarse(
            torch.zeros(2, 3, 256, 192, device="meta")
        )
        assert head.shape == (2, 20, 8, 6)
        assert [logits.shape for logits in auxiliary] == [(2, 20, 16, 12)]


def test_fusion_ends_at_the_finest_stride() -> None:
    for stride, auxiliary in ((4, [32, 16, 8]), (8, [32, 16])):
        coarse = empty(True, finest_stride=stride).forward_coarse(torch.zeros(2, 3, 256, 192, device="meta"))
        assert [256 // logits.shape[2] for logits in coarse] == [stride, *auxiliary]


def test_each_context_has_its_usual_bins_unless_others_are_given() -> None:
    assert StudentSpec().pyramid_bins == (1, 2, 4)
    assert StudentSpec(context="psp").pyramid_bins == (1, 2, 3, 6)
    assert StudentSpec(context="psp", pyramid_bins=(1, 5)).pyramid_bins == (1, 5)


def test_parameters_stand_in_the_order_that_an_optimiser_s_state_was_saved_in() -> None:
    names = [name for name, _ in empty(True).named_parameters()]
    parts = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert parts == ["backbone", "pyramid", "fuse32", "fuse16", "fuse8", "fuse4", "head", "auxiliary_heads"]
    fusion = list(dict.fromkeys(name.split(".")[1] for name in names if name.startswith("fuse4.")))
    assert fusion == ["project", "attention", "out"]


def test_normalisation_turns_bgr_frames_into_imagenet_s_rgb() -> None:
    frame = torch.tensor([[[[104, 116, 124]]]], dtype=torch.uint8)  # B, G, R near ImageNet's mean
    image = normalise(frame)
    assert image.shape == (1, 3, 1, 1)
    expected = [(124 / 255 - 0.485) / 0.229, (116 / 255 - 0.456) / 0.224, (104 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(image.flatten(), torch.tensor(expected), atol=1e-5, rtol=0)
