"""``trtparse compare A.onnx B.onnx``: two graphs of one task, by the task's own figure, and layer by layer."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, UsageError
from .options import Given

if TYPE_CHECKING:
    import onnx

    from ..data.dataset import Images
    from ..tasks.predictor import Predictor
    from ..trt_builder.layers_apart import LayersApart
    from ..validation.result import ValidationResult
    from .terminal import Terminal

LAYER_IMAGES = 2
"""Images on which layers are set side by side: a layer that computes something else does so on any."""


def are_graphs(words: tuple[str, ...]) -> bool:
    """Whether the arguments name ONNX files.

    Raises:
        UsageError: some do and some do not, or there is but one.
    """
    graphs = [word for word in words if word.lower().endswith(".onnx")]
    if not graphs:
        return False
    if len(graphs) < len(words) or len(words) < 2:
        raise UsageError("Graphs are compared with graphs.", "Name two ONNX files or more, or bundles.")
    return True


def compare_graphs(
    terminal: Terminal, words: tuple[str, ...], options: Given, preset: str | None, *, layers: bool
) -> tuple[ValidationResult, LayersApart | None]:
    """Compare graphs with the first of them.

    Args:
        terminal: entered.
        words: the files.
        options: of the command.
        preset: of networks that have not our input and outputs.
        layers: look for the first layer of the second graph that differs.

    Raises:
        UsageError: graphs of other tasks, classes or sizes, or none that can be used.
    """
    from ..tasks.protocol import Protocol
    from ..validation.validate import validate
    from .terminal import with_rate

    with contextlib.ExitStack() as stack:
        predictors, models = [], []
        for word in words:
            predictor, model = _opened(Path(word), options, preset)
            predictors.append(stack.enter_context(predictor))
            models.append(model)
        first, *others = predictors
        dataset = first.task.open_data(options["data"], options["split"], "validation", options["labels"], words[0])
        order = options["order"] or first.task.usual_order(first.framing)
        protocol = Protocol(order, options["flip"], options["scales"])
        terminal.stage("Comparing " + ", ".join(words))
        result = validate(
            first,
            others,
            dataset,
            protocol=protocol,
            tolerance=options["tolerance"],
            strict=options["strict"],
            limit=options["limit"],
            progress=with_rate(terminal, resumed=False),
        )
        apart = None
        if layers:
            from ..trt_builder.layers_apart import layers_apart

            terminal.stage("Setting layers side by side")
            frames = _frames(dataset, first)
            apart = layers_apart(models[0], models[1], frames, terminal.progress)
        return result, apart


def worst_row(result: ValidationResult) -> str:
    """The class or joint on which the engine that loses most agrees least, in a sentence; empty where none counts."""
    from ..validation.verdict import worst_engine

    agreement = result.engines[worst_engine(result)].agreement
    rows = [
        (value, name)
        for value, name, counted in zip(agreement.rows, result.task.rows, agreement.counted)
        if value is not None and counted
    ]
    if not rows:
        return ""
    value, name = min(rows)
    return f"Worst {result.figure.row}: {name}, which agrees to {100 * value:.2f}"


def _opened(path: Path, options: Given, preset: str | None) -> tuple[Predictor[Any], onnx.ModelProto]:
    """A graph as an engine with what it means, and the graph itself."""
    from ..engines.cpu import CpuEngine
    from ..graphs.adapt import adapt
    from ..graphs.conventions import Said
    from ..graphs.interface import check_interface, graph_precision, read_onnx
    from ..graphs.observe import framing_of
    from ..graphs.simulated import stored_in_half
    from ..tasks.open import spec_named, task_of_graph
    from ..tasks.predictor import Predictor

    model = read_onnx(path)
    meant = None if options["labels"] is None else spec_named(options["labels"])
    if preset is not None:
        said = Said(preset=preset)
        # Of label maps the protocol may ask for logits; of joints and boxes there is nothing else.
        model, meant = adapt(model, said, path, logits=said.task == "parsing"), None
    check_interface(model, path)
    task, precision = task_of_graph(model, meant, path), graph_precision(model)
    runs = stored_in_half(model) if precision == "fp16" else model
    engine = CpuEngine(runs, precision, threads=options["threads"], simulate=precision == "int8")
    engine.name = f"{path.name}, {engine.name}"
    return Predictor(engine, task, framing_of(model)), model


def _frames(dataset: Images, predictor: Predictor[Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    frames = []
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except DataError:
            # Validation has listed it.
            continue
        placement = predictor.place((sample.image.shape[0], sample.image.shape[1]), sample.box)
        frames.append(placement.apply(sample.image))
        if len(frames) == (predictor.engine.batch or LAYER_IMAGES):
            break
    count = predictor.engine.batch or len(frames)
    return np.stack([frames[min(number, len(frames) - 1)] for number in range(count)])
