from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.data.dataset import IGNORE_LABEL, Dataset, LabelMap, Sample  # noqa: E402
from trtparse.data.images import write_png  # noqa: E402
from trtparse.distillation import criterion as module  # noqa: E402
from trtparse.distillation.criterion import Criterion  # noqa: E402
from trtparse.distillation.kept_answers import KeptAnswers  # noqa: E402
from trtparse.distillation.limbs import LIMBS, LimbMaps  # noqa: E402
from trtparse.distillation.loader import UNLABELLED, Part  # noqa: E402
from trtparse.distillation.losses import (  # noqa: E402
    class_relation,
    cross_entropy,
    kl_divergence,
    left_or_right,
    person_or_background,
)
from trtparse.distillation.optimising import Precision, learning_rate  # noqa: E402
from trtparse.distillation.recipe import Data, Distillation, Loss, Optimizer, Recipe  # noqa: E402
from trtparse.distillation.scenes import Backgrounds  # noqa: E402
from trtparse.distillation.stepping import StepProgress  # noqa: E402
from trtparse.distillation.teacher import Teacher, load_teacher  # noqa: E402
from trtparse.distillation.training import (  # noqa: E402
    Images,
    evaluate,
    train,
)
from trtparse.errors import DataError, MachineError, TrtparseError, UsageError  # noqa: E402
from trtparse.networks.checkpoint import load_checkpoint  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.networks.student import Student, StudentSpec  # noqa: E402
from trtparse.networks.weights import DEFAULT_WEIGHTS  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.label_set import LabelSet, label_set  # noqa: E402
from trtparse.specs.origin import Origin  # noqa: E402
from trtparse.storage import files  # noqa: E402
from trtparse.tests.signals import handled  # noqa: E402

LIP = label_set("lip")

TINY = Recipe(steps=4, batch=2, input_size=(64, 64), validate_every=2, optimizer=Optimizer(warm_up=1))


def fit(recipe: Recipe, data: Dataset, output: Path, **options: Any) -> Path:
    return train(recipe, Images((Part(data),), data), output, **options)


@pytest.fixture(scope="module")
def few(new_people: Any) -> Dataset:
    return new_people(3, seed=7)


class Killed(Exception):
    pass


def kill_at(step: int) -> Any:
    def report(now: StepProgress) -> None:
        if now.step == step:
            raise Killed

    return report


@pytest.mark.usefixtures("short_trunks")
def test_a_run_makes_the_best_checkpoint_and_reports_every_step(few: Dataset, tmp_path: Path) -> None:
    seen: list[StepProgress] = []
    best = fit(replace(TINY, stretch=1.5), few, tmp_path, on_progress=seen.append)
    assert [now.step for now in seen] == [1, 2, 3, 4]
    assert seen[0].score is None
    assert seen[-1].best is not None
    assert (load_checkpoint(best).input_size, load_checkpoint(best).stretch) == ((64, 64), 1.5)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4]


@pytest.mark.usefixtures("short_trunks")
def test_a_killed_run_goes_on_to_the_same_weights(few: Dataset, tmp_path: Path) -> None:
    whole = fit(TINY, few, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(TINY, few, tmp_path / "killed", on_progress=kill_at(3))
    seen: list[StepProgress] = []
    resumed = fit(TINY, few, tmp_path / "killed", on_progress=seen.append)
    assert [now.step for now in seen] == [3, 4]
    states = [torch.load(path.parent / "state.pt", weights_only=True) for path in (whole, resumed)]
    for name, value in states[0]["network"].items():
        torch.testing.assert_close(states[1]["network"][name], value, rtol=0, atol=0)
    assert whole.read_bytes() == resumed.read_bytes()


@pytest.mark.usefixtures("short_trunks")
def test_a_run_that_is_asked_to_end_saves_the_step_in_hand_and_goes_on_from_it(few: Dataset, tmp_path: Path) -> None:
    whole = fit(TINY, few, tmp_path / "whole")

    def end(now: StepProgress) -> None:
        if now.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with handled(), pytest.raises(KeyboardInterrupt):
        fit(TINY, few, tmp_path / "cut", on_progress=end)
    assert torch.load(tmp_path / "cut" / "state.pt", weights_only=True)["step"] == 1
    assert fit(TINY, few, tmp_path / "cut").read_bytes() == whole.read_bytes()


def test_scaled_gradients_train_what_unscaled_ones_do(
    few: Dataset, tmp_path: Path, scale_gradients: Callable[[], None], short_trunks: None
) -> None:
    fit(TINY, few, tmp_path / "plain")
    scale_gradients()
    fit(TINY, few, tmp_path / "scaled")
    plain, scaled = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("plain", "scaled"))
    assert not plain["scaler"]
    assert scaled["scaler"]["scale"] > 1
    for name, value in plain["network"].items():
        torch.testing.assert_close(scaled["network"][name], value, msg=name)


