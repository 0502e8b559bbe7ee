"""The adapter uses of every version what that version declares, and refuses what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trtparse.errors import BuildError, MachineError, UsageError
from trtparse.trt_builder.engine_spec import EngineSpec
from trtparse.trt_builder.tensorrt_api import TensorRT

Declared = Callable[[str], Any]
VERSIONS = sorted(path.stem for path in Path(__file__).with_name("declared").glob("tensorrt-*.json"))
GPU_VERSIONS = [name for name in VERSIONS if "rtx" not in name]
TYPED = [name for name in VERSIONS if name != "tensorrt-8.6.0"]
RTX = "tensorrt-rtx-1.7.1"


def adapter(library: Any) -> TensorRT:
    return TensorRT(library, "tensorrt-rtx" if library.name == RTX else "tensorrt")


def everything(library: Any, precision: str) -> EngineSpec:
    """A specification with every option that the target has."""
    if library.name == RTX:
        return EngineSpec(precision, "tensorrt-rtx", ("8.9",), (1, 2, 4), 64, 5, sparsity=True)
    return EngineSpec(
        precision,
        batch=(1, 2, 4),
        workspace_mb=64,
        optimization_level=5,
        version_compatible=True,
        hardware_compatible=True,
        sparsity=True,
        refit=True,
    )


def test_the_versions_that_are_supported_were_recorded() -> None:
    assert {"tensorrt-8.6.0", "tensorrt-10.3.0", "tensorrt-10.16.1", "tensorrt-11.4.0", RTX} <= set(VERSIONS)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_option_uses_only_what_the_version_declares(
    version: str, precision: str, declared: Declared, small: SimpleNamespace
) -> None:
    library = declared(version)
    model = small.model(half=precision != "fp32", quantised=precision == "int8", batch=None)
    built = adapter(library).build(
        model, everything(library, precision), "8.9", b"earlier", inspect=library.name != RTX
    )
    assert built.content == b"engine"
    assert len(built.layers) == len(library.parsed.graph.node)
    assert library.did("IBuilderConfig", "profiling_verbosity") == [(library.ProfilingVerbosity.DETAILED,)]
    assert library.did("IBuilderConfig", "builder_optimization_level") == [(5,)]
    assert library.did("IBuilderConfig", "set_memory_pool_limit") == [(library.MemoryPoolType.WORKSPACE, 64 << 20)]
    assert library.did("IOptimizationProfile", "set_shape") == [
        ("frames", (1, 16, 24, 3), (2, 16, 24, 3), (4, 16, 24, 3))
    ]
    assert "SPARSE_WEIGHTS" in library.flags()
    if version == RTX:
        assert library.did("IBuilderConfig", "set_compute_capability") == [(library.ComputeCapability.SM89, 0)]
        assert built.timing_cache is None
    else:
        assert {"VERSION_COMPATIBLE", "REFIT"} <= library.flags()
        level = library.HardwareCompatibilityLevel.AMPERE_PLUS
        assert library.did("IBuilderConfig", "hardware_compatibility_level") == [(level,)]
        assert library.did("IBuilderConfig", "create_timing_cache") == [(b"earlier",)]
        assert library.did("Runtime", "engine_host_code_allowed") == [(True,)]
        assert library.did("IExecutionContext", "set_input_shape") == [("frames", (2, 16, 24, 3))]
        assert built.timing_cache == b"measured"
        assert built.inspector == library.inspector


@pytest.mark.parametrize("version", TYPED)
def test_where_types_decide_no_precision_flag_is_set(version: str, declared: Declared, small: SimpleNamespace) -> None:
    library = declared(version)
    model = small.model(half=True, quantised=True)
    adapter(library).build(model, EngineSpec("int8", "tensorrt-rtx" if version == RTX else "tensorrt"))
    assert library.did("Builder", "create_network") == [(1 << library.NetworkDefinitionCreationFlag.STRONGLY_TYPED,)]
    assert not library.flags() & {"FP16", "INT8"}
    assert library.parsed == model


@pytest.mark.parametrize(("precision", "flags"), [("fp32", set()), ("fp16", {"FP16"}), ("int8", {"FP16", "INT8"})])
def test_8_6_gets_flags_beside_a_float_graph(
    precision: str, flags: set[str], declared: Declared, small: SimpleNamespace
) -> None:
    library = declared("tensorrt-8.6.0")
    model = small.model(half=precision != "fp32", quantised=precision == "int8")
    adapter(library).build(model, EngineSpec(precision))
    assert library.flags() == flags
    assert library.did("Builder", "create_network") == [(1 << library.NetworkDefinitionCreationFlag.EXPLICIT_BATCH,)]
    assert library.parsed.opset_import[0].version == 17
    assert 10 not in {tensor.data_type for tensor in library.parsed.graph.initializer}
    # Neither cuBLAS nor cuDNN is looked for.
    kept = library.TacticSource.EDGE_MASK_CONVOLUTIONS, library.TacticSource.JIT_CONVOLUTIONS
    assert library.did("IBuilderConfig", "set_tactic_sources") == [((1 << kept[0]) + (1 << kept[1]),)]


@pytest.mark.parametrize("version", VERSIONS)
def test_fp32_is_not_tf32(version: str, declared: Declared, small: SimpleNamespace) -> None:
    library = declared(version)
    adapter(library).build(small.model(), EngineSpec("fp32", adapter(library).target))
    assert library.did("IBuilderConfig", "clear_flag") == [(library.BuilderFlag.TF32,)]


@pytest.mark.parametrize("version", ["tensorrt-8.6.0", "tensorrt-10.3.0", "tensorrt-10.7.0"])
def test_the_accelerator_gets_the_ranges_that_were_in_the_graph(
    version: str, declared: Declared, small: SimpleNamespace
) -> None:
    library = declared(version)
    library.dla_cores = 2
    spec = EngineSpec("int8", dla_core=1, gpu_fallback=True)
    built = adapter(library).build(small.model(half=True, quantised=True), spec)
    assert library.flags() == {"FP16", "INT8", "GPU_FALLBACK"}
    assert library.did("IBuilderConfig", "DLA_core") == [(1,)]
    assert library.did("IBuilderConfig", "default_device_type") == [(library.DeviceType.DLA,)]
    assert not [node for node in library.parsed.graph.node if "Linear" in node.op_type]
    # "images" has a scale of 2 and "three" one of 3.
    assert library.did("ITensor", "set_dynamic_range") == [(-254.0, 254.0), (-381.0, 381.0)]
    assert built.notes[0].startswith("Experimental: precision by flags")
    assert "2 of 13 tensors have an INT8 range" in built.notes[1]


def test_the_accelerator_of_11_4_1_takes_the_typed_graph(declared: Declared, small: SimpleNamespace) -> None:
    # 11.4.1 itself could not be recorded; 11.4.0 declares the same for other systems.
    library = declared("tensorrt-11.4.0")
    library.__version__, library.dla_cores = "11.4.1", 2
    model = small.model(half=True, quantised=True)
    adapter(library).build(model, EngineSpec("int8", dla_core=0, gpu_fallback=True))
    assert library.parsed == model
    assert library.did("OnnxParser", "set_flag") == [(library.OnnxParserFlag.ADJUST_FOR_DLA,)]
    assert library.flags() == {"GPU_FALLBACK"}


@pytest.mark.parametrize("version", ["tensorrt-10.13.3", "tensorrt-10.16.1", "tensorrt-11.0.0", "tensorrt-11.4.0"])
def test_versions_without_the_accelerator_refuse_it_by_name(version: str, declared: Declared) -> None:
    library = declared(version)
    with pytest.raises(UsageError, match=r"does not run on the deep-learning accelerator: 10\.7") as caught:
        adapter(library).check(EngineSpec("int8", dla_core=0, gpu_fallback=True))
    assert library.__version__ in caught.value.message
    assert not library.calls


def test_an_accelerator_that_the_machine_lacks_is_refused(declared: Declared, small: SimpleNamespace) -> None:
    library = declared("tensorrt-10.3.0")
    with pytest.raises(MachineError, match="no deep-learning accelerators"):
        adapter(library).build(small.model(half=True), EngineSpec("fp16", dla_core=0, gpu_fallback=True))
    library.dla_cores = 2
    with pytest.raises(MachineError, match="--dla 2 is none of them") as caught:
        adapter(library).build(small.model(half=True), EngineSpec("fp16", dla_core=2, gpu_fallback=True))
    assert "0 to 1" in caught.value.hint


def test_int8_without_any_range_never_reaches_the_accelerator(declared: Declared, small: SimpleNamespace) -> None:
    library = declared("tensorrt-10.3.0")
    library.dla_cores = 1
    with pytest.raises(BuildError, match="no range"):
        adapter(library).build(small.model(half=True), EngineSpec("int8", dla_core=0, gpu_fallback=True))
    assert not library.did("Builder", "build_serialized_network")


def test_a_free_batch_does_not_reach_the_accelerator(declared: Declared, small: SimpleNamespace) -> None:
    library = declared("tensorrt-10.3.0")
    library.dla_cores = 1
    with pytest.raises(UsageError, match="needs a fixed batch"):
        adapter(library).build(small.model(half=True, batch=None), EngineSpec("fp16", dla_core=0, gpu_fallback=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_node_that_the_parser_refuses_is_named(version: str, declared: Declared, small: SimpleNamespace) -> None:
    library = declared(version)
    library.refused = 4
    with pytest.raises(BuildError, match="ReduceMean mean: No importer registered"):
        adapter(library).build(small.model(), EngineSpec("fp32", adapter(library).target))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_builder_without_an_engine_is_an_error(version: str, declared: Declared, small: SimpleNamespace) -> None:
    library = declared(version)
    library.engine = None
    with pytest.raises(BuildError, match="built no engine"):
        adapter(library).build(small.model(), EngineSpec("fp32", adapter(library).target))


@pytest.mark.parametrize("version", GPU_VERSIONS)
def test_a_timing_cache_of_another_machine_is_replaced_and_told(
    version: str, declared: Declared, small: SimpleNamespace
) -> None:
    library = declared(version)
    library.cache_fits = False
    built = adapter(library).build(small.model(), EngineSpec("fp32"), timing_cache=b"of another GPU")
    assert library.did("IBuilderConfig", "create_timing_cache") == [(b"of another GPU",), (b"",)]
    assert all(arguments[1] is False for arguments in library.did("IBuilderConfig", "set_timing_cache"))
    assert "damaged or of another GPU" in built.notes[-1]


def test_a_profile_for_a_graph_with_a_fixed_batch_is_refused(declared: Declared, small: SimpleNamespace) -> None:
    library = declared("tensorrt-10.3.0")
    with pytest.raises(UsageError, match="takes 2 frames per call"):
        adapter(library).build(small.model(batch=2), EngineSpec("fp32", batch=(1, 4, 8)))
    adapter(library).build(small.model(batch=2), EngineSpec("fp32", batch=(2, 2, 2)))
    assert not library.did("IBuilderConfig", "add_optimization_profile")


def test_tensorrt_before_8_6_is_too_old(declared: Declared) -> None:
    library = declared("tensorrt-8.6.0")
    library.__version__ = "8.5.3.1"
    with pytest.raises(MachineError, match=r"8\.5\.3\.1 is too old"):
        adapter(library)


def test_a_builder_that_cannot_start_says_what_to_look_at(declared: Declared, small: SimpleNamespace) -> None:
    library = declared("tensorrt-10.3.0")

    def refuse(logger: Any) -> None:
        logger.log(1, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    library.Builder = refuse
    with pytest.raises(MachineError, match="CUDA initialization failure with error: 35") as caught:
        adapter(library).build(small.model(), EngineSpec("fp32"))
    assert "trtparse doctor" in caught.value.hint


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_are_named_by_their_first_two_numbers(version: str, declared: Declared) -> None:
    library = declared(version)
    short = adapter(library).short_version
    assert library.__version__.startswith(f"{short}.")
    assert json.dumps(short).count(".") == 1
