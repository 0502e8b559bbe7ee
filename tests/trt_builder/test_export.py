from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trtparse.calibration.quantise.lint import problems_of  # noqa: E402
from trtparse.data.dataset import Dataset  # noqa: E402
from trtparse.data.letterbox import Letterbox  # noqa: E402
from trtparse.engines import Bundle  # noqa: E402
from trtparse.engines.base import Frames  # noqa: E402
from trtparse.errors import BuildError  # noqa: E402
from trtparse.graphs.index import GraphIndex  # noqa: E402
from trtparse.graphs.opset import OPSET  # noqa: E402
from trtparse.networks.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from trtparse.networks.checkpoint_file import save_checkpoint  # noqa: E402
from trtparse.networks.efficientnet import EfficientNetLite  # noqa: E402
from trtparse.networks.layers import resize_like  # noqa: E402
from trtparse.networks.network import ParsingNetwork  # noqa: E402
from trtparse.networks.preprocessing import normalise  # noqa: E402
from trtparse.networks.registry import create_network  # noqa: E402
from trtparse.networks.resnet import BLOCKS  # noqa: E402
from trtparse.networks.student import EfficientStudent, Student, StudentSpec  # noqa: E402
from trtparse.networks.weights import DEFAULT_WEIGHTS  # noqa: E402
from trtparse.specs.framing import Framing  # noqa: E402
from trtparse.specs.label_set import label_set  # noqa: E402
from trtparse.tasks.parsing.files import LipDataset  # noqa: E402
from trtparse.tests.tiny_student import tiny_students  # noqa: E402
from trtparse.trt_builder.build import BuildSpec, build_bundle  # noqa: E402
from trtparse.trt_builder.export import export_onnx  # noqa: E402

LIP = label_set("lip")


@contextmanager
def short_trunks() -> Iterator[None]:
    """One block in each layer of a trunk: what stands on it is looked at here, and exports take half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EfficientStudent, "make_backbone", staticmethod(lambda: EfficientNetLite(depth=0.5)))
        for depth, (block, _) in BLOCKS.items():
            patch.setitem(BLOCKS, depth, (block, (1, 1, 1, 1)))
        yield


@pytest.fixture(scope="module")
def network() -> Student:
    return load_checkpoint(DEFAULT_WEIGHTS).network


@pytest.fixture(scope="module")
def model(network: Student) -> onnx.ModelProto:
    """The default input, one frame, logits as well."""
    return export_onnx(Checkpoint(network, Framing((256, 192)), LIP), raw=True)


def run(model: onnx.ModelProto, frames: Frames) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {"frames": frames})]


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def assert_parity(labels: np.ndarray, logits: torch.Tensor, least: float) -> None:
    """At least so many pixels agree; where they do not, PyTorch's two best logits are a hair apart."""
    expected = logits.argmax(1).numpy()
    assert (labels == expected).mean() >= least
    best = logits.topk(2, 1).values
    margins = (best[:, 0] - best[:, 1]).numpy()[labels != expected]
    assert margins.max(initial=0.0) < 1e-3


def test_frames_in_and_label_maps_out_are_uint8(model: onnx.ModelProto) -> None:
    frames, labels = model.graph.input[0], model.graph.output[0]
    assert (frames.name, shape_of(frames)) == ("frames", [1, 256, 192, 3])
    assert (labels.name, shape_of(labels)) == ("labels", [1, 256, 192])
    assert frames.type.tensor_type.elem_type == labels.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_logits_are_a_second_output_only_where_asked_for(model: onnx.ModelProto, small_graph: onnx.ModelProto) -> None:
    assert [output.name for output in model.graph.output] == ["labels", "logits"]
    assert shape_of(model.graph.output[1]) == [1, 20, 256, 192]
    assert [output.name for output in small_graph.graph.output] == ["labels"]


def test_the_graph_is_static_and_simplified(model: onnx.ModelProto) -> None:
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"Shape", "Gather", "Unsqueeze", "BatchNormalization", "Identity", "If", "Loop", "Constant"}
    assert model.opset_import[0].version == OPSET >= 19


