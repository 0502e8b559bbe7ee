"""Options that several commands share, and what they are read as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..engines import Bundle
    from ..engines.manifest import EngineManifest
    from ..engines.open import Rebuild
    from ..specs.label_set import LabelSet
    from ..tasks.parsing.files import Purpose, Split

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_BUNDLE = Path("build/student")
SYNTHETIC = "synthetic"
SYNTHETIC_IMAGES = {"calibration": 256, "validation": 64}


def common_options(command: Command) -> Command:
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table."),
        click.option("--threads", type=click.IntRange(0), default=0, help="CPU threads; 0 for one per core."),
    ):
        command = option(command)
    return command


def engine_options(command: Command) -> Command:
    for option in (
        click.option("--cuda-graph", is_flag=True, help="Let TensorRT replay each request as one CUDA graph."),
        click.option(
            "--slots",
            type=click.IntRange(1, 16),
            default=2,
            show_default=True,
            help="TensorRT's requests in flight; from two on, copies and kernels overlap.",
        ),
        click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), help="Default: the bundle's lowest."),
        click.option(
            "--target",
            type=click.Choice(["auto", "tensorrt", "cpu", "simulated", "pytorch"]),
            default="auto",
            help="auto: a TensorRT engine of the bundle that fits this machine, else cpu; cpu: ONNX Runtime; "
            "simulated: TensorRT's graph in float arithmetic.",
        ),
        click.option(
            "--auto-rebuild", is_flag=True, help="Build the TensorRT engine where the bundle has none for this machine."
        ),
    ):
        command = option(command)
    return command


def rebuild(wanted: bool, stage: Callable[[str], None]) -> Rebuild | None:
    """What ``--auto-rebuild`` lets :func:`~trtparse.engines.open_engine` call; None where it was not given.

    Args:
        wanted: whether it was given.
        stage: told at the start of each step of a build.
    """
    if not wanted:
        return None

    def build(bundle: Bundle, precision: str, manifest: EngineManifest | None) -> Bundle:
        from ..trt_builder.compile import build_engines
        from ..trt_builder.engine_spec import EngineSpec

        spec = EngineSpec(precision) if manifest is None else EngineSpec.from_settings(manifest.settings)
        return build_engines(bundle, spec, stage)[0]

    return build


def parse_size(value: str | tuple[int, int]) -> tuple[int, int]:
    """``HEIGHTxWIDTH``."""
    if isinstance(value, tuple):
        return value
    parts = value.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r} is not a size such as 256x192 (height x width)")
    size = (int(parts[0]), int(parts[1]))
    if not 64 <= min(size) <= max(size) <= 4096:
        raise click.BadParameter(f"{value}: height and width must lie between 64 and 4096")
    return size


def parse_batch(value: str) -> int | None:
    """A number of frames, or None for ``dynamic``."""
    if value == "dynamic":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 256:
        raise click.BadParameter(f"{value!r} is neither a number from 1 to 256 nor 'dynamic'")
    return int(value)


def labels_option(command: Command) -> Command:
    """``--labels``; :func:`~trtparse.specs.label_set.label_set` reads it."""
    return click.option(
        "--labels",
        metavar="WORD|FILE",
        help="What the classes mean: lip, atr, pascal, cihp, fashn, bodypix, person, or a TOML file.",
    )(command)


def labels_of_data(labels: LabelSet | None, data: str | None, network: LabelSet) -> LabelSet | None:
    """What the label maps of ``--data`` are taken for, as :func:`open_data` wants it.

    Those on a disk do not say it, and so they are LIP's unless ``--labels`` says otherwise: no network of other classes
    is measured on them by mistake. Rendered people come without labels for such a network.

    Args:
        labels: what ``--labels`` says.
        data: what ``--data`` says.
        network: what the classes of the network mean that is to look at them.
    """
    return network if labels is None and data in (None, SYNTHETIC) else labels


def open_data(data: str | None, split: str | None, purpose: Purpose, labels: LabelSet | None = None) -> Dataset:
    """The images that ``--data`` names.

    Args:
        data: a folder or an image; None or ``synthetic`` for rendered people.
        split: of LIP's layout.
        purpose: chooses one where none is given.
        labels: what the ids of its label maps mean, LIP's where not given. Rendered people have LIP's classes; for
            another set they come without labels.

    Raises:
        UsageError: a split of what has none.
        DataError: there are no such images.
    """
    if data is None or data == SYNTHETIC:
        if split is not None:
            raise UsageError("--split goes with --data.", "Synthetic people have no splits.")
        from ..data.dataset import WithoutLabels
        from ..data.synthetic import SyntheticPeople

        # Calibration and validation never share a person.
        people = SyntheticPeople(SYNTHETIC_IMAGES[purpose], seed=0 if purpose == "calibration" else 1)
        return people if labels is None or labels == people.label_set else WithoutLabels(people, labels)
    from typing import cast

    from ..tasks.parsing.files import open_dataset

    dataset = open_dataset(data, cast("Split | None", split), purpose=purpose, labels=labels)
    if dataset.left_out:
        click.echo(f"{data}: {dataset.left_out}.", err=True)
    return dataset
