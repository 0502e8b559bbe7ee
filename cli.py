"""The words a person types. Every command has a file of its own in ``commands/``, read when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from . import __version__
from .commands.command_line import run

COMMANDS = {
    "build": "Build a bundle from a checkpoint, or engines from a bundle.",
    "validate": "Compare an engine of BUNDLE with PyTorch, class by class.",
    "compare": "Set bundles or precisions side by side.",
    "bench": "Time BUNDLE's engines against PyTorch and each other.",
    "demo": "Draw the parsing over VIDEO.",
    "parse": "Write label maps and overlays of photographs.",
    "serve": "Answer programs over HTTP, with BUNDLES.",
    "export": "Write BUNDLES in the form that Triton or DeepStream takes.",
    "train": "Train a network on labelled images.",
    "distill": "Train a student that follows a teacher.",
    "calibration-set": "Choose the images that calibrate, and show them.",
    "sensitivity": "Rank the layers by what INT8 costs each.",
    "inspect": "Say what BUNDLE or an ONNX file holds.",
    "doctor": "Say what this machine is, and what to type for what does not work.",
    "find": "Find the people in SOURCE, as boxes to train a finder on.",
    "teach": "Ask teachers about IMAGES once, and keep what they say.",
    "synthesize": "Render people with label maps into OUTPUT, in LIP's layout.",
}
"""Every command, in the order of ``trtparse -h``, with its line there."""


class _Commands(click.Group):
    """Reads a command's file when it is called: ``trtparse -h`` needs none of them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = name.replace("-", "_")
        command = getattr(import_module(f".commands.{module}", __package__), module)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """From a human-parsing network in PyTorch to a proven INT8 engine.

    \b
    trtparse build --int8            export, calibrate, quantise, compare with PyTorch
    trtparse validate                mIoU against PyTorch, class by class
    trtparse demo video.mp4          an annotated video

    Without further arguments each works on the weights and the synthetic people that come with it.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: those of the process where None.

    Raises:
        SystemExit: the exit code is not 0.
    """
    run(cli, arguments)


if __name__ == "__main__":
    main()
