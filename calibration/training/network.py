"""A graph in PyTorch that computes as both its INT8 forms do, and can be trained: weights, biases and ranges.

The two Q/DQ graphs are read as they are, so that each rounding stands where :mod:`~trtparse.calibration.quantise` puts
it. Both share weights, biases and ranges; each has scales of its own of them, as the graphs have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import BuildError
from ...graphs.index import CONVOLUTIONS, GraphIndex
from ...graphs.raw import find_raw
from ..quantise.cpu import quantise_for_cpu
from ..quantise.placement import Placement
from ..quantise.qdq import quantise
from ..ranges import Ranges
from .folding import FoldedConvolution, as_exported
from .operators import inputs_of, operator_of, padding_of, sides_of
from .rounding import INT8_ENDS, UINT8_ENDS, half_up, rounded, rounded_weight, straight

Form = Literal["int8", "int8-cpu", "fp32"]

FORMS: tuple[Form, ...] = ("int8", "int8-cpu")

_SMALLEST = 1e-6
"""Of a learned range, as a share of the one that it started from: less is a range that has collapsed."""


Run = Callable[..., Tensor]
"""The network, whose weights and ranges it takes (a copy has its own), and a node's inputs to its output."""


@dataclass(frozen=True)
class Step:
    """One node of a form.

    Args:
        inputs: names of the tensors that it reads.
        output: of the tensor that it makes; of a QuantizeLinear the values that the integers stand for.
        run: makes it.
        done: of its inputs, those that nobody reads after it.
    """

    inputs: tuple[str, ...]
    output: str
    run: Run
    done: tuple[str, ...]


