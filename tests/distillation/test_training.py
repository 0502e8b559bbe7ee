from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.data.dataset import Dataset, LabelMap, Sample  # noqa: E402
from trtparse.data.synthetic import SyntheticPeople  # noqa: E402
from trtparse.distillation import training as module  # noqa: E402
from trtparse.distillation.training import Progress, TrainingSpec, train  # noqa: E402
from trtparse.errors import DataError, TrtparseError, UsageError  # noqa: E402
from trtparse.networks.checkpoint import load_checkpoint  # noqa: E402

TINY = TrainingSpec(steps=4, batch=2, input_size=(64, 64), warm_up=1, validate_every=2)


@pytest.fixture(scope="module")
def few() -> Dataset:
    return SyntheticPeople(3, seed=7)


class Killed(Exception):
    pass


def kill_at(step: int) -> object:
    def report(now: Progress) -> None:
        if now.step == step:
            raise Killed

    return report


def test_a_run_makes_the_best_checkpoint_and_reports_every_step(few: Dataset, tmp_path: Path) -> None:
    seen: list[Progress] = []
    best = train([few], few, tmp_path, TINY, on_progress=seen.append)
    assert [now.step for now in seen] == [1, 2, 3, 4]
    assert seen[0].mean_iou is None
    assert seen[-1].best is not None
    assert load_checkpoint(best).input_size == (64, 64)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4]


def test_a_killed_run_goes_on_to_the_same_weights(few: Dataset, tmp_path: Path) -> None:
    whole = train([few], few, tmp_path / "whole", TINY)
    with pytest.raises(Killed):
        train([few], few, tmp_path / "killed", TINY, on_progress=kill_at(3))  # type: ignore[arg-type]
    seen: list[Progress] = []
    resumed = train([few], few, tmp_path / "killed", TINY, on_progress=seen.append)
    assert [now.step for now in seen] == [3, 4]
    states = [torch.load(path.parent / "state.pt", weights_only=True) for path in (whole, resumed)]
    for name, value in states[0]["network"].items():
        torch.testing.assert_close(states[1]["network"][name], value, rtol=0, atol=0)
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_finished_run_is_left_as_it_is(few: Dataset, tmp_path: Path) -> None:
    best = train([few], few, tmp_path, TINY)
    before = best.read_bytes()
    assert train([few], few, tmp_path, TINY).read_bytes() == before


def test_another_recipe_does_not_go_on_with_an_old_run(few: Dataset, tmp_path: Path) -> None:
    train([few], few, tmp_path, TINY)
    with pytest.raises(UsageError, match="another recipe"):
        train([few], few, tmp_path, TrainingSpec(**{**vars(TINY), "learning_rate": 1e-4}))


def test_steps_lower_the_loss_on_what_was_seen(few: Dataset, tmp_path: Path) -> None:
    losses: list[float] = []
    spec = TrainingSpec(steps=20, batch=4, input_size=(64, 64), warm_up=2, validate_every=20)
    train([few], few, tmp_path, spec, on_progress=lambda now: losses.append(now.loss))
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


class Unlabelled:
    description, names, labelled = "a folder", ("a",), False

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        raise IndexError(index)

    def labels(self, index: int) -> LabelMap:
        raise IndexError(index)


def test_images_without_labels_are_refused(few: Dataset, tmp_path: Path) -> None:
    for parts in ([few, Unlabelled()], [Unlabelled()]):
        with pytest.raises(DataError, match="no labelled images"):
            train(parts, few, tmp_path, TINY)


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = train([few], few, tmp_path, TrainingSpec(**{**vars(TINY), "steps": 2}))
    before = best.read_bytes()
    (tmp_path / "state.pt").unlink()
    monkeypatch.setattr(module.F, "cross_entropy", lambda *_, **__: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrtparseError, match="step 1") as caught:
        train([few], few, tmp_path, TINY)
    assert "learning rate" in caught.value.hint
    assert best.read_bytes() == before


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 0}, {"input_size": (32, 64)}, {"learning_rate": -1.0}, {"validate_every": 0}]
)
def test_an_impossible_recipe_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrainingSpec(**wrong)  # type: ignore[arg-type]


def test_every_image_comes_once_per_epoch_in_an_order_of_its_own() -> None:
    class Counted:
        labelled, description = True, "counted"
        seen: Sequence[int]

        def __init__(self) -> None:
            self.seen = []

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Sample:
            self.seen = [*self.seen, index]
            return Sample(str(index), np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8))

    data = Counted()
    spec = TrainingSpec(steps=4, batch=3, input_size=(64, 64))
    loader = module._Loader([data], spec, 0)  # type: ignore[list-item]
    for _ in range(4):
        loader.next()
    loader.close()
    assert sorted(data.seen[:6]) == sorted(data.seen[6:]) == list(range(6))
    assert data.seen[:6] != data.seen[6:]
