"""The training with INT8 in the loop, on a tiny student and rendered people."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.int8 import Int8Spec  # noqa: E402
from trtparse.calibration.quantise.placement import place  # noqa: E402
from trtparse.calibration.training import run  # noqa: E402
from trtparse.calibration.training.carried import carried_ranges  # noqa: E402
from trtparse.calibration.training.recipe import Int8Recipe  # noqa: E402
from trtparse.calibration.training.run import train  # noqa: E402
from trtparse.data.dataset import Dataset, Subset  # noqa: E402
from trtparse.distillation.stepping import StepProgress  # noqa: E402
from trtparse.errors import DataError, TrtparseError, UsageError  # noqa: E402
from trtparse.networks.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.tests.signals import handled  # noqa: E402
from trtparse.tests.tiny_student import tiny_students  # noqa: E402
from trtparse.trt_builder.build import BuildSpec, Listener, build_bundle  # noqa: E402

SMALL = Int8Recipe(steps=2, batch=2, calibrated=2, held_out=1, validate_every=1, save_every=1)


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with tiny_students():
        yield


@pytest.fixture(scope="module")
def student(tiny: None, small_weights: Path) -> Checkpoint:
    """The network of ``small_graph``."""
    return load_checkpoint(small_weights)


@pytest.fixture
def few(people: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Twelve images are enough here."""
    monkeypatch.setattr(run, "LEAST_IMAGES", 4)
    return people


Train = Callable[..., Path]


