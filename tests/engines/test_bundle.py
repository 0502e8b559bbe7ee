from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from trtparse.engines import Bundle, open_bundle
from trtparse.engines.accuracy import Accuracy
from trtparse.engines.bundle import GRAPHS, Manifest, add_accuracy, add_files, finish, writing
from trtparse.engines.document import digest_of
from trtparse.errors import MachineError, UsageError
from trtparse.specs.framing import Framing
from trtparse.specs.origin import Origin
from trtparse.storage.folders import previous_path, recover
from trtparse.tests.predicting import LIP

FILES = ["bundle.json", "calibration.json", "student.safetensors", *GRAPHS.values()]


def manifest(**changes: object) -> Manifest:
    values = {
        "task": "parsing",
        "network": "lsfa-r18",
        "options": {},
        "spec": LIP,
        "framing": Framing((64, 64)),
        "batch": 1,
        "precisions": ("fp32",),
        "parity": {},
        "calibration": {},
        "versions": {},
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def small_bundle(path: Path, content: bytes = b"graph") -> None:
    with writing(path) as folder:
        (folder / GRAPHS["fp32"]).write_bytes(content)
        finish(folder, manifest())


def test_a_manifest_comes_back_as_it_was_written() -> None:
    written = manifest(batch=None)
    assert Manifest.from_json(written.to_json(), Path("bundle.json")) == written


def test_what_the_weights_come_from_is_kept_and_unknown_where_an_older_manifest_does_not_tell(tmp_path: Path) -> None:
    written = manifest(origin=Origin("images of mine", "CC BY 4.0"))
    assert Manifest.from_json(written.to_json(), tmp_path).origin == written.origin
    values = json.loads(written.to_json())
    del values["origin"], values["digest"]
    older = json.dumps({**values, "digest": digest_of(values)})
    assert Manifest.from_json(older, tmp_path).origin == Origin()


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_in_any_file_is_found_and_the_file_named(name: str, bundle: Bundle) -> None:
    path = bundle.path / name
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=name.replace(".", r"\.")) as caught:
        open_bundle(bundle.path)
    assert "trtparse build" in caught.value.hint


def test_a_missing_file_is_named(bundle: Bundle) -> None:
    (bundle.path / GRAPHS["int8"]).unlink()
    with pytest.raises(UsageError, match=GRAPHS["int8"]):
        open_bundle(bundle.path)


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    small_bundle(tmp_path / "a")
    (tmp_path / "secret").write_text("x")
    for outside in ("../secret", "/etc/passwd", "engines/../../secret"):
        text = manifest(files={outside: "0" * 64}).to_json()
        (tmp_path / "a" / "bundle.json").write_text(text)
        with pytest.raises(UsageError, match="outside itself"):
            open_bundle(tmp_path / "a")


@pytest.mark.parametrize("text", ["hello", "{}", "[1]", '{"schema": 1}', '{"schema": "x", "digest": ""}'])
def test_a_text_file_in_the_manifest_s_place_is_refused(text: str, tmp_path: Path) -> None:
    small_bundle(tmp_path / "a")
    (tmp_path / "a" / "bundle.json").write_text(text)
    with pytest.raises(UsageError, match=r"bundle\.json"):
        open_bundle(tmp_path / "a")


def test_a_newer_schema_asks_for_an_update(tmp_path: Path) -> None:
    small_bundle(tmp_path / "a")
    path = tmp_path / "a" / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(UsageError, match="schema 99"):
        open_bundle(tmp_path / "a")


def test_no_bundle_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No bundle at") as caught:
        open_bundle(tmp_path / "nowhere")
    assert f"--output {tmp_path / 'nowhere'}" in caught.value.hint
    with pytest.raises(UsageError, match="not a bundle"):
        open_bundle(tmp_path)


def test_a_graph_that_was_not_built_names_the_command(tmp_path: Path) -> None:
    small_bundle(tmp_path / "a")
    with pytest.raises(UsageError, match="no INT8 graph") as caught:
        open_bundle(tmp_path / "a").graph("int8-cpu")
    assert "trtparse build --int8" in caught.value.hint


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), RuntimeError("bug")])
def test_whatever_ends_a_build_the_old_bundle_stays_and_nothing_else(error: BaseException, tmp_path: Path) -> None:
    small_bundle(tmp_path / "a", b"old")
    expected = MachineError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), writing(tmp_path / "a") as folder:  # noqa: PT012
        (folder / GRAPHS["fp32"]).write_bytes(b"half of")
        raise error
    assert open_bundle(tmp_path / "a").graph("fp32").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_build_that_fails_while_taking_the_place_puts_the_old_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_bundle(tmp_path / "a", b"old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            signal.raise_signal(signal.SIGINT)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        small_bundle(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert open_bundle(tmp_path / "a").graph("fp32").read_bytes() == b"old"


def test_a_build_killed_between_its_two_renames_is_put_right_by_the_next_command(tmp_path: Path) -> None:
    small_bundle(tmp_path / "a", b"old")
    (tmp_path / "a").rename(previous_path(tmp_path / "a"))
    assert open_bundle(tmp_path / "a").graph("fp32").read_bytes() == b"old"
    recover(tmp_path / "a")
    assert (tmp_path / "a").is_dir()


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    with pytest.raises(UsageError, match="not a bundle; nothing was written"):
        small_bundle(tmp_path / "photos")
    assert (tmp_path / "photos" / "a.jpg").read_text() == "precious"


def test_what_was_added_meanwhile_stays_and_a_bundle_built_anew_is_left_alone(tmp_path: Path) -> None:
    small_bundle(tmp_path / "a")
    opened = open_bundle(tmp_path / "a")
    add_accuracy(open_bundle(opened.path), {"cpu-fp32": Accuracy("some", 7, "PyTorch", 0.99)})
    add_files(open_bundle(opened.path), {"engines/x.engine": b"engine"})
    added = add_files(opened, {"engines/y.engine": b"engine"})
    assert open_bundle(opened.path).manifest == added.manifest
    assert set(added.manifest.files) == {GRAPHS["fp32"], "engines/x.engine", "engines/y.engine"}
    assert "cpu-fp32" in added.manifest.accuracy
    small_bundle(tmp_path / "a", b"another graph")
    anew = open_bundle(opened.path).manifest
    with pytest.raises(UsageError, match=r"was built anew meanwhile, and engines/z\.engine would be the old one's"):
        add_files(opened, {"engines/z.engine": b"engine"})
    assert open_bundle(opened.path).manifest == anew


def test_files_added_later_are_covered_by_the_manifest(tmp_path: Path) -> None:
    small_bundle(tmp_path / "a")
    add_files(open_bundle(tmp_path / "a"), {"engines/x.engine": b"engine"})
    reopened = open_bundle(tmp_path / "a")
    assert "engines/x.engine" in reopened.manifest.files
    (tmp_path / "a" / "engines" / "x.engine").write_bytes(b"other")
    with pytest.raises(UsageError, match=r"x\.engine is damaged"):
        open_bundle(tmp_path / "a")
