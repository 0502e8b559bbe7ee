"""Options that say how somebody else's network sees images and gives answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .options import Given

if TYPE_CHECKING:
    from ..graphs.conventions import Said
    from ..specs.spec import Spec

Command = TypeVar("Command", bound=Callable[..., Any])

FOREIGN_OPTIONS = ("preset", "input_order", "mean", "std", "layout", "output_name", "align_corners", "returns")
"""Names of the parameters; a graph that has our input and outputs needs none of them."""


def parse_three(value: str | tuple[float, float, float]) -> tuple[float, float, float]:
    """``0.485,0.456,0.406``."""
    if isinstance(value, tuple):
        return value
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers such as 0.485,0.456,0.406") from None
    if len(numbers) != 3:
        told = f"{len(numbers)} number{'s' if len(numbers) > 1 else ''}"
        raise click.BadParameter(f"{value!r} has {told}; it takes three, one a channel")
    return numbers[0], numbers[1], numbers[2]


def foreign_options(command: Command) -> Command:
    """Options of :func:`said_of`."""
    for option in (
        click.option(
            "--returns",
            type=click.Choice(["labels", "logits"]),
            help="What goes back onto the image: label maps, or logits before their argmax.  [default: the preset's]",
        ),
        click.option(
            "--align-corners/--no-align-corners",
            default=None,
            help="Of the resize that raises its scores to the input: PyTorch's align_corners.",
        ),
        click.option("--output-name", metavar="NAME", help="The output with its scores, or its labels."),
        click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Of its input."),
        click.option("--std", type=parse_three, metavar="A,B,C", help="Of the channels, of values from 0 to 1."),
        click.option("--mean", type=parse_three, metavar="A,B,C", help="The same; 0,0,0 for none."),
        click.option("--input-order", type=click.Choice(["rgb", "bgr"]), help="Of the channels that it computes with."),
        click.option(
            "--preset",
            metavar="NAME",
            help="A published network: schp-lip, segformer-clothes, bodypix ...; trtparse inspect FILE says which fit.",
        ),
    ):
        command = option(command)
    return command


def said_of(source: Path, options: Given, labels: Spec | None, given: list[str]) -> Said | None:
    """What was said of a network that is not ours; None where nothing has to be.

    Args:
        source: the graph or checkpoint.
        options: of the command.
        labels: what ``--labels`` says, of classes or joints.
        given: those of the options above that were typed.

    Raises:
        UsageError: the graph has our input and outputs, or neither them nor anything said of it.
    """
    from ..graphs.conventions import Said, fits
    from ..graphs.facts import facts_of
    from ..graphs.interface import check_interface, read_onnx

    if source.suffix.lower() == ".onnx":
        model = read_onnx(source)
        try:
            check_interface(model, source)
        except UsageError as error:
            if not given:
                fitting = [name for name, reasons in fits(facts_of(model)).items() if not reasons]
                known = f" A preset that fits: {', '.join(fitting)}." if fitting else ""
                raise UsageError(
                    error.message,
                    "Say how it takes images, and it is given ours: --preset, or --labels, --input-order, --mean and "
                    f"--std (docs/foreign.md).{known}",
                ) from error
        else:
            if given:
                raise UsageError(
                    f"{source} has our input and outputs already: {', '.join(given)} cannot change them.",
                    "Leave that out; --labels says what its classes mean.",
                )
            return None
    elif not given:
        return None
    from ..specs.skeleton import Skeleton

    order, layout = options["input_order"], options["layout"]
    return Said(
        preset=options["preset"],
        labels=None if isinstance(labels, Skeleton) else labels,
        skeleton=labels if isinstance(labels, Skeleton) else None,
        order=None if order is None else order.upper(),
        mean=options["mean"],
        std=options["std"],
        layout=None if layout is None else layout.upper(),
        output=options["output_name"],
        align_corners=options["align_corners"],
        returns=options["returns"],
        stretch=options["stretch"],
        input_size=options["input_size"],
        batch=options["batch"],
    )
