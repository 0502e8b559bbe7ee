from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.trtexec import trtexec_line

GRAPH = Path("build/my student/student.int8.onnx")


def words(spec: EngineSpec, *, typed: bool = True, batch: tuple[int, int, int] | None = None) -> set[str]:
    program, *options = shlex.split(trtexec_line(GRAPH, spec, typed=typed, batch=batch, size=(256, 192)))
    assert program == "trtexec"
    assert {f"--onnx={GRAPH}", "--saveEngine=student.int8.engine", "--profilingVerbosity=detailed"} <= set(options)
    return set(options)


def test_precision_is_in_the_graph_or_in_flags() -> None:
    assert "--stronglyTyped" in words(EngineSpec("int8"))
    assert not {"--int8", "--fp16"} & words(EngineSpec("int8"))
    assert {"--int8", "--fp16"} <= words(EngineSpec("int8"), typed=False)
    assert "--int8" not in words(EngineSpec("fp16"), typed=False)
    assert "--noTF32" in words(EngineSpec("fp32"))
    assert "--noTF32" not in words(EngineSpec("fp16"))


def test_a_free_batch_has_its_profile_and_a_fixed_one_none() -> None:
    assert not any("Shapes" in word for word in words(EngineSpec()))
    assert {
        "--minShapes=frames:1x256x192x3",
        "--optShapes=frames:4x256x192x3",
        "--maxShapes=frames:8x256x192x3",
    } <= words(EngineSpec(), batch=(1, 4, 8))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (EngineSpec(workspace_mb=512), {"--memPoolSize=workspace:512M"}),
        (EngineSpec(optimization_level=5), {"--builderOptimizationLevel=5"}),
        (EngineSpec(dla_core=1, gpu_fallback=True), {"--useDLACore=1", "--allowGPUFallback"}),
        (EngineSpec(version_compatible=True), {"--versionCompatible"}),
        (EngineSpec(hardware_compatible=True), {"--hardwareCompatibilityLevel=ampere+"}),
        (EngineSpec(sparsity=True, refit=True), {"--sparsity=enable", "--refit"}),
    ],
)
def test_every_choice_has_its_word(spec: EngineSpec, told: set[str]) -> None:
    assert told <= words(spec)
    assert not told & words(EngineSpec(optimization_level=2))
