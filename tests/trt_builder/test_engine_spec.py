"""Choices that cannot go together are refused at once; those that can survive being written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trtparse.commands import tensorrt_options
from trtparse.commands.tensorrt_options import engine_spec
from trtparse.commands.tensorrt_options import tensorrt_options as add_options
from trtparse.errors import UsageError
from trtparse.trt_builder import compile as compiling
from trtparse.trt_builder.engine_spec import COMPUTE_CAPABILITIES, EngineSpec


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"precision": "fp8"}, "fp8"),
        ({"target": "cuda"}, "cuda"),
        ({"batch": (4, 1, 8)}, "4,1,8"),
        ({"batch": (0, 1, 1)}, "0,1,1"),
        ({"optimization_level": 6}, "level 6"),
        ({"workspace_mb": 0}, "workspace of 0"),
        ({"compute_capabilities": ("8.6",)}, "--compute-capability"),
        ({"gpu_fallback": True}, "--gpu-fallback goes with --dla"),
        ({"dla_core": -1}, "-1"),
        ({"dla_core": 0}, "no accelerator casts uint8 frames"),
        ({"dla_core": 0, "gpu_fallback": True, "precision": "fp32"}, "FP16 and INT8 alone"),
        ({"dla_core": 0, "gpu_fallback": True, "batch": (1, 2, 4)}, "fixed batch"),
        ({"target": "tensorrt-rtx", "compute_capabilities": ("5.3",)}, r"5\.3"),
        # Each of these TensorRT-RTX takes and does not do, or fails at after seconds.
        ({"target": "tensorrt-rtx", "dla_core": 0}, "TensorRT-RTX has no --dla"),
        ({"target": "tensorrt-rtx", "hardware_compatible": True}, "TensorRT-RTX has no --hardware-compatible"),
        ({"target": "tensorrt-rtx", "version_compatible": True}, "TensorRT-RTX has no --version-compatible"),
        ({"target": "tensorrt-rtx", "refit": True}, "TensorRT-RTX has no --refit"),
        ({"target": "tensorrt-rtx", "timing_cache": Path("a")}, "TensorRT-RTX has no --timing-cache"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(choices: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        EngineSpec(**choices)
    assert caught.value.hint


profiles = st.lists(st.integers(1, 64), min_size=3, max_size=3).map(lambda counts: tuple(sorted(counts)))
specs = st.one_of(
    st.builds(
        EngineSpec,
        precision=st.sampled_from(["fp32", "fp16", "int8"]),
        batch=st.none() | profiles,
        workspace_mb=st.none() | st.integers(1, 9999),
        optimization_level=st.integers(0, 5),
        timing_cache=st.none() | st.just(Path("a folder/a.cache")),
        version_compatible=st.booleans(),
        hardware_compatible=st.booleans(),
        sparsity=st.booleans(),
        refit=st.booleans(),
    ),
    st.builds(EngineSpec, dla_core=st.integers(0, 3), gpu_fallback=st.just(True)),
    st.builds(
        EngineSpec,
        target=st.just("tensorrt-rtx"),
        compute_capabilities=st.lists(st.sampled_from(COMPUTE_CAPABILITIES), unique=True).map(tuple),
        batch=st.none() | profiles,
    ),
)


@given(specs)
def test_a_specification_comes_back_as_it_was_written(spec: EngineSpec) -> None:
    assert EngineSpec.from_json(spec.to_json()) == spec


@click.command()
@click.option("--fp32", "precision", flag_value="fp32")
@click.option("--fp16", "precision", flag_value="fp16", default="fp16")
@click.option("--int8", "precision", flag_value="int8")
@add_options
@click.pass_obj
def command(seen: list[EngineSpec | None], precision: str, target: str, **options: Any) -> None:
    seen.append(engine_spec(precision, target, options))


def read(*words: str) -> EngineSpec | None:
    seen: list[EngineSpec | None] = []
    done = CliRunner().invoke(command, list(words), obj=seen)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return seen[0]


@given(specs)
def test_the_words_of_a_specification_are_read_as_itself(spec: EngineSpec) -> None:
    assert read(*spec.words()) == spec


def test_the_generations_on_offer_are_those_that_can_be_built_for() -> None:
    assert tensorrt_options.COMPUTE_CAPABILITIES == COMPUTE_CAPABILITIES


@pytest.mark.parametrize(
    "words",
    [
        ["--compute-capability", "8.6"],
        ["--dla", "0"],
        ["--batch-profile", "1,2,4"],
        ["--refit"],
        ["--optimization-level", "5"],
        ["--timing-cache", "a"],
    ],
)
def test_an_option_of_an_engine_is_refused_where_none_is_built(words: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{words[0]} is for an engine"):
        read("--target", "cpu", *words)


def test_auto_builds_an_engine_where_that_works_and_the_graphs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for chosen in ("cpu", "tensorrt"):
        monkeypatch.setattr(compiling, "choose_target", lambda chosen=chosen: chosen)
        spec = read()
        assert (spec.target if spec else "cpu") == chosen


@pytest.mark.parametrize("profile", ["1,2", "a,b,c", "4,2,1", "0,1,1", "1,1,257", "1,-1,2"])
def test_a_profile_that_is_none_is_refused(profile: str) -> None:
    done = CliRunner().invoke(command, ["--batch-profile", profile], obj=[])
    assert done.exit_code == 2
    assert profile in done.output


def test_the_same_choices_for_another_machine_leave_open_what_is_the_machine_s() -> None:
    spec = EngineSpec("int8", "tensorrt", batch=(1, 2, 4), workspace_mb=512, sparsity=True)
    again = EngineSpec.from_settings({**spec.to_dict(), "notes": ["a note"]})
    assert again == EngineSpec("int8", "tensorrt", batch=(1, 2, 4), sparsity=True)