def test_the_cast_stands_before_the_transpose(model: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.index("Cast") < kinds.index("Transpose")
    assert next(node for node in model.graph.node if "frames" in node.input).op_type == "Cast"


def test_labels_reach_uint8_by_way_of_float(model: onnx.ModelProto) -> None:
    casts = [node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"]
    assert casts[-2:] == [onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8]


def test_every_resize_has_half_pixel_centres_and_a_fixed_size(model: onnx.ModelProto) -> None:
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert len(resizes) == 8
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in resizes:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        assert attributes["coordinate_transformation_mode"] in (b"half_pixel", b"pytorch_half_pixel")
        assert node.input[3] in constants


@pytest.mark.parametrize("sizes", [(8, 6, 16, 12), (15, 15, 30, 30), (60, 60, 119, 119), (3, 2, 5, 3)])
def test_each_resize_gives_pytorch_s_values(sizes: tuple[int, int, int, int]) -> None:
    height, width, new_height, new_width = sizes

    class Resize(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return resize_like(x, new_height, new_width)

    x = torch.randn(1, 4, height, width)
    program = torch.onnx.export(Resize().eval(), (x,), dynamo=True, opset_version=OPSET, verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (value,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(value, Resize()(x).numpy(), atol=1e-4)


def test_what_it_is_stands_in_the_metadata(model: onnx.ModelProto) -> None:
    properties = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(properties["label_set"]) == LIP.to_dict()
    assert json.loads(properties["input_size"]) == [256, 192]
    assert json.loads(properties["preprocessing"])["mean"] == [0.485, 0.456, 0.406]
    assert properties["trtparse"]


def test_nothing_of_the_machine_it_was_exported_on_is_left_inside(model: onnx.ModelProto) -> None:
    content = model.SerializeToString()
    for trace in (str(Path(torch.__file__).parent), "stack_trace", "site-packages", "forward("):
        assert trace.encode() not in content


def test_two_exports_are_the_same_bytes_and_leave_the_network_as_it_was(
    small_graph: onnx.ModelProto, small_weights: Path
) -> None:
    with tiny_students():
        loaded = load_checkpoint(small_weights)
    before = {name: value.clone() for name, value in loaded.network.state_dict().items()}
    again = export_onnx(loaded)
    assert again.SerializeToString(deterministic=True) == small_graph.SerializeToString(deterministic=True)
    assert all(torch.equal(before[name], value) for name, value in loaded.network.state_dict().items())


@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ((64, 64), 4),
        pytest.param((97, 130), 4, marks=pytest.mark.slow),
        pytest.param((128, 96), 8, marks=pytest.mark.slow),
        pytest.param((473, 473), 4, marks=pytest.mark.slow),
    ],
)
def test_pytorch_and_onnx_agree_at_other_sizes(size: tuple[int, int], stride: int) -> None:
    torch.manual_seed(0)
    with short_trunks():
        network = Student(StudentSpec(finest_stride=stride)).eval()
    frames = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    _, logits = run(export_onnx(Checkpoint(network, Framing(size), LIP), raw=True), frames)
    with torch.inference_mode():
        expected = network(normalise(torch.from_numpy(frames)))
    np.testing.assert_allclose(logits, expected.numpy(), atol=2e-3 * float(expected.abs().max()))


def test_one_graph_takes_any_batch_where_asked_for(pristine_bundle: Bundle, frames: Frames) -> None:
    assert pristine_bundle.manifest.batch is None
    model = onnx.load(pristine_bundle.graph("fp32"))
    assert isinstance(shape_of(model.graph.input[0])[0], str)
    together = run(model, frames[:3])[0]
    for index in range(3):
        assert (run(model, frames[index : index + 1])[0][0] == together[index]).mean() > 0.9995


def test_a_network_that_cannot_be_traced_is_a_build_error(network: Student) -> None:
    class Moody(Student):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image) if image.sum() > 0 else image

    with short_trunks():
        moody = Moody()
    with pytest.raises(BuildError, match="cannot be exported"):
        export_onnx(Checkpoint(moody, Framing((64, 64)), LIP))


@pytest.mark.slow
@pytest.mark.shared
def test_parity_on_fifty_real_photographs(network: Student, model: onnx.ModelProto, shared_data: Path) -> None:
    dataset = LipDataset(shared_data / "lip", "val")
    images = [dataset[index].image for index in range(50)]
    frames = np.stack([Letterbox.fit((i.shape[0], i.shape[1]), (256, 192), 1.0).apply(i) for i in images])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    labels = np.concatenate([session.run(["labels"], {"frames": frame[None]})[0] for frame in frames])
    with torch.inference_mode():
        logits = torch.cat([network(normalise(torch.from_numpy(frame[None]))) for frame in frames])
    assert_parity(labels, logits, 0.9995)


C_DLINKNET = "C-DLinkNet, odd size"
VARIANTS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "head on the deepest level": ("lsfa-r18", {"context": "none", "fusion": "none"}, (64, 64)),
    "PSP, channel attention": ("lsfa-r18", {"context": "psp", "fusion": "channel_attention"}, (96, 64)),
    "separable, added": ("lsfa-r18", {"fusion": "add", "separable": True}, (64, 64)),
    "D-LinkNet": ("c-dlinknet", {"backbone": "resnet34", "aspp": "none", "smooth": False}, (64, 96)),
    "EfficientNet-Lite0, odd size": ("lsfa-efficientnet-lite0", {}, (97, 70)),
    C_DLINKNET: ("c-dlinknet", {"backbone": "resnet34", "smooth_level": 4, "smooth_channels": 64}, (97, 70)),
}
"""Each other part of a network at least once: kind, options and input size."""

_FAST = ("separable, added", C_DLINKNET)
EACH = [name if name in _FAST else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]


def letterboxed(people: Dataset, size: tuple[int, int]) -> Frames:
    images = [people[index].image for index in range(4)]
    return np.stack([Letterbox.fit((i.shape[0], i.shape[1]), size, 1.0).apply(i) for i in images])


class Exported:
    """The variants' networks and graphs, each made once."""

    def __init__(self, people: Dataset) -> None:
        self.people = people
        self.made: dict[str, tuple[ParsingNetwork, onnx.ModelProto, Frames]] = {}

    def __getitem__(self, variant: str) -> tuple[ParsingNetwork, onnx.ModelProto, Frames]:
        if variant not in self.made:
            kind, options, size = VARIANTS[variant]
            frames = letterboxed(self.people, size)
            torch.manual_seed(0)
            with short_trunks():
                network = create_network(kind, options, auxiliary=True)
            with torch.no_grad():
                # Statistics of real images, so that folding the batch norms changes something.
                for module in network.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):
                        module.momentum = None
                network.train()(normalise(torch.from_numpy(frames)))
                if variant == C_DLINKNET:
                    # An untrained network's classes are a hair apart; three that are not survive INT8.
                    network.head.weight[:3] *= 100
                    network.head.bias[3:] = -100
            model = export_onnx(Checkpoint(network, Framing(size), LIP), raw=True)
            self.made[variant] = (network.eval(), model, frames)
        return self.made[variant]