def test_a_run_that_began_without_scaled_gradients_goes_on_where_they_are_scaled(
    few: Dataset, tmp_path: Path, scale_gradients: Callable[[], None], short_trunks: None
) -> None:
    with pytest.raises(Killed):
        fit(TINY, few, tmp_path, on_progress=kill_at(3))
    scale_gradients()
    assert fit(TINY, few, tmp_path).exists()
    assert torch.load(tmp_path / "state.pt", weights_only=True)["scaler"]["scale"] > 1


@pytest.mark.usefixtures("short_trunks")
def test_one_image_a_step_is_refused_where_a_batch_norm_needs_two_and_the_folder_serves_two(
    few: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot be trained on one image a step") as caught:
        fit(replace(TINY, batch=1), few, tmp_path)
    assert "batch to 2 or more" in caught.value.hint
    assert fit(TINY, few, tmp_path).exists()


@pytest.mark.usefixtures("short_trunks")
def test_a_finished_run_is_left_as_it_is(few: Dataset, tmp_path: Path) -> None:
    best = fit(TINY, few, tmp_path)
    before = best.read_bytes()
    assert fit(TINY, few, tmp_path).read_bytes() == before


@pytest.mark.usefixtures("short_trunks")
def test_another_recipe_does_not_go_on_with_an_old_run_and_the_difference_is_named(
    few: Dataset, tmp_path: Path
) -> None:
    fit(TINY, few, tmp_path)
    with pytest.raises(UsageError, match=r"another recipe: optimizer\.learning_rate \(0\.0012 and 0\.0001\)"):
        fit(replace(TINY, optimizer=Optimizer(warm_up=1, learning_rate=1e-4)), few, tmp_path)


@pytest.mark.usefixtures("short_trunks")
def test_steps_lower_the_loss_on_what_was_seen(few: Dataset, tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = replace(TINY, steps=20, batch=4, validate_every=20)
    fit(recipe, few, tmp_path, on_progress=lambda now: losses.append(now.loss))
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


@pytest.mark.usefixtures("short_trunks")
@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": Optimizer(kind="sgd", schedule="cosine", average=0.0)},
        {"crop": (96, 64), "loss": Loss(lovasz=1.0, auxiliary=0.0)},
        {"precision": "fp32"},
        {
            "network": Recipe.from_dict(
                {"network": {"kind": "c-dlinknet", "options": {"backbone": "resnet34", "smooth_level": 4}}}
            ).network
        },
    ],
    ids=["sgd", "crop and Lovász", "fp32", "C-DLinkNet"],
)
def test_every_kind_of_recipe_trains(few: Dataset, tmp_path: Path, changed: dict[str, Any]) -> None:
    seen: list[StepProgress] = []
    best = fit(replace(TINY, steps=2, **changed), few, tmp_path, on_progress=seen.append)
    assert all(np.isfinite(now.loss) for now in seen)
    assert load_checkpoint(best).input_size == (64, 64)


class Unlabelled:
    description, names, labelled, label_set = "a folder", ("a", "b"), False, LIP

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.names[index], np.full((64, 64, 3), 90 * index, np.uint8), None)

    def labels(self, index: int) -> LabelMap:
        raise DataError("no labels", "")


