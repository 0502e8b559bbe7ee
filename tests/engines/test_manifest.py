from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtparse.engines.base import OutputSpec
from trtparse.engines.bundle import Bundle, Manifest
from trtparse.engines.document import digest_of
from trtparse.engines.manifest import (
    EngineManifest,
    Runtime,
    check_fits,
    engine_manifests,
    mismatches,
    read_engine,
    remarks,
    this_platform,
)
from trtparse.errors import MachineError, UsageError
from trtparse.specs.framing import CropRule, Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.specs.spec import Spec
from trtparse.tests.engines.recording import POINTS, bundle_with, fake_engine
from trtparse.tests.predicting import label_maps

HERE = Runtime("tensorrt", "10.3.0", "8.7", "Stand-in GPU")


def around(spec: Spec = label_set("lip"), framing: Framing = Framing((6, 4))) -> Manifest:
    """The manifest of a bundle that an engine lies in."""
    return Manifest("parsing", "student", {}, spec, framing, 1, ("int8",), {}, {}, {})


def reads(text: str, path: Path = Path("b/engines/a.json"), bundle: Manifest = around()) -> EngineManifest:
    return EngineManifest.from_json(text, path, bundle)


def test_a_manifest_reads_back_as_it_was_written() -> None:
    _, manifest = fake_engine(
        (1, 2, 4),
        logits=True,
        outputs=(*label_maps((6, 4)), POINTS),
        settings={"dla_core": None},
        inspection={"layers": {"INT8": 3}},
        rebuild=("--int8",),
        jetpack="6.2",
        spec=load_skeleton("mpii16"),
        framing=Framing((6, 4), 1.5, crop=CropRule(1.2)),
    )
    assert reads(manifest.to_json()) == manifest
    assert manifest.platform == this_platform()