@pytest.fixture
def trained(student: Checkpoint, small_graph: onnx.ModelProto, few: Dataset) -> Train:
    def call(output: Path, recipe: Int8Recipe = SMALL, **options: Any) -> Path:
        return train(recipe, student, small_graph, few, output, threads=1, **options)

    return call


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(make_once: Callable[..., Path], student: Checkpoint, small_graph: onnx.ModelProto, people: Dataset) -> Path:
    """A run that has come to its end; to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "LEAST_IMAGES", 4)
        return make_once("int8-training", lambda folder: train(SMALL, student, small_graph, people, folder, threads=1))


def test_a_run_keeps_the_best_with_its_ranges_and_is_never_worse_than_its_start(
    whole: Path, small_graph: onnx.ModelProto, student: Checkpoint
) -> None:
    said = entries(whole)
    assert [entry["step"] for entry in said] == [0, 1, 2]
    assert all(0 < entry[name] <= 1 for entry in said for name in ("agreement", "int8", "int8-cpu"))
    best = load_checkpoint(whole / "best.safetensors")
    assert best.int8["finished"] is True
    ranges = carried_ranges(best.int8, small_graph, place(small_graph), "best")
    assert ranges.key.method == "learned"
    kept = said[best.int8["step"]]
    assert kept["agreement"] == max(entry["agreement"] for entry in said)
    starts = student.network.state_dict()  # random float32, and a run's checkpoint is in halves
    changed = [
        name for name, value in best.network.state_dict().items() if not torch.equal(value, starts[name].half().float())
    ]
    assert bool(changed) == (kept["step"] > 0)
    # Batch norms' statistics and factors are frozen.
    assert all("running" not in name and name.rpartition(".")[2] in ("weight", "bias") for name in changed)
    # Weights and ranges have both moved, whatever was kept.
    state = torch.load(whole / "state.pt", weights_only=True)["network"]
    assert (state["logarithms"] != 0).sum() > 20
    weights = [value for name, value in state.items() if name.startswith("weights.")]
    assert weights
    assert not any(torch.equal(value, start) for value in weights for start in starts.values())


def test_a_run_that_improves_nothing_keeps_its_start_and_says_so(
    trained: Train, student: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter((0.9,) * 2 + (0.5,) * 4)  # of both forms: the start, and two steps
    monkeypatch.setattr(run._Int8Run, "_agreement", lambda *_: next(scores))
    said: list[str] = []
    best = load_checkpoint(trained(tmp_path, on_stage=said.append))
    assert said[-1] == "No validation was as good as the start, which is kept"
    assert best.int8["step"] == 0
    assert [entry["agreement"] for entry in entries(tmp_path)] == [0.9, 0.5, 0.5]
    starts = student.network.state_dict()
    assert all(torch.equal(value, starts[name].half().float()) for name, value in best.network.state_dict().items())


def test_a_run_that_was_stopped_says_so_and_ends_where_one_that_was_not_does(
    trained: Train, whole: Path, tmp_path: Path, small_graph: onnx.ModelProto
) -> None:
    def end(progress: StepProgress) -> None:
        if progress.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with handled(), pytest.raises(KeyboardInterrupt):
        trained(tmp_path, on_progress=end)
    stopped = load_checkpoint(tmp_path / "best.safetensors")
    with pytest.raises(UsageError, match=r"stopped before its 2 steps"):
        carried_ranges(stopped.int8, small_graph, place(small_graph), "best")

    trained(tmp_path)

    assert (tmp_path / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()


def test_a_run_of_another_batch_or_network_is_not_gone_on_with(trained: Train, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "calibration.json").write_bytes((whole / "calibration.json").read_bytes())
    (tmp_path / "state.pt").write_bytes((whole / "state.pt").read_bytes())
    with pytest.raises(UsageError, match=r"batch \(2 and 4\)"):
        trained(tmp_path, replace(SMALL, batch=4))
    told = json.loads((whole / "calibration.json").read_text())
    told["key"]["model"] = "0" * 64
    (tmp_path / "calibration.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=r"INT8 training of another network"):
        trained(tmp_path)


def test_fewer_than_16_images_are_refused(
    student: Checkpoint, small_graph: onnx.ModelProto, people: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"holds 12 images.*16 at the least"):
        train(SMALL, student, small_graph, people, tmp_path)
    with pytest.raises(DataError, match=r"holds 1 image,"):
        train(SMALL, student, small_graph, Subset(people, (0,)), tmp_path)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_best(
    trained: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "trtparse.calibration.training.criterion.distance", lambda logits, *_: logits.sum() * float("nan")
    )
    with pytest.raises(TrtparseError, match=r"loss of step 1 is nan.*best.safetensors of .* is kept"):
        trained(tmp_path)
    assert load_checkpoint(tmp_path / "best.safetensors").int8["finished"] is False


@pytest.fixture
def building(quick_builds: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    with quick_builds():
        yield


SPEC = BuildSpec(Path("best"), "int8", (64, 64), int8=Int8Spec(), validate=False, threads=1)


def test_a_build_takes_the_ranges_as_they_are(whole: Path, few: Dataset, tmp_path: Path) -> None:
    # Exported for real: the run's weights are in halves, and others than the small graph's.
    said: list[str] = []
    spec = replace(SPEC, source=whole / "best.safetensors")

    bundle = build_bundle(spec, few, tmp_path / "b", Listener(said.append)).bundle

    assert any("ranges that the checkpoint carries" in stage for stage in said)
    assert "Calibrating" not in said
    assert bundle.manifest.calibration["method"] == "learned"
    carried = load_checkpoint(whole / "best.safetensors").int8
    assert json.loads((bundle.path / "calibration.json").read_text())["ranges"] == carried["ranges"]
    again = load_checkpoint(bundle.path / "student.safetensors")
    assert again.int8["ranges"] == carried["ranges"]


def test_a_build_refuses_ranges_of_another_graph_and_what_would_change_them(
    whole: Path, building: None, few: Dataset, tmp_path: Path
) -> None:
    spec = replace(SPEC, source=whole / "best.safetensors")
    with pytest.raises(UsageError, match=r"would change what was learned"):
        build_bundle(replace(spec, int8=Int8Spec(corrections=("bias",))), few, tmp_path / "b")
    loaded = load_checkpoint(whole / "best.safetensors")
    other = tmp_path / "other.safetensors"
    told = {**loaded.int8, "graph": "0" * 64}
    save_checkpoint(loaded.network, other, loaded.framing, loaded.spec, int8=told)
    with pytest.raises(UsageError, match=r"are of another graph"):
        build_bundle(replace(spec, source=other), few, tmp_path / "b")


def test_ranges_of_other_weights_are_refused(whole: Path, student: Checkpoint, tmp_path: Path) -> None:
    import safetensors.torch

    with safetensors.safe_open(whole / "best.safetensors", "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["head.logits.weight"] = tensors["head.logits.weight"] * 2
    safetensors.torch.save_file(tensors, tmp_path / "edited.safetensors", header)

    with pytest.raises(UsageError, match=r"learned with other weights"):
        load_checkpoint(tmp_path / "edited.safetensors")