def test_images_without_labels_are_refused_where_labels_are_needed(few: Dataset, tmp_path: Path) -> None:
    for parts, held_out in (((Part(few), Part(Unlabelled())), few), ((Part(few),), Unlabelled())):
        with pytest.raises(DataError, match="no labelled images"):
            train(TINY, Images(parts, held_out), tmp_path)
    with pytest.raises(DataError, match="without a teacher"):
        train(TINY, Images((Part(few), Part(Unlabelled(), labels=False)), few), tmp_path)
    with pytest.raises(DataError, match="no images to train on"):
        train(TINY, Images((), few), tmp_path)


@pytest.mark.slow
def test_a_student_learns_from_its_teacher_on_images_without_labels(
    few: Dataset, new_people: Any, tmp_path: Path
) -> None:
    teacher = load_teacher(DEFAULT_WEIGHTS)
    distillation = Distillation(teacher=str(DEFAULT_WEIGHTS), kl=1.0, auxiliary=0.5)
    recipe = replace(TINY, steps=12, validate_every=12, distillation=distillation)
    bare = Part(new_people(3, seed=8), labels=False)
    losses: list[float] = []
    train(recipe, Images((bare,), few), tmp_path, teacher=teacher, on_progress=lambda now: losses.append(now.loss))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


@pytest.mark.slow
def test_a_run_with_hints_goes_on_after_a_kill_to_the_same_weights(few: Dataset, tmp_path: Path) -> None:
    teacher = load_teacher(DEFAULT_WEIGHTS)
    distillation = Distillation(teacher="given", inter=0.0, intra=0.0, hints=1.0)
    recipe = replace(TINY, steps=3, validate_every=2, distillation=distillation)
    whole = fit(recipe, few, tmp_path / "whole", teacher=teacher)
    with pytest.raises(Killed):
        fit(recipe, few, tmp_path / "killed", teacher=teacher, on_progress=kill_at(2))
    assert fit(recipe, few, tmp_path / "killed", teacher=teacher).read_bytes() == whole.read_bytes()


def test_hints_need_a_teacher_with_the_levels_of_ours(few: Dataset, tmp_path: Path) -> None:
    foreign = Teacher(Student(), "schp", LIP)
    foreign.network = torch.nn.Identity()
    with pytest.raises(UsageError, match="not of schp"):
        fit(replace(TINY, distillation=Distillation(teacher="given", hints=1.0)), few, tmp_path, teacher=foreign)


def test_a_teacher_is_not_changed_by_its_student(few: Dataset, tmp_path: Path) -> None:
    teacher = load_teacher(DEFAULT_WEIGHTS)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    recipe = replace(TINY, steps=2, distillation=Distillation(teacher="given"))
    fit(recipe, few, tmp_path, teacher=teacher)
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())


def test_a_recipe_and_a_teacher_that_do_not_belong_together_are_refused(few: Dataset, tmp_path: Path) -> None:
    teacher = Teacher(Student(), "trtparse", LIP)
    with pytest.raises(UsageError, match="do not belong together"):
        fit(TINY, few, tmp_path, teacher=teacher)
    with pytest.raises(UsageError, match="do not belong together"):
        fit(replace(TINY, distillation=Distillation(teacher="a")), few, tmp_path)


