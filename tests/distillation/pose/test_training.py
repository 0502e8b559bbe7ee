from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from trtparse.distillation.pose.loader import Album  # noqa: E402
from trtparse.distillation.pose.recipe import PoseRecipe  # noqa: E402
from trtparse.distillation.pose.training import PoseImages, train  # noqa: E402
from trtparse.distillation.stepping import StepProgress  # noqa: E402
from trtparse.errors import TrtparseError, UsageError  # noqa: E402
from trtparse.networks.pose import PoseNetwork, PoseSpec  # noqa: E402
from trtparse.tasks.pose.examples import labelled_examples  # noqa: E402
from trtparse.tasks.pose.people import People  # noqa: E402
from trtparse.tests.signals import handled  # noqa: E402

VALUES = {
    "phases": [
        {"input_size": "64x64", "batch": 2, "steps": 2, "sigma": 1.0},
        {"input_size": "96x64", "batch": 3, "steps": 2, "sigma": 1.0},
    ],
    "optimizer": {"learning_rate": 0.01, "warm_up": 0},
    "validate_every": 2,
    "save_every": 1,
    "precision": "fp32",
}


class Tiny(PoseNetwork):
    """Two convolutions to a quarter of the size; one stage of two units."""

    unit_weights = (0.5, 1.0)

    def __init__(self) -> None:
        super().__init__("tiny", PoseSpec())
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU())
        self.coarse, self.fine = nn.Conv2d(8, 17, 3, padding=1), nn.Conv2d(8, 17, 3, padding=1)

    def heatmaps(self, image: Tensor) -> Tensor:
        return self.fine(self.trunk(image))

    def supervised(self, image: Tensor) -> list[list[Tensor]]:
        feature = self.trunk(image)
        return [[self.coarse(feature), self.fine(feature)]]


def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture
def images(drawn: People) -> PoseImages:
    examples = labelled_examples(drawn, drawn.skeleton, Album().reader)
    return PoseImages(examples, np.ones(len(examples)), drawn)


def run(images: PoseImages, folder: Path, **changed: object) -> Path:
    recipe = PoseRecipe.from_dict({**VALUES, **changed})
    return train(recipe, images, tiny(), folder, skeleton=images.validation.skeleton)


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["network"]


def test_a_run_validates_in_each_phase_at_its_input_size_and_keeps_the_best(images: PoseImages, tmp_path: Path) -> None:
    best = run(images, tmp_path)

    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["input_size"]) for entry in entries] == [(2, [64, 64]), (4, [96, 64])]
    assert all(0 <= entry["pck"] <= 1 and 0 <= entry["pck_flip"] <= 1 for entry in entries)
    assert set(load_file(best)) >= {name for name, _ in tiny().named_parameters()}


def test_scaled_gradients_train_what_unscaled_ones_do(
    images: PoseImages, tmp_path: Path, scale_gradients: Callable[[], None]
) -> None:
    run(images, tmp_path / "plain")
    scale_gradients()
    run(images, tmp_path / "scaled")
    plain, scaled = weights(tmp_path / "plain"), weights(tmp_path / "scaled")
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], value, msg=name)
    assert torch.load(tmp_path / "scaled" / "state.pt", weights_only=True)["scaler"]["scale"] > 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_was_asked_to_end_goes_on_to_the_same_weights(
    images: PoseImages, tmp_path: Path, number: signal.Signals
) -> None:
    run(images, tmp_path / "whole")
    recipe = PoseRecipe.from_dict(VALUES)

    def end(progress: StepProgress) -> None:
        if progress.step == 1:
            os.kill(os.getpid(), number)

    folder = tmp_path / "cut"
    with handled(), pytest.raises(KeyboardInterrupt):
        train(recipe, images, tiny(), folder, skeleton=images.validation.skeleton, on_progress=end)
    assert torch.load(folder / "state.pt", weights_only=True)["step"] == 1
    run(images, folder)

    whole, cut = weights(tmp_path / "whole"), weights(folder)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_a_resumed_run_may_have_other_phases_and_says_so(images: PoseImages, tmp_path: Path) -> None:
    run(images, tmp_path)

    longer = [*VALUES["phases"][:1], {"input_size": "96x64", "batch": 3, "steps": 3, "sigma": 1.0}]
    run(images, tmp_path, phases=longer)

    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entries[2]["step"] == 4
    assert "phases" in entries[2]["changed"][0]
    assert entries[3]["step"] == 5


def test_a_folder_with_a_run_of_another_network_is_refused(images: PoseImages, tmp_path: Path) -> None:
    run(images, tmp_path)

    with pytest.raises(UsageError, match=r"network\.kind"):
        run(images, tmp_path, network={"kind": "hrnet-w32"})


def test_a_loss_that_is_no_number_ends_the_run_and_names_images(images: PoseImages, tmp_path: Path) -> None:
    network = tiny()
    nn.init.constant_(network.fine.bias, float("nan"))

    with pytest.raises(TrtparseError, match=r"step 1 is nan.*rendered_5_"):
        train(PoseRecipe.from_dict(VALUES), images, network, tmp_path, skeleton=images.validation.skeleton)