@pytest.fixture(scope="module")
def exported(people: Dataset) -> Exported:
    return Exported(people)


@pytest.mark.parametrize("variant", EACH)
def test_pytorch_and_onnx_agree_on_every_network(variant: str, exported: Exported) -> None:
    network, model, frames = exported[variant]
    labels, logits = run(model, frames[:1])
    with torch.inference_mode():
        expected = network(normalise(torch.from_numpy(frames[:1])))
    assert len(np.unique(labels)) > 1
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3 * float(expected.abs().max()))
    assert_parity(labels, expected, 0.9995)


@pytest.mark.parametrize("variant", EACH)
def test_every_network_s_graph_is_static_folded_and_names_its_layers(variant: str, exported: Exported) -> None:
    network, model, _ = exported[variant]
    assert not {node.op_type for node in model.graph.node} & {"Shape", "BatchNormalization", "Identity", "Constant"}
    names = {node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")}
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    layers = {name for name, module in network.named_modules() if isinstance(module, kinds)}
    assert names == {name for name in layers if not name.startswith("auxiliary_heads.")}


@pytest.mark.parametrize("variant", EACH)
def test_nvidia_s_parser_takes_every_network(variant: str, exported: Exported) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    model = exported[variant][1]
    assert parser.parse(model.SerializeToString()), parser.get_error(0).desc()
    read = [network.get_layer(number).type for number in range(network.num_layers)]
    for operator, kind in (("Conv", trt.LayerType.CONVOLUTION), ("ConvTranspose", trt.LayerType.DECONVOLUTION)):
        assert read.count(kind) == [node.op_type for node in model.graph.node].count(operator)


@pytest.fixture(scope="module")
def c_dlinknet_bundle(exported: Exported, people: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("c_dlinknet")
    network, model, frames = exported[C_DLINKNET]
    size = (frames.shape[1], frames.shape[2])
    save_checkpoint(network, folder / "a.safetensors", Framing(size), LIP, lossless=True)
    with short_trunks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("trtparse.trt_builder.export.export_onnx", lambda *_, **__: model)
        spec = BuildSpec(folder / "a.safetensors", "int8", calibration_images=4, validate=False, threads=1)
        return build_bundle(spec, people, folder / "built").bundle


def test_a_c_dlinknet_becomes_an_int8_bundle_that_keeps_the_rules(c_dlinknet_bundle: Bundle) -> None:
    assert c_dlinknet_bundle.manifest.precisions == ("fp32", "fp16", "int8")
    assert c_dlinknet_bundle.manifest.parity["int8"]["pixel_agreement"] > 0.8
    assert c_dlinknet_bundle.manifest.calibration["higher_precision"] == {"head": "it makes the logits"}
    assert list(problems_of(onnx.load(c_dlinknet_bundle.graph("int8")))) == []


def test_its_transposed_convolutions_are_int8_as_well(c_dlinknet_bundle: Bundle) -> None:
    index = GraphIndex(onnx.load(c_dlinknet_bundle.graph("int8")).graph)
    transposed = [node for node in index.convolutions() if node.op_type == "ConvTranspose"]
    assert len(transposed) == 6
    for node in transposed:
        makers = [index.producer(node.input[position]) for position in (0, 1)]
        assert [maker.op_type for maker in makers if maker is not None] == ["DequantizeLinear"] * 2


def test_tensorrt_builds_it(c_dlinknet_bundle: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    from trtparse.trt_builder.engine_spec import EngineSpec
    from trtparse.trt_builder.tensorrt_api import TensorRT

    spec = EngineSpec("int8", "tensorrt-rtx", ("8.6",))
    built = TensorRT.load("tensorrt-rtx").build(onnx.load(c_dlinknet_bundle.graph("int8")), spec, "8.6")
    assert sum(layer.kind == "QUANTIZE" for layer in built.layers) > 50
