"""Every kind of checkpoint answers the same questions, so that nobody has to ask which kind it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import safetensors.torch  # noqa: E402

from trtparse.errors import UsageError  # noqa: E402
from trtparse.networks.any_checkpoint import load_any_checkpoint  # noqa: E402
from trtparse.networks.trained import Trained  # noqa: E402
from trtparse.networks.weights import WEIGHTS  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402
from trtparse.specs.skeleton import load_skeleton  # noqa: E402
from trtparse.specs.spec import spec_entry  # noqa: E402
from trtparse.tasks.open import task_named  # noqa: E402


@pytest.fixture(scope="module", params=sorted(WEIGHTS))
def trained(request: pytest.FixtureRequest) -> Trained:
    return load_any_checkpoint(WEIGHTS[request.param])


def test_its_task_is_that_of_its_tail_and_can_be_made_of_what_a_manifest_keeps(trained: Trained) -> None:
    size = trained.framing.input_size
    tail = trained.network.tail(size, trained.decoding)
    assert tail.answers.task == trained.task
    task = task_named(trained.task, trained.spec, trained.options)
    assert (task.name, task.spec) == (trained.task, trained.spec)
    frames = torch.zeros((1, *size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        answers = tail(trained.network(trained.network.prepared(frames)))
    assert answers.shape == (1, *tail.shape)
    (answer,) = task.unpack((answers.numpy(),))
    assert answer.dtype == answers.numpy().dtype


def test_what_is_saved_of_it_is_the_same_network_with_the_same_to_say(trained: Trained, tmp_path: Path) -> None:
    trained.save(tmp_path / "again.safetensors")
    again = load_any_checkpoint(tmp_path / "again.safetensors")
    told = [(one.task, one.framing, one.spec, one.decoding, one.options, one.properties) for one in (trained, again)]
    assert told[0] == told[1]
    theirs = again.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in trained.network.state_dict().items())


def test_only_what_finds_people_has_a_score_from_which_a_box_is_somebody() -> None:
    finder, parser = (load_any_checkpoint(WEIGHTS[task]) for task in ("people", "parsing"))
    assert finder.choosing(0.7).options["sure"] == 0.7
    assert parser.choosing(None) == parser
    with pytest.raises(UsageError, match=r"student\.safetensors finds nobody"):
        parser.choosing(0.7)


def test_what_somebody_says_of_it_has_to_be_of_its_kind(trained: Trained) -> None:
    other = {"parsing": load_skeleton("coco17"), "pose": label_set("lip"), "people": label_set("lip")}[trained.task]
    with pytest.raises(UsageError, match="--labels"):
        load_any_checkpoint(WEIGHTS[trained.task], other)
    assert set(spec_entry(trained.spec)) <= {"label_set", "skeleton"}


def test_seen_in_another_way_it_is_what_it_was(trained: Trained) -> None:
    wider = replace(trained.framing, input_size=(64, 96))
    assert trained.framed(wider).framing == wider
    assert trained.framed(wider).framed(trained.framing) == trained


HEADER = {"schema": 3, "network": "schp", "options": {"num_classes": 20}, "input_size": [64, 64]}
LIP = label_set("lip").to_dict()


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{cut off", "is damaged"),
        ("[]", "is damaged"),
        ("3", "is damaged"),
        (json.dumps(HEADER), "is damaged: 'label_set'"),
        (json.dumps({**HEADER, "label_set": 3}), "a label set is a table, not 3"),
        (json.dumps({**HEADER, "label_set": LIP, "options": {}}), "is damaged: 'num_classes'"),
        (json.dumps({**HEADER, "label_set": LIP, "options": {"num_classes": 0}}), "tells 0 classes apart"),
        (json.dumps({**HEADER, "network": "lsfa-r18", "options": {}, "label_set": 3}), "a label set is a table, not 3"),
    ],
)
def test_a_damaged_header_is_an_error_with_the_file_s_name(header: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"trtparse": header})
    with pytest.raises(UsageError) as caught:
        load_any_checkpoint(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
