from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from trtparse.distillation.losses import (  # noqa: E402
    class_relation,
    correlation,
    cross_entropy,
    downsample_labels,
    downsample_mask,
    kl_divergence,
    left_or_right,
    lovasz_softmax,
    on_teacher_grid,
    person_or_background,
)

seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)

Labelled = Callable[[Tensor, Tensor], Tensor]
Distilled = Callable[[Tensor, Tensor, Tensor], Tensor]

LABELLED: list[Labelled] = [cross_entropy, lovasz_softmax]


def intra_alone(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return class_relation(student, teacher, mask, inter=0)


def inter_alone(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    return class_relation(student, teacher, mask, intra=0)


DISTILLED: list[Distilled] = [kl_divergence, class_relation, inter_alone, intra_alone]


def log(pixels: list[list[float]]) -> Tensor:
    """Logits (1, C, 1, n) whose softmax is these rows of probabilities."""
    return torch.tensor(pixels).log().t()[None, :, None, :]


def plane(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)[None, None]


def everywhere(logits: Tensor) -> Tensor:
    return torch.ones(logits.shape[0], *logits.shape[-2:], dtype=torch.bool)


def drawn(seed: int, classes: int = 5, spread: float = 3.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of student and teacher, labels with some 255, and a mask with some False."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (spread * torch.randn(2, classes, 4, 3, generator=generator) for _ in range(2))
    labels = torch.randint(0, classes, (2, 4, 3), generator=generator, dtype=torch.uint8)
    mask = torch.rand(2, 4, 3, generator=generator) < 0.7
    mask[0, 0, 0], mask[0, 0, 1] = True, False
    return student, teacher, labels.masked_fill(~mask, 255), mask


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[float, Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits)
    (grad,) = torch.autograd.grad(value, logits)
    return float(value.detach()), grad


# Values worked by hand.


def test_cross_entropy_is_the_weighted_mean_of_minus_log_probabilities() -> None:
    # Both pixels: 1/4 and 3/4. Labels 0 and 1: ln 4 and ln 4/3; the third pixel counts nowhere.
    logits = log([[0.25, 0.75], [0.25, 0.75], [0.999, 0.001]])
    labels = plane([0, 1, 255])
    assert float(cross_entropy(logits, labels)) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    weighted = (1 * math.log(4) + 3 * math.log(4 / 3)) / 4
    assert float(cross_entropy(logits, labels, torch.tensor([1.0, 3.0]))) == pytest.approx(weighted)


def test_lovasz_of_three_pixels() -> None:
    # Class 1 has pixels 1 and 2; errors 0.25, 0.25, 0.5. Worst first: pixel 2 wrong: 1 - 1/2; pixel 0 too: 1 - 1/3;
    # pixel 1 too: 1 - 0. Differences 1/2, 1/6, 1/3: 0.5/2 + 0.25/6 + 0.25/3 = 0.375.
    # Class 0 has pixel 0; the same errors. Pixel 2 wrong: 1 - 1/2; pixel 0 too: 1 - 0; then nothing more.
    # Differences 1/2, 1/2, 0: 0.5/2 + 0.25/2 = 0.375.
    logits = log([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]])
    assert float(lovasz_softmax(logits, plane([0, 1, 1]))) == pytest.approx(0.375)


def test_lovasz_leaves_out_a_class_that_is_absent() -> None:
    # Class 1 alone has pixels: two of them with errors 0.5 and 0.25. One wrong: 1 - 1/2, both: 1.
    # 0.5/2 + 0.25/2. Class 0's probabilities of 0.25 and 0.5 at the same pixels would add to a mean over both.
    logits = log([[0.25, 0.75], [0.5, 0.5]])
    assert float(lovasz_softmax(logits, plane([1, 1]))) == pytest.approx(0.375)


def test_kl_is_of_the_teacher_against_the_student_times_the_squared_temperature() -> None:
    # Teacher 1/2, 1/2; student 1/4, 3/4: ln(2)/2 + ln(2/3)/2. The second pixel agrees: 0.
    student, teacher = log([[0.25, 0.75], [0.9, 0.1]]), log([[0.5, 0.5], [0.9, 0.1]])
    expected = (math.log(2) + math.log(2 / 3)) / 2
    assert float(kl_divergence(student, teacher, everywhere(student))) == pytest.approx(expected / 2)
    # Temperature 2 takes the roots: 1 : sqrt 3 instead of 1 : 3.
    p = 1 / (1 + math.sqrt(3))
    softened = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert float(kl_divergence(student, teacher, everywhere(student), 2.0)) == pytest.approx(4 * softened / 2)


def test_class_relation_of_two_pixels() -> None:
    student = log([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    teacher = log([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2]])
    # Rows less their mean of 1/3, times 30: (5, -1, -4) with (8, -1, -7), and (-4, -4, 8) with (-7, 11, -4).
    rows = (69 / math.sqrt(42 * 114), -48 / math.sqrt(96 * 186))
    # Of two values each, a column's correlation is the sign of their differences' product: 1, -1, 1.
    inter, intra = 1 - sum(rows) / 2, 1 - 1 / 3
    mask = everywhere(student)
    assert float(inter_alone(student, teacher, mask)) == pytest.approx(inter, abs=1e-5)
    assert float(intra_alone(student, teacher, mask)) == pytest.approx(intra, abs=1e-5)
    both = class_relation(student, teacher, mask, inter=2, intra=3)
    assert float(both) == pytest.approx(2 * inter + 3 * intra, abs=1e-5)


@few
@given(seeds, st.sampled_from([1.0, 2.0]))
def test_class_relation_is_numpy_s_correlation_over_rows_and_columns(seed: int, temperature: float) -> None:
    student, teacher, _, mask = drawn(seed)
    tables = [(x / temperature).softmax(1).permute(0, 2, 3, 1)[mask].double().numpy() for x in (student, teacher)]

    def mean(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:  # type: ignore[type-arg]
        return float(np.mean([np.corrcoef(u, v)[0, 1] for u, v in pairs]))

    expected = 2 - mean(list(zip(*tables))) - mean(list(zip(*(table.T for table in tables))))
    value = class_relation(student, teacher, mask, temperature=temperature)
    assert float(value) == pytest.approx(temperature**2 * expected, abs=1e-4)


def test_a_minimum_deviation_leaves_out_the_classes_that_the_teacher_does_not_see() -> None:
    # The teacher's third class is all but constant; without it the columns correlate by 1 and -1.
    student = log([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    teacher = log([[0.6, 0.3, 0.1], [0.2, 0.69999, 0.10001]])
    mask = everywhere(student)
    assert float(class_relation(student, teacher, mask, inter=0, minimum_std=1e-4)) == pytest.approx(1.0, abs=1e-4)
    assert float(class_relation(student, teacher, mask, inter=0)) == pytest.approx(2 / 3, abs=1e-2)
    assert float(class_relation(student, teacher, mask, inter=0, minimum_std=1.0)) == 0


# Properties.


@few
@given(seeds)
def test_who_repeats_the_teacher_loses_nothing(seed: int) -> None:
    _, teacher, _, mask = drawn(seed)
    for loss in (kl_divergence, inter_alone):
        assert float(loss(teacher, teacher, mask)) == pytest.approx(0, abs=1e-5)
    if int(mask.sum()) > 1:
        assert float(class_relation(teacher, teacher, mask)) == pytest.approx(0, abs=1e-4)


@few
@given(seeds)
def test_kl_is_never_negative_and_the_class_relations_lie_between_0_and_2(seed: int) -> None:
    student, teacher, _, mask = drawn(seed)
    assert float(kl_divergence(student, teacher, mask)) >= 0
    for loss in (inter_alone, intra_alone):
        assert -1e-5 <= float(loss(student, teacher, mask)) <= 2 + 1e-5


@few
@given(seeds, st.floats(0.1, 10), st.floats(-5, 5), st.sampled_from([0, 1]))
def test_correlation_does_not_see_a_positive_affine_map_of_one_side(
    seed: int, factor: float, offset: float, dim: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.randn(9, 6, generator=generator) for _ in range(2))
    expected = correlation(u, v, dim)
    torch.testing.assert_close(correlation(factor * u + offset, v, dim), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(correlation(u, factor * v + offset, dim), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(correlation(-u, v, dim), -expected)


@few
@given(seeds)
def test_lovasz_of_certain_predictions_is_the_mean_of_1_minus_iou(seed: int) -> None:
    guess, _, labels, mask = drawn(seed, classes=3)
    predicted = guess.argmax(1)
    certain = F.one_hot(predicted, 3).permute(0, 3, 1, 2) * 1e4
    lost = []
    for index in range(3):
        is_class, is_predicted = (labels == index) & mask, (predicted == index) & mask
        if is_class.any():
            lost.append(1 - float((is_class & is_predicted).sum() / (is_class | is_predicted).sum()))
    assert float(lovasz_softmax(certain, labels)) == pytest.approx(np.mean(lost), abs=1e-6)
    right = F.one_hot(labels.masked_fill(~mask, 0).long(), 3).permute(0, 3, 1, 2) * 1e4
    assert float(lovasz_softmax(right, labels)) == 0


@few
@given(seeds, st.sampled_from([float("nan"), float("inf"), 1e4]))
def test_what_lies_under_the_mask_changes_neither_value_nor_gradient(seed: int, rubbish: float) -> None:
    student, teacher, labels, mask = drawn(seed)
    spoilt = [torch.where(mask[:, None], x, rubbish) for x in (student, teacher)]
    for distilled in DISTILLED:
        expected = gradient(lambda x, loss=distilled: loss(x, teacher, mask), student)
        found = gradient(lambda x, loss=distilled: loss(x, spoilt[1], mask), spoilt[0])
        assert found[0] == expected[0]
        torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)
        assert found[1].abs().amax(1)[~mask].max() == 0
    finite = torch.where(mask[:, None], student, 1e4)
    for labelled in LABELLED:
        expected = gradient(lambda x, loss=labelled: loss(x, labels), student)
        found = gradient(lambda x, loss=labelled: loss(x, labels), finite)
        assert found[0] == expected[0]
        torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)
        assert found[1].abs().amax(1)[~mask].max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_even_under_autocast(dtype: torch.dtype) -> None:
    student, teacher, labels, mask = drawn(1)
    student, teacher = student.to(dtype), teacher.to(dtype)
    for distilled in DISTILLED:
        expected = distilled(student.float(), teacher.float(), mask)
        with torch.autocast("cpu", torch.bfloat16):
            found = distilled(student, teacher, mask)
        assert found.dtype == torch.float32
        assert float(found) == float(expected)
    for labelled in LABELLED:
        with torch.autocast("cpu", torch.bfloat16):
            found = labelled(student, labels)
        assert found.dtype == torch.float32
        assert float(found) == float(labelled(student.float(), labels))
    with torch.autocast("cpu", torch.bfloat16):
        assert on_teacher_grid(student, teacher[..., :2, :2]).dtype == torch.float32


def test_a_correlation_over_many_pixels_holds_where_float16_would_overflow() -> None:
    # 90,000 pixels: the sum of squares of a column alone passes 65,504 / 2.
    student = torch.randn(1, 3, 300, 300, generator=torch.Generator().manual_seed(0)).half() * 20
    value = class_relation(student, student, everywhere(student))
    assert float(value) == pytest.approx(0, abs=1e-4)


UNUSUAL = {
    "a class that is absent": lambda x: torch.cat((x[:, :-1], torch.full_like(x[:, -1:], -1e4)), 1),
    "a uniform map": torch.zeros_like,
    "certainty": lambda x: x.sign() * 1e4,
    "one answer everywhere": lambda x: x[:1, :, :1, :1].expand_as(x),
}


@pytest.mark.parametrize("who", ["student", "teacher", "both"])
@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("pixels", [0, 1, 24])
def test_gradients_stay_finite_whatever_comes(name: str, who: str, pixels: int) -> None:
    student, teacher, labels, _ = drawn(2)
    student = UNUSUAL[name](student) if who != "teacher" else student
    teacher = UNUSUAL[name](teacher) if who != "student" else teacher
    mask = (torch.arange(24) < pixels).view(2, 4, 3)
    labels = labels.masked_fill(labels == 255, 1).masked_fill(~mask, 255)
    losses = [lambda x, loss=loss: loss(x, teacher, mask) for loss in DISTILLED]
    losses += [lambda x, loss=loss: loss(x, labels) for loss in LABELLED]
    for loss in losses:
        value, grad = gradient(loss, student)
        assert math.isfinite(value)
        assert torch.isfinite(grad).all()
        if pixels == 0:
            assert value == 0
            assert grad.abs().max() == 0


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher, _, mask = drawn(3)
    student.requires_grad_()
    teacher.requires_grad_()
    for loss in DISTILLED:
        assert torch.autograd.grad(loss(student, teacher, mask), teacher, allow_unused=True) == (None,)


@pytest.mark.parametrize("loss", DISTILLED)
def test_a_step_along_the_gradient_brings_the_student_nearer(loss: Distilled) -> None:
    student, teacher, _, mask = drawn(4, spread=1.0)
    before, grad = gradient(lambda x: loss(x, teacher, mask), student)
    assert float(loss(student - 0.1 * grad, teacher, mask)) < before


# Grids.


@few
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_labels_are_taken_at_the_centres_of_the_cells(height: int, width: int, rows: int, columns: int) -> None:
    numbers = torch.arange(height * width).view(1, height, width)
    found = downsample_labels(numbers, (rows, columns))
    assert found.shape == (1, rows, columns)
    for row in range(rows):
        centre = (row + Fraction(1, 2)) * height / rows
        assert int(found[0, row, 0]) // width <= centre < int(found[0, row, 0]) // width + 1
    for column in range(columns):
        centre = (column + Fraction(1, 2)) * width / columns
        assert int(found[0, 0, column]) % width <= centre < int(found[0, 0, column]) % width + 1


def test_labels_and_logits_of_one_grid_lie_on_each_other() -> None:
    # A ramp over the image, brought to a quarter both ways: logits as the networks and on_teacher_grid see them.
    ramp = torch.arange(48.0).expand(1, 1, 64, 48)
    logits = on_teacher_grid(ramp, torch.zeros(1, 1, 16, 12))
    labels = downsample_labels(ramp[:, 0], (16, 12))
    assert (labels - logits[:, 0]).abs().max() == 0.5  # 4 pixels have no middle one


def test_a_mask_goes_with_its_labels() -> None:
    labels = torch.randint(0, 3, (2, 30, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mask = downsample_mask(labels == 1, (7, 5))
    assert mask.dtype == torch.bool
    assert torch.equal(mask, downsample_labels(labels, (7, 5)) == 1)


def test_logits_of_the_teacher_s_size_stay_as_they_are() -> None:
    student, teacher, _, _ = drawn(5)
    assert torch.equal(on_teacher_grid(student, teacher), student)
    assert on_teacher_grid(student, torch.zeros(2, 5, 9, 7)).shape == (2, 5, 9, 7)


def test_grids_that_do_not_fit_are_named() -> None:
    student, teacher, labels, mask = drawn(6)
    for loss in DISTILLED:
        with pytest.raises(ValueError, match=r"\(2, 5, 4, 3\).*\(2, 5, 2, 3\).*on_teacher_grid"):
            loss(student, teacher[:, :, :2], mask)
        with pytest.raises(ValueError, match=r"mask .*\(2, 2, 3\).*\(2, 4, 3\)"):
            loss(student, teacher, mask[:, :2])
    for labelled in LABELLED:
        with pytest.raises(ValueError, match=r"labels .*\(2, 2, 3\).*\(2, 4, 3\)"):
            labelled(student, labels[:, :2])


def test_background_against_everybody_leaves_open_who_a_pixel_is_of() -> None:
    logits = log([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.9, 0.05, 0.05]]).requires_grad_()
    person = torch.tensor([[[True, False, True]]])
    mask = torch.tensor([[[True, True, False]]])
    found = person_or_background(logits, person, mask)
    assert found.item() == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)
    found.backward()
    # What makes somebody likelier is shared as the classes of people share it already.
    first = logits.grad[0, :, 0, 0]
    assert (first[1] / first[2]).item() == pytest.approx(0.3 / 0.2, rel=1e-4)
    assert (logits.grad[..., 2] == 0).all()
    assert person_or_background(logits, person, torch.zeros_like(mask)).item() == 0


def test_left_against_right_is_the_same_whatever_both_have_together() -> None:
    logits = log([[0.2, 0.6, 0.2], [0.98, 0.005, 0.015], [0.1, 0.8, 0.1]]).requires_grad_()
    is_left, mask = torch.tensor([[[True, False, False]]]), torch.tensor([[[True, True, False]]])
    found = left_or_right(logits, 1, 2, is_left, mask)
    assert found.item() == pytest.approx(-2 * math.log(0.75), rel=1e-4)
    found.backward()
    assert (logits.grad[:, 0] == 0).all()
    assert left_or_right(logits, 1, 2, is_left, torch.zeros_like(mask)).item() == 0