def test_a_start_from_another_network_is_refused(few: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "eighth.safetensors"
    save_checkpoint(Student(StudentSpec(finest_stride=8)), path, Framing((64, 64)), LIP)
    recipe = replace(TINY, network=replace(TINY.network, initial=str(path)))
    with pytest.raises(UsageError, match=r"network\.initial.*'finest_stride': 8"):
        fit(recipe, few, tmp_path / "run")
    with pytest.raises(UsageError, match="num_classes is 7"):
        fit(replace(TINY, network=replace(TINY.network, options={"num_classes": 7})), few, tmp_path / "run")


def test_a_run_starts_from_the_checkpoint_that_it_is_given(few: Dataset, tmp_path: Path) -> None:
    optimizer = Optimizer(learning_rate=1e-9, average=0.0)
    network = replace(TINY.network, initial=str(DEFAULT_WEIGHTS))
    recipe = replace(TINY, steps=1, optimizer=optimizer, network=network, precision="fp32")
    best = load_checkpoint(fit(recipe, few, tmp_path)).network.state_dict()
    start = load_checkpoint(DEFAULT_WEIGHTS).network.state_dict()
    for name in (name for name in start if "running" not in name):
        torch.testing.assert_close(best[name], start[name], rtol=2e-3, atol=1e-5)


@pytest.mark.usefixtures("short_trunks")
def test_a_loss_that_is_no_number_stops_names_the_images_and_keeps_the_checkpoint(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = fit(replace(TINY, steps=2), few, tmp_path)
    before = best.read_bytes()
    (tmp_path / "state.pt").unlink()
    monkeypatch.setattr(module, "cross_entropy", lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrtparseError, match="step 1") as caught:
        fit(TINY, few, tmp_path)
    assert any(name in caught.value.message for name in few.names)
    assert "learning_rate" in caught.value.hint
    assert best.read_bytes() == before


@pytest.mark.usefixtures("short_trunks")
def test_a_full_disk_leaves_the_previous_checkpoint_and_state(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        fit(TINY, few, tmp_path, on_progress=kill_at(2))
    kept = {name: (tmp_path / name).read_bytes() for name in ("best.safetensors", "state.pt")}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(MachineError, match="No space left"):
        fit(TINY, few, tmp_path)
    monkeypatch.undo()
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    fit(TINY, few, tmp_path)  # and with space again it goes on


@pytest.mark.usefixtures("short_trunks")
def test_the_log_for_tensorboard_has_loss_rate_and_scores(few: Dataset, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(TINY, few, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "learning_rate", "validation/mean_iou"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("loss")] == [2, 4]


@pytest.mark.parametrize(("generation", "chosen"), [(7, "fp16"), (8, "bf16")])
def test_a_gpu_that_only_emulates_bfloat16_trains_in_float16(
    monkeypatch: pytest.MonkeyPatch, generation: int, chosen: str
) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=generation))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert Precision("auto", torch.device("cuda")).name == chosen


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    poly = Optimizer(learning_rate=1.0 - 1e-9, warm_up=10)
    assert learning_rate(poly, 0, 100) == pytest.approx(0.1)
    assert learning_rate(poly, 50, 100) == pytest.approx(0.5**0.9)
    cosine = Optimizer(learning_rate=1.0 - 1e-9, warm_up=0, schedule="cosine")
    assert learning_rate(cosine, 50, 100) == pytest.approx(0.5)
    for optimizer in (poly, cosine):
        rates = [learning_rate(optimizer, step, 100) for step in range(10, 100)]
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.02


def test_half_precision_floats_need_a_gpu() -> None:
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        Precision("fp16", torch.device("cpu"))
    assert not Precision("fp32", torch.device("cpu")).scaler.is_enabled()


@pytest.mark.slow
def test_the_score_of_a_run_is_the_one_that_validation_counts(people: Dataset) -> None:
    from trtparse.engines.reference import PyTorchEngine
    from trtparse.tests.predicting import predicting
    from trtparse.validation.validate import validate

    network = load_checkpoint(DEFAULT_WEIGHTS).network
    scores = evaluate(network, people, (256, 192), 1.0, Precision("fp32", torch.device("cpu")))
    one, other = (predicting(PyTorchEngine(network, (256, 192))) for _ in range(2))
    with one, other:
        counted = validate(one, other, people).reference
    # Not to the last bit: a batch of 12 is summed in another order than 12 images, and a near-tie may turn.
    assert counted is not None
    assert scores.mean_iou == pytest.approx(counted.mean_iou, abs=1e-4)


PARTS = LabelSet("Parts", ("Nothing", "Skin", "Rest"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)), rare=("Rest",))


def in_parts(dataset: Dataset) -> Any:
    """The people with three classes: LIP's ids modulo 3."""
    kept = copy.copy(dataset)
    kept.label_set = PARTS  # type: ignore[attr-defined]
    plain = kept._sample  # type: ignore[attr-defined]
    kept._sample = lambda index: replace(plain(index), labels=plain(index).labels % 3)  # type: ignore[attr-defined]
    return kept


@pytest.fixture
def parts_toml(tmp_path: Path) -> Path:
    path = tmp_path / "parts.toml"
    path.write_text(PARTS_TOML)
    assert label_set(path) == PARTS
    return path


PARTS_TOML = """
name = "Parts"
rare = ["Rest"]
classes = [
    { name = "Nothing", colour = [0, 0, 0] },
    { name = "Skin", colour = [255, 0, 0] },
    { name = "Rest", colour = [0, 255, 0] },
]
"""


@pytest.mark.usefixtures("short_trunks")
def test_a_network_of_another_label_set_has_its_classes_names_and_origin(
    few: Dataset, tmp_path: Path, parts_toml: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = replace(TINY, steps=2, labels=str(parts_toml), origin=Origin("three people", "CC0"))
    best = load_checkpoint(fit(recipe, in_parts(few), tmp_path / "run"))
    assert best.network.spec.num_classes == 3
    assert (best.spec, best.origin) == (PARTS, Origin("three people", "CC0"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    told = {name for name in events.Tags()["scalars"] if name.startswith("IoU/")}
    assert told <= {f"IoU/{name}" for name in PARTS.classes}
    assert "IoU/Nothing" in told


@pytest.mark.usefixtures("short_trunks")
def test_a_run_does_not_go_on_with_a_set_that_was_changed_in_its_file(
    few: Dataset, tmp_path: Path, parts_toml: Path
) -> None:
    recipe = replace(TINY, steps=2, validate_every=1, labels=str(parts_toml))
    people = in_parts(few)
    with pytest.raises(Killed):
        fit(recipe, people, tmp_path / "run", on_progress=kill_at(1))
    parts_toml.write_text(PARTS_TOML.replace("Skin", "Hair"))
    people.label_set = label_set(parts_toml)
    with pytest.raises(UsageError, match=r"The run in .*run has the label set Parts .*id 1 is Skin in one and Hair"):
        fit(recipe, people, tmp_path / "run")


def test_images_a_start_and_a_teacher_of_another_set_are_refused_with_both_named(
    few: Dataset, tmp_path: Path, parts_toml: Path
) -> None:
    recipe = replace(TINY, labels=str(parts_toml))
    with pytest.raises(UsageError, match=r"LIP-20 \(20 classes\), and the recipe has Parts \(3 classes\)"):
        fit(recipe, few, tmp_path / "run")
    network = replace(TINY.network, initial=str(DEFAULT_WEIGHTS))
    with pytest.raises(UsageError, match=r"student\.safetensors has .*LIP-20.*and the recipe has Parts"):
        fit(replace(recipe, network=network), in_parts(few), tmp_path / "run")
    taught = replace(recipe, distillation=Distillation(teacher="t.pth"))
    with pytest.raises(UsageError, match=r"t\.pth has the label set LIP-20.*the student has Parts"):
        fit(taught, in_parts(few), tmp_path / "run", teacher=Teacher(Student(), "trtparse", LIP))


def test_more_classes_than_there_are_ids_left_are_refused(few: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "many.toml"
    rows = "".join(f'{{ name = "{number}", colour = [0, 0, {number}] }},' for number in range(255))
    path.write_text(f'name = "Many"\nclasses = [{rows}]')
    with pytest.raises(UsageError, match=r"Many \(255 classes\) is more than training takes: 254"):
        fit(replace(TINY, labels=str(path)), few, tmp_path / "run")


class TestTheLossOfABatch:
    """Logits of 2x2 cells for labels of 4x4 pixels, so that a cell is two pixels wide and high."""

    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 20, 2, 2, generator=generator)
    answers = torch.randn(1, 20, 2, 2, generator=generator)
    labels = torch.tensor([[[3, 3, 5, 5], [3, 3, 5, 5], [0, 0, 255, 255], [0, 0, 255, 255]]], dtype=torch.uint8)
    cells = torch.tensor([[[3, 5], [0, 255]]], dtype=torch.uint8)

    def test_is_the_sum_of_what_labels_and_teacher_ask_for(self) -> None:
        loss = Loss(cross_entropy=2.0, rare_class_weight=1.0)
        distillation = Distillation(teacher="t", weight=3.0, inter=0.5, intra=2.0)
        found = Criterion(loss, distillation, 0.4, LIP)([self.coarse, self.coarse], self.labels, self.answers)
        plain = cross_entropy(self.coarse, self.cells)
        relation = class_relation(self.coarse, self.answers, self.cells != 255, inter=0.5, intra=2.0)
        assert found.item() == pytest.approx((2 * plain + 0.4 * plain + 3 * relation).item(), rel=1e-5)

    def test_of_a_photograph_without_labels_is_the_teachers_part_alone(self) -> None:
        bare = torch.where(self.labels == IGNORE_LABEL, self.labels, torch.tensor(UNLABELLED, dtype=torch.uint8))
        criterion = Criterion(Loss(lovasz=1.0), Distillation(teacher="t"), 0.4, LIP)
        found = criterion([self.coarse, self.coarse], bare, self.answers)
        relation = class_relation(self.coarse, self.answers, self.cells != 255)
        assert found.item() == pytest.approx(relation.item(), rel=1e-5)

    def test_weighs_rare_classes_as_the_recipe_says(self) -> None:
        heavy = Criterion(Loss(rare_class_weight=5.0), Distillation(), 0.4, LIP)
        weights = torch.ones(20)
        weights[[1, 3, 4, 6, 8, 10, 11, 12]] = 5
        assert heavy([self.coarse], self.labels).item() == pytest.approx(
            cross_entropy(self.coarse, self.cells, weights).item(), rel=1e-5
        )

    def test_of_limbs_is_of_the_pixels_that_labels_say_nothing_of(self) -> None:
        bare = torch.full_like(self.labels, UNLABELLED)
        bare[:, :2, :2] = 3
        limbs = torch.full_like(self.labels, LIMBS.id_of("Person"))
        limbs[:, 2:, :2] = 0
        found = Criterion(Loss(0.0, person=2.0), Distillation(), 0.4, LIP)([self.coarse], bare, None, limbs)
        person = torch.tensor([[[True, True], [False, True]]])
        counts = torch.tensor([[[False, True], [True, True]]])
        assert found.item() == pytest.approx(2 * person_or_background(self.coarse, person, counts).item(), rel=1e-5)

    @pytest.mark.parametrize("taught", [True, False])
    def test_of_sides_is_where_somebody_says_that_skin_is(self, taught: bool) -> None:
        bare = torch.full_like(self.labels, UNLABELLED)
        left, right = LIP.id_of("Left-arm"), LIP.id_of("Right-arm")
        limbs = torch.full_like(self.labels, LIMBS.id_of("Right-arm"))
        judge = torch.zeros(1, 20, 2, 2)
        judge[:, left, 0, 0] = judge[:, right, 0, 1] = 9
        judge[:, LIP.id_of("Coat"), 1] = 9
        coarse = self.coarse if taught else judge
        criterion = Criterion(Loss(0.0, sides=3.0), Distillation(weight=0.0), 0.4, LIP)
        found = criterion([coarse], bare, judge if taught else None, limbs)
        skin = torch.tensor([[[True, True], [False, False]]])
        wanted = left_or_right(coarse, left, right, torch.zeros_like(skin), skin) / 2
        assert found.item() == pytest.approx(3 * wanted.item(), rel=1e-5)

    def test_leaves_out_what_a_teacher_says_against_limbs_and_where_it_was_not_asked(self) -> None:
        bare = torch.full_like(self.labels, UNLABELLED)
        judge = torch.zeros(1, 20, 2, 2)
        judge[:, LIP.id_of("Coat"), 0] = judge[:, LIP.id_of("Left-arm"), 1] = 9
        limbs = torch.full_like(self.labels, IGNORE_LABEL)
        limbs[:, :2, :2] = 0
        limbs[:, 2:, :2] = LIMBS.id_of("Right-arm")
        asked = torch.tensor([[[True, True], [True, False]]])
        criterion = Criterion(Loss(), Distillation(inter=0, intra=0, kl=1.0), 0.4, LIP)
        found = criterion([self.coarse], bare, judge, limbs, asked)
        left = torch.tensor([[[False, True], [False, False]]])
        assert found.item() == pytest.approx(kl_divergence(self.coarse, judge, left).item(), rel=1e-5)


def test_what_a_recipe_asks_of_limbs_and_answers_must_be_there_and_fit(
    few: Dataset, tmp_path: Path, parts_toml: Path
) -> None:
    limbs, kept = LimbMaps(tmp_path), KeptAnswers(tmp_path, LIP, (64, 64), 1.0)
    asked = replace(TINY, loss=Loss(person=1.0))
    for recipe, part in ((asked, Part(few)), (TINY, Part(few, limbs=limbs))):
        with pytest.raises(UsageError, match="need maps of limbs, and maps of limbs need them"):
            train(recipe, Images((part,), few), tmp_path)
    answered = Images((Part(few, answers=kept),), few)
    taught = replace(TINY, distillation=Distillation(teacher="given"))
    with pytest.raises(UsageError, match="has a teacher, and sources have answers"):
        train(taught, answered, tmp_path, teacher=Teacher(Student(), "trtparse", LIP))
    with pytest.raises(UsageError, match="needs the teacher itself"):
        train(replace(TINY, distillation=Distillation(hints=1.0)), answered, tmp_path)
    other = Images((Part(in_parts(few), answers=kept),), in_parts(few))
    with pytest.raises(UsageError, match=r"The teacher of .* has the label set LIP-20"):
        train(replace(TINY, labels=str(parts_toml)), other, tmp_path)


@pytest.mark.usefixtures("short_trunks")
def test_limbs_and_kept_answers_teach_without_a_label_and_without_a_teacher(few: Dataset, tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path / "answers", LIP, (64, 64), 1.0)
    kept.begin()
    for index, name in enumerate(few.names):
        sample = few[index]
        kept.write(name, sample.image, lambda frames: torch.randn(1, 20, 16, 16))
        write_png(tmp_path / f"{name}.png", (sample.labels > 0).astype(np.uint8))
    parts = (
        Part(few, labels=False, limbs=LimbMaps(tmp_path)),
        Part(few, labels=False, answers=kept),
        Part(few, labels=False, empty=True),
    )
    recipe = replace(TINY, batch=6, steps=2, loss=Loss(person=1.0, sides=1.0))
    recipe = replace(recipe, distillation=Distillation(kl=1.0), data=Data(pasted=0.5, backgrounds="given"))
    losses: list[float] = []
    images = Images(parts, few, Backgrounds(few))
    train(recipe, images, tmp_path / "run", on_progress=lambda now: losses.append(now.loss))
    assert all(0 < loss < 100 for loss in losses)


@pytest.mark.slow
@pytest.mark.usefixtures("short_trunks")
def test_a_state_of_a_version_with_a_loop_of_its_own_is_gone_on_with(few: Dataset, tmp_path: Path) -> None:
    whole = fit(TINY, few, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(TINY, few, tmp_path / "old", on_progress=kill_at(2))
    path = tmp_path / "old" / "state.pt"
    state = torch.load(path, weights_only=True)
    for key in ("network", "average"):
        state[key] = {name.removeprefix("network."): value for name, value in state[key].items()}
    torch.save({**state, "hints": None}, path)
    assert fit(TINY, few, tmp_path / "old").read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("short_trunks")
def test_a_run_can_be_made_longer(few: Dataset, tmp_path: Path) -> None:
    recipe = replace(TINY, steps=1, validate_every=1, optimizer=Optimizer(warm_up=1, schedule="trapezoid"))
    fit(recipe, few, tmp_path)
    fit(replace(recipe, steps=2), few, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[1] == {"step": 1, "changed": ["steps (1 and 2)"]}
    assert log[2]["step"] == 2


@pytest.mark.usefixtures("short_trunks")
def test_a_state_that_cannot_be_read_is_an_error_that_names_it_and_leaves_it(few: Dataset, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    torch.save({"weights": torch.zeros(1000)}, state)
    for content in (state.read_bytes(), state.read_bytes()[:1000], b""):
        state.write_bytes(content)
        with pytest.raises(UsageError, match=r"state\.pt is no state of a run"):
            fit(TINY, few, tmp_path)
        assert state.read_bytes() == content