@given(name=st.sampled_from(sorted(json.loads(fake_engine()[1].to_json()))), data=st.data())
def test_a_manifest_with_any_value_changed_is_refused(name: str, data: st.DataObject) -> None:
    values = json.loads(fake_engine()[1].to_json())
    other = data.draw(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())))
    if values[name] == other or (name == "schema" and not isinstance(other, int)):
        return
    with pytest.raises(UsageError, match=r"was changed|has schema|is not an engine's manifest"):
        reads(json.dumps({**values, name: other}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema": 1}', '{"schema": "one", "digest": ""}'])
def test_a_file_that_is_no_manifest_is_refused_with_the_command_that_builds_again(text: str) -> None:
    with pytest.raises(UsageError, match=r"a\.json is not an engine's manifest") as caught:
        reads(text, Path("build/my student/engines/a.json"))
    assert "trtparse build 'build/my student' --int8 --target tensorrt" in caught.value.hint


def older(schema: int, *, logits: bool = False) -> str:
    """A manifest as an older version wrote it."""
    values = json.loads(fake_engine(logits=logits)[1].to_json())
    later = ["digest", "label_set", "preprocessing"]
    if schema < 5:
        later.append("milliseconds")
    if schema < 4:
        later += ["outputs", "raw"]
        values |= {"stretch": 1.25, "logits": logits}
    if schema < 3:
        later += ["multiprocessors", "board", "unverified"]
    told = {name: value for name, value in values.items() if name not in later} | {"schema": schema}
    return json.dumps({**told, "digest": digest_of(told)})


@pytest.mark.parametrize("schema", [2, 3, 4, 5])
def test_manifests_of_older_schemas_are_read_as_label_maps_of_the_bundles_set(schema: int) -> None:
    bundle = around(label_set("atr"), Framing((12, 8), 1.25))
    manifest = reads(older(schema), bundle=bundle)
    assert (manifest.multiprocessors, manifest.board, manifest.unverified) == (None, None, ())
    assert mismatches(manifest, HERE) == remarks(manifest, HERE) == []
    assert (manifest.outputs, manifest.raw) == (label_maps((6, 4)), None)
    assert (manifest.spec, manifest.framing) == (label_set("atr"), Framing((6, 4), 1.25))
    with_logits = reads(older(schema, logits=True))
    assert with_logits.raw == OutputSpec("logits", "float32", (20, 6, 4))
    # Written again, it is of this version and needs no bundle to say what its answers mean.
    assert reads(with_logits.to_json(), bundle=bundle) == with_logits


@pytest.mark.parametrize(
    "spoilt",
    [
        {"outputs": 3},
        {"outputs": ["labels"]},
        {"outputs": [{"name": "labels"}]},
        {"raw": "logits"},
        {"input_size": "small"},
        {"preprocessing": None},
    ],
)
def test_outputs_and_frames_that_say_nothing_are_refused(spoilt: dict[str, Any]) -> None:
    values = {**json.loads(fake_engine()[1].to_json()), **spoilt}
    del values["digest"]
    with pytest.raises(UsageError, match="lacks or has an unknown field"):
        reads(json.dumps({**values, "digest": digest_of(values)}))


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [(16, 8, False), (16, 4, False), (8, 8, True), (8, 16, True), (16, 0, True), (0, 4, True)],
)
def test_an_engine_of_an_orin_with_more_multiprocessors_is_refused(built: int, here: int, fits: bool) -> None:
    manifest = fake_engine(multiprocessors=built or None)[1]
    found = mismatches(manifest, replace(HERE, multiprocessors=here))
    assert [str(mismatch) for mismatch in found] == (
        [] if fits else [f"multiprocessors {built}, and here it is {here}"]
    )
    # It was built to run on others.
    compatible = replace(manifest, hardware_compatible=True)
    assert mismatches(compatible, replace(HERE, multiprocessors=here)) == []


def test_an_engine_of_another_board_runs_and_that_is_said() -> None:
    manifest = fake_engine(multiprocessors=8, board="NVIDIA Jetson Orin NX")[1]
    here = replace(HERE, multiprocessors=16, board="NVIDIA Jetson AGX Orin")
    assert mismatches(manifest, here) == []
    assert remarks(manifest, here) == ["tuned on another board, NVIDIA Jetson Orin NX"]
    assert remarks(manifest, replace(here, board="")) == ["tuned for 8 multiprocessors, and here are 16"]
    assert remarks(manifest, replace(here, board="NVIDIA Jetson Orin NX", multiprocessors=8)) == []


def test_an_engine_that_was_accepted_unverified_says_so_wherever_it_runs() -> None:
    assert remarks(fake_engine(unverified=("It agrees on 3 %.",))[1], HERE) == ["accepted unverified"]


def test_an_engine_of_this_machine_fits() -> None:
    assert mismatches(fake_engine()[1], HERE) == []


@pytest.mark.parametrize(
    ("field", "here"),
    [
        ("target", replace(HERE, target="tensorrt-rtx")),
        ("platform", replace(HERE, platform="Linux riscv64")),
        ("tensorrt", replace(HERE, tensorrt="10.3.1")),
        ("tensorrt", replace(HERE, tensorrt="8.6.0")),
        ("compute_capability", replace(HERE, compute_capability="9.0", gpu="NVIDIA H200")),
        ("gpu", replace(HERE, gpu="Another GPU of that generation")),
    ],
)
def test_an_engine_of_another_machine_is_refused_by_the_field_with_the_command_that_rebuilds(
    field: str, here: Runtime, tmp_path: Path
) -> None:
    content, manifest = fake_engine(rebuild=("--int8", "--target", "tensorrt", "--batch-profile", "1,2,4"))
    bundle = bundle_with(tmp_path, (content, manifest))
    assert [mismatch.field for mismatch in mismatches(manifest, here)] == [field]
    with pytest.raises(MachineError) as caught:
        check_fits(bundle, manifest, here)
    assert field.replace("_", " ") in caught.value.message
    assert str(getattr(manifest, field)) in caught.value.message
    assert str(getattr(here, field)) in caught.value.message
    assert f"trtparse build {tmp_path} --int8 --target tensorrt --batch-profile 1,2,4" in caught.value.hint


def test_all_that_differs_is_named_at_once(tmp_path: Path) -> None:
    bundle = bundle_with(tmp_path, fake_engine())
    with pytest.raises(MachineError, match=r"tensorrt 10\.3\.0, .* 8\.6\.0; for compute capability 8\.7, .* 9\.0"):
        check_fits(bundle, fake_engine()[1], Runtime("tensorrt", "8.6.0", "9.0", "NVIDIA H200"))


@pytest.mark.parametrize(
    ("version", "fits"), [("10.3.0", True), ("10.16.1", True), ("10.2.9", False), ("11.0.0", False), ("8.6.1", False)]
)
def test_a_version_compatible_engine_runs_on_later_versions_of_the_same_major(version: str, fits: bool) -> None:
    manifest = fake_engine(version_compatible=True)[1]
    assert (mismatches(manifest, replace(HERE, tensorrt=version)) == []) is fits


@pytest.mark.parametrize(("capability", "fits"), [("8.0", True), ("8.9", True), ("12.0", True), ("7.5", False)])
def test_a_hardware_compatible_engine_runs_from_ampere_on(capability: str, fits: bool) -> None:
    manifest = fake_engine(hardware_compatible=True)[1]
    assert (mismatches(manifest, replace(HERE, compute_capability=capability, gpu="Another")) == []) is fits


def test_an_engine_built_without_a_gpu_fits_every_gpu_of_its_generation() -> None:
    assert mismatches(fake_engine(gpu=None)[1], replace(HERE, gpu="Any of that generation")) == []


def test_an_engine_of_another_graph_than_the_bundles_is_refused(tmp_path: Path) -> None:
    content, manifest = fake_engine()
    bundle = bundle_with(tmp_path, (content, manifest))
    bundle.manifest.files[manifest.graph] = "1" * 64
    with pytest.raises(UsageError, match=r"built from another student\.int8\.onnx"):
        check_fits(bundle, manifest, HERE)


def test_an_engine_of_another_label_set_than_its_bundles_is_refused_by_both_names(tmp_path: Path) -> None:
    content, manifest = fake_engine(spec=label_set("atr"))
    bundle = bundle_with(tmp_path, (content, manifest))
    assert not manifest.is_of(bundle)
    with pytest.raises(
        UsageError, match=r"int8\.engine has the label set ATR-18 .*, and the bundle .* has LIP-20"
    ) as caught:
        check_fits(bundle, manifest, HERE)
    assert "trtparse build" in caught.value.hint


def test_an_engine_for_other_frames_than_its_bundles_is_refused(tmp_path: Path) -> None:
    content, manifest = fake_engine()
    bundle = bundle_with(tmp_path, (content, manifest))
    assert manifest.is_of(bundle)
    stretched = replace(manifest, framing=manifest.framing.stretched(2))
    assert not stretched.is_of(bundle)
    with pytest.raises(UsageError, match=r"int8\.engine was built for other frames than the bundle's"):
        check_fits(bundle, stretched, HERE)


def _cut(content: bytes) -> bytes:
    return content[:-1]


def _flip(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize(("spoil", "told"), [(_cut, "was written with"), (_flip, "damaged"), (None, "Cannot read")])
def test_an_engine_file_that_is_cut_short_changed_or_missing_is_refused(spoil: Any, told: str, tmp_path: Path) -> None:
    content, manifest = fake_engine()
    bundle = bundle_with(tmp_path, (content, manifest))
    assert read_engine(bundle, manifest) == content
    file = tmp_path / manifest.engine
    if spoil is None:
        file.unlink()
    else:
        file.write_bytes(spoil(content))
    with pytest.raises(UsageError, match=told) as caught:
        read_engine(bundle, manifest)
    assert "trtparse build" in caught.value.hint


def test_an_engine_without_its_manifest_is_named(tmp_path: Path) -> None:
    content, manifest = fake_engine()
    bundle = bundle_with(tmp_path, (content, manifest))
    del bundle.manifest.files[manifest.engine.replace(".engine", ".json")]
    with pytest.raises(UsageError, match=r"int8\.engine has no manifest: .*int8\.json is missing"):
        engine_manifests(bundle)


def test_a_manifest_of_another_engine_is_refused(tmp_path: Path) -> None:
    content, manifest = fake_engine()
    bundle = bundle_with(tmp_path, (content, manifest))
    path = tmp_path / manifest.engine.replace(".engine", ".json")
    path.write_text(replace(manifest, engine="engines/other.engine").to_json())
    with pytest.raises(UsageError, match=r"is the manifest of engines/other\.engine"):
        engine_manifests(bundle)


def test_engines_come_with_the_lowest_precision_first(tmp_path: Path) -> None:
    engines = [
        fake_engine(engine=f"engines/{name}.engine", precision=name.split("-")[0], target=target)
        for name, target in (
            ("fp32-a", "tensorrt"),
            ("int8-b", "tensorrt-rtx"),
            ("fp16-c", "tensorrt"),
            ("int8-d", "tensorrt"),
        )
    ]
    bundle: Bundle = bundle_with(tmp_path, *engines)
    assert [manifest.engine for manifest in engine_manifests(bundle)] == [
        f"engines/{name}.engine" for name in ("int8-d", "int8-b", "fp16-c", "fp32-a")
    ]
    assert [manifest.precision for manifest in engine_manifests(bundle, "fp16")] == ["fp16"]
