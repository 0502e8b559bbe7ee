"""``trtparse serve``: answer programs over HTTP."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import DEFAULT_BUNDLE, common_options, engine_options, rebuild, wants_people

if TYPE_CHECKING:
    from ..serve.serving import Serving
    from .terminal import Terminal

_MIB = 1 << 20


@click.command()
@click.argument("bundles", nargs=-1, metavar="[[NAME=]BUNDLE]...")
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    default="127.0.0.1:8000",
    show_default=True,
    help="Where to answer; port 0 takes a free one.",
)
@click.option(
    "--token",
    metavar="SECRET",
    envvar="TRTPARSE_TOKEN",
    help="What clients send as 'Authorization: Bearer SECRET'; needed where other machines reach the server. "
    "TRTPARSE_TOKEN says it without a trace in ps.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 256),
    help="Frames of one pass at the most.  [default: what the engine was built for; 1 where it takes any number]",
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 1000),
    default=0.0,
    show_default=True,
    metavar="MS",
    help="How long the first of a batch waits for others.",
)
@click.option(
    "--queue",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    help="Frames that wait for each engine; beyond them clients are told to come again.",
)
@click.option("--rate", type=click.FloatRange(0), default=0.0, metavar="N", help="Requests a second from one address.")
@click.option("--connections", type=click.IntRange(1, 100_000), default=256, show_default=True, help="Open at once.")
@click.option(
    "--photograph",
    type=(click.IntRange(1), click.IntRange(1)),
    default=(32, 64),
    show_default=True,
    metavar="MIB MEGAPIXELS",
    help="The largest JPEG or PNG that is taken.",
)
@click.option(
    "--people",
    type=click.Choice(["auto", "full"]),
    help="auto: also /models/NAME/people, which finds people in a photograph and looks at each.  [default: full]",
)
@click.option(
    "--detector",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="With --people auto: a YOLOX, an RT-DETR or a finder of yours, a graph or a bundle.",
)
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=20.0,
    show_default=True,
    metavar="S",
    help="At the end, how long what was asked before may take.",
)
@engine_options
@common_options
def serve(
    bundles: tuple[str, ...],
    listen: str,
    token: str | None,
    batch: int | None,
    delay: float,
    queue: int,
    rate: float,
    connections: int,
    photograph: tuple[int, int],
    people: str | None,
    detector: Path | None,
    drain: float,
    target: str,
    precision: str | None,
    auto_rebuild: bool,
    slots: int,
    cuda_graph: bool,
    threads: int,
    as_json: bool,
    debug: bool,
) -> None:
    """Answer programs over HTTP, each of BUNDLES under its folder's name or NAME.

    Speaks KServe's protocol (version 2, binary tensors), so that Triton's clients work unchanged; and
    takes photographs: curl --data-binary @person.jpg ADDRESS/models/NAME/image -o labels.png

    Ctrl-C or SIGTERM ends it: nothing new is taken, and what was asked is answered.
    """
    from .. import __version__
    from ..serve.limits import Limits
    from ..serve.model import Opening, named_bundles
    from ..serve.serving import Serving
    from ..serve.worker import BatchSpec
    from .terminal import Terminal

    named = named_bundles(bundles or (str(DEFAULT_BUNDLE),))
    finding = None
    if wants_people(people, detector):
        from ..tasks.people.detector import open_detector

        finding = partial(open_detector, detector, threads=threads or 1)
    with Terminal(as_json=as_json) as terminal:
        serving = Serving(
            named,
            listen,
            token or "",
            engine=Opening(
                target,
                precision,
                threads,
                rebuild(auto_rebuild, terminal.stage),
                slots=slots,
                cuda_graph=cuda_graph,
            ),
            batch=BatchSpec(batch or 0, delay / 1000, queue),
            limits=Limits(
                photograph_bytes=photograph[0] * _MIB,
                photograph_pixels=photograph[1] * 1_000_000,
                connections=connections,
                rate=rate,
                draining_seconds=drain,
            ),
            version=__version__,
            say=terminal.note,
            open_detector=finding,
        )
        terminal.stage("Opening " + ", ".join(model.name for model in named))
        _serve(serving, terminal)
    _show(serving, terminal)


def _serve(serving: Serving, terminal: Terminal) -> None:
    opened = False
    try:
        with serving:
            opened = True
            for name, model in serving.models.items():
                terminal.note(f"{name}: {model.predictor.name}")
            terminal.stage(f"Serving at {serving.url}")
            try:
                serving.wait()
            finally:
                terminal.stage("Answering what was asked")
    except KeyboardInterrupt:
        if not opened:
            raise


def _show(serving: Serving, terminal: Terminal) -> None:
    if terminal.as_json:
        told = {name: model.statistics.to_kserve(name, "1") for name, model in serving.models.items()}
        terminal.result({"schema_version": 1, "url": serving.url, "models": told})
        return
    for name, model in serving.models.items():
        requests = _counted(model.statistics.requests, "request")
        terminal.out.print(f"{name}: {requests}, {_counted(model.statistics.frames, 'frame')}", markup=False)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