class FakeQuantNetwork(nn.Module):
    """From frames to what the last resize reads: coarse logits.

    Args:
        model: FP32, with fixed sizes.
        placement: of its Q/DQ.
        ranges: that it starts from, of every activation.
        convolutions: of the network that the graph was exported from, by the names of its nodes; the network's own
            weights and biases are learned then, and the graph's without.
        pace: of the ranges' logarithms against the weights: they move by so many learning rates a step.

    Raises:
        UsageError: the graph has a node that cannot be trained.
        BuildError: it is not the network's, or a range that it needs is missing.
    """

    low: Tensor
    high: Tensor
    unsigned: Tensor
    most: Tensor

    def __init__(
        self,
        model: onnx.ModelProto,
        placement: Placement,
        ranges: Ranges,
        convolutions: Mapping[str, FoldedConvolution] | None = None,
        pace: float = 1.0,
    ) -> None:
        super().__init__()
        self.placement, self.started_from, self.pace = placement, ranges, pace
        self._fp32 = GraphIndex(model.graph)
        self._nodes = {node.name: node for node in self._fp32.nodes}
        self._array = {name: self._fp32.array(name) for name in self._fp32.initializers}
        self._group = {tensor: group for group in placement.shared for tensor in group}
        self._add_convolutions(convolutions or {})
        self._add_constants()
        output = _coarse(model, self._fp32)
        graphs = {
            "int8": quantise(model, placement, ranges),
            "int8-cpu": quantise_for_cpu(model, placement, ranges),
            "fp32": model,
        }
        self._range_names: list[str] = []
        self.steps = {form: self._steps(graph, form, output) for form, graph in graphs.items()}
        self._input = model.graph.input[0].name
        self._add_ranges(ranges)
        del self._fp32, self._nodes, self._array

    def _add_convolutions(self, convolutions: Mapping[str, FoldedConvolution]) -> None:
        """A parameter for each weight and bias; a weight that several nodes read is one."""
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self._convolutions: dict[str, tuple[FoldedConvolution, int, int | None]] = {}
        numbers: dict[str, tuple[int, int | None]] = {}
        for node in self._fp32.convolutions():
            weight = self._array.get(node.input[1])
            if weight is None:
                continue
            if node.name in convolutions:
                found = as_exported(convolutions[node.name], weight, node.name)
            else:
                name = node.input[2] if len(node.input) > 2 and node.input[2] else None
                bias = None if name is None else torch.from_numpy(self._array[name].copy())
                axis = 0 if node.op_type == "Conv" else 1
                values = torch.from_numpy(weight.copy())
                found = FoldedConvolution(node.input[1], name, values, bias, None, None, axis)
            if found.weight not in numbers:
                self.weights.append(nn.Parameter(found.values.clone()))
                number = None
                if found.shift is not None:
                    self.biases.append(nn.Parameter(found.shift.clone()))
                    number = len(self.biases) - 1
                numbers[found.weight] = len(self.weights) - 1, number
            for name in ("factor", "offset"):
                value = getattr(found, name)
                if value is not None:
                    self.register_buffer(f"{name}_{len(self._convolutions)}", value, persistent=False)
            # A copy of the network shall not copy what the parameters and buffers hold already.
            told = replace(found, values=torch.empty(0), shift=None, factor=None, offset=None)
            self._convolutions[node.name] = told, *numbers[found.weight]

    def _add_constants(self) -> None:
        self.constants: dict[str, str] = {}
        weights = {name for node in self._fp32.convolutions() for name in node.input[1:]}
        for node in self._fp32.nodes:
            for name in inputs_of(node):
                if name in self._array and name not in weights and name not in self.constants:
                    self.constants[name] = f"constant_{len(self.constants)}"
                    value = torch.from_numpy(self._array[name].copy())
                    self.register_buffer(self.constants[name], value, persistent=False)

    def _add_ranges(self, ranges: Ranges) -> None:
        """What is learned of each range is the logarithm of how many times wider it is than at the start."""
        names = self._range_names
        missing = [name for name in names if name not in ranges.limits]
        if missing:
            raise BuildError(f"No calibration range for {missing[0]} ({len(missing)} in all).", "Calibrate the graph.")
        low, high = ([ranges.limits[name][end] for name in names] for end in (0, 1))
        unsigned = [ranges.unsigned.get(name, ranges.limits[name][1]) for name in names]
        values = {"low": low, "high": high, "unsigned": unsigned, "most": [self._most(name) for name in names]}
        for name, numbers in values.items():
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32), persistent=False)
        self.logarithms = nn.Parameter(torch.zeros(3, len(names)))
        self._row = {name: number for number, name in enumerate(names)}

    def _most(self, tensor: str) -> float:
        """Where a ReLU6 ends, a range does as well: the CPU's form has no other end of it."""
        maker = self._fp32.producer(tensor)
        if maker is not None and maker.op_type == "Clip" and len(maker.input) > 2 and maker.input[2] in self._array:
            return float(self._array[maker.input[2]])
        return float("inf")

    def _steps(self, graph: onnx.ModelProto, form: str, output: str) -> list[Step]:
        """The nodes that the output needs, in order."""
        index = GraphIndex(graph.graph)
        needed, waiting = set(), [output]
        while waiting:
            tensor = waiting.pop()
            maker = index.producer(tensor)
            if maker is not None and tensor not in needed:
                needed.update(maker.output)
                waiting += [maker.input[0]] if maker.op_type in CONVOLUTIONS else inputs_of(maker)
        steps = []
        for node in index.nodes:
            if node.output[0] in needed:
                inputs, run = self._run_of(node, index, form)
                steps.append(Step(inputs, node.output[0], run, ()))
        last: dict[str, int] = {name: number for number, step in enumerate(steps) for name in step.inputs}
        kept = {output, *self.constants}
        return [
            replace(step, done=tuple(name for name in set(step.inputs) - kept if last[name] == number))
            for number, step in enumerate(steps)
        ]

    def _run_of(self, node: onnx.NodeProto, index: GraphIndex, form: str) -> tuple[tuple[str, ...], Run]:
        if node.op_type == "QuantizeLinear":
            name = node.input[1].removesuffix("_scale")
            self._note(name)
            return (node.input[0],), lambda network, x: network.rounded(x, name, form)
        if node.op_type == "DequantizeLinear":
            return (node.input[0],), lambda _, x: x
        if node.name in self._convolutions:
            maker = index.producer(node.input[1])
            quantised = maker is not None and maker.op_type == "DequantizeLinear"
            unit = ""
            if quantised and form == "int8-cpu":
                dequantise = index.producer(node.input[0])
                assert dequantise is not None
                unit = dequantise.input[1].removesuffix("_scale")
            return (node.input[0],), self._convolution(self._nodes[node.name], quantised, unit)
        run = operator_of(node, self._array)
        return tuple(inputs_of(node)), lambda _, *inputs: run(*inputs)

    def _note(self, tensor: str) -> None:
        for name in self._group.get(tensor, (tensor,)):
            if name not in self._range_names:
                self._range_names.append(name)

    def _convolution(self, node: onnx.NodeProto, quantised: bool, unit: str) -> Run:
        """A convolution with the weight that it has in a form; ``unit`` names the range that its bias is rounded by."""
        found, number, bias_number = self._convolutions[node.name]
        order = list(self._convolutions).index(node.name)
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        transposed = node.op_type == "ConvTranspose"
        top, left, bottom, right = sides_of(node, attributes)
        uneven = (top, left) != (bottom, right) and not transposed
        options = {
            "stride": list(attributes.get("strides", (1, 1))),
            "padding": [0, 0] if uneven else padding_of(node, attributes),
            "dilation": list(attributes.get("dilations", (1, 1))),
            "groups": attributes.get("group", 1),
        }
        if transposed:
            options["output_padding"] = list(attributes.get("output_padding", (0, 0)))
        run = F.conv_transpose2d if transposed else F.conv2d

        def convolve(network: FakeQuantNetwork, x: Tensor) -> Tensor:
            factor, offset = (getattr(network, f"{name}_{order}", None) for name in ("factor", "offset"))
            bias = None if bias_number is None else network.biases[bias_number]
            here = replace(found, factor=factor, offset=offset)
            weight, bias = here.folded(network.weights[number], bias)
            if quantised:
                weight, scales = rounded_weight(weight, found.axis)
                if unit and bias is not None:
                    units = scales * network.scale(unit, "int8-cpu")[0].detach()
                    bias = straight(bias, torch.round(bias.detach() / units) * units)
            if uneven:
                x = F.pad(x, (left, right, top, bottom))
            return run(x, weight, bias, **options)

        return convolve

    def _bounds(self, tensor: str) -> tuple[Tensor, Tensor, Tensor]:
        """() float32 each: low, high, and high in uint8, as they are learned."""
        row = self._row[tensor]
        factors = torch.exp(self.logarithms[:, row] * self.pace)
        most = self.most[row]
        return (
            self.low[row] * factors[0],
            torch.minimum(self.high[row] * factors[1], most),
            torch.minimum(self.unsigned[row] * factors[2], most),
        )

    def scale(self, tensor: str, form: str) -> tuple[Tensor, Tensor]:
        """Scale and zero point of a tensor, as the form's quantiser makes them of its range."""
        if form == "int8":
            group = self._group.get(tensor, (tensor,))
            ends = [torch.stack([value.abs() for value in self._bounds(name)[:2]]).amax() for name in group]
            exact = torch.stack(ends).amax() / INT8_ENDS[1]
            scale = straight(exact, half_up(exact))
            return torch.where(scale > 0, scale, torch.ones_like(scale)), torch.zeros_like(scale)
        low, high, unsigned = self._bounds(tensor)
        # A tensor that is nowhere negative has a threshold of its own in uint8.
        top = unsigned if tensor in self.started_from.unsigned else high
        low, top = low.clamp(max=0), top.clamp(min=0)
        scale = (top - low) / UINT8_ENDS[1]
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        zero = -low / scale
        return scale, straight(zero, torch.round(zero))

    def rounded(self, x: Tensor, tensor: str, form: str) -> Tensor:
        """What Q/DQ of a form makes of a tensor's values."""
        scale, zero = self.scale(tensor, form)
        return rounded(x, scale, zero, INT8_ENDS if form == "int8" else UINT8_ENDS)

    def forward(self, frames: Tensor, form: Form) -> Tensor:
        """(N, H, W, 3) uint8, BGR, to (N, C, h, w) float32: what the graph has before its last resize.

        Args:
            frames: of the graph's size.
            form: ``int8`` is TensorRT's, ``int8-cpu`` the CPU runtime's, ``fp32`` rounds nothing.
        """
        values: dict[str, Tensor] = {name: getattr(self, buffer) for name, buffer in self.constants.items()}
        values[self._input] = frames
        output = frames
        for step in self.steps[form]:
            output = step.run(self, *(values[name] for name in step.inputs))
            values[step.output] = output
            for name in step.done:
                del values[name]
        return output

    def ranges(self) -> Ranges:
        """As learned; all that is quantised in neither form is as it was.

        Raises:
            BuildError: a range has collapsed to 0, or is no number.
        """
        limits, unsigned = dict(self.started_from.limits), dict(self.started_from.unsigned)
        with torch.no_grad():
            for name in self._range_names:
                low, high, top = (float(value) for value in self._bounds(name))
                widest, before = max(abs(low), abs(high)), max(map(abs, limits[name]))
                small = widest < _SMALLEST * before or (name in unsigned and top < _SMALLEST * unsigned[name])
                if not low <= high < float("inf") or small:
                    raise BuildError(
                        f"The learned range of {name} has collapsed: {low:g} to {high:g}, from {limits[name][0]:g} to "
                        f"{limits[name][1]:g}.",
                        "Start in another folder with a lower learning rate: --set optimizer.learning_rate=0.000001.",
                    )
                limits[name] = low, high
                if name in unsigned:
                    unsigned[name] = top
        return replace(self.started_from, limits=limits, unsigned=unsigned)

    @torch.no_grad()
    def halve(self) -> None:
        """Round weights and biases to what a checkpoint in half precision holds."""
        for value in (*self.weights, *self.biases):
            value.copy_(value.half().float())

    def trained(self) -> dict[str, Tensor]:
        """Weights and biases by their names in the network's state dict; without a network, in the graph."""
        found: dict[str, Tensor] = {}
        for convolution, number, bias_number in self._convolutions.values():
            found[convolution.weight] = self.weights[number].detach()
            if convolution.bias is not None and bias_number is not None:
                found[convolution.bias] = self.biases[bias_number].detach()
        return found


def _coarse(model: onnx.ModelProto, index: GraphIndex) -> str:
    """The raw tensor, or what it is resized from."""
    raw = find_raw(model)
    maker = index.producer(raw)
    if maker is None:
        raise BuildError("The graph does not say what its answers are decided from.", "Export the network again.")
    return maker.input[0] if maker.op_type == "Resize" else raw
