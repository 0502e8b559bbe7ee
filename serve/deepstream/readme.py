"""What an exported folder says of itself to whoever gives it to DeepStream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...specs.framing import MOST_STRETCH, Framing

if TYPE_CHECKING:
    from .export import DeepStreamExport


def readme(exported: DeepStreamExport, framing: Framing, any_batch: bool) -> str:
    """The README of a folder.

    Args:
        exported: what it holds.
        framing: how images become frames everywhere else.
        any_batch: the graph takes any number of frames.
    """
    height, width = exported.input_size
    one, most = (f"images:{count}x3x{height}x{width}" for count in (1, exported.batch))
    shapes = f" --minShapes={one} --optShapes={most} --maxShapes={most}" if any_batch else ""
    return f"""# A parser for DeepStream

`parser.onnx` takes `images` (N, 3, {height}, {width}) float32, BGR from 0 to 255, as nvinfer makes them, normalises
inside, and gives `probabilities` (N, classes, {height}, {width}). Its precision is {exported.precision}, in the graph.
On {exported.frames} rendered people nvinfer's own loop over it gives {100 * exported.agreement:.3f} % of the pixels the
class that the bundle's graph gives them.

## Start it

```sh
trtexec --onnx=parser.onnx --stronglyTyped --saveEngine=parser.engine{shapes}
deepstream-app -c deepstream_app_config.txt    # after the video's path is in it
```

The engine is built first: nvinfer, which builds one where it finds none, sets precisions of its own, and wants a
calibration file for INT8 although the graph's own Q/DQ nodes have the ranges.

| file | for |
|---|---|
| `config_infer_parser.txt` | nvinfer over whole frames |
| `config_infer_parser_of_people.txt` | nvinfer over the people of a detector before it (`gie-unique-id` 1, class 0) |
| `labels.txt` | the classes, one a line |
| `deepstream_app_config.txt` | NVIDIA's `deepstream-app`: one video, its parts in colours, into a file |

## What differs from trtparse

- {_fitting(framing)}
- nvinfer scales bilinearly; trtparse averages where it scales down.
- nvinfer does not pad a person's box: to see as much around people as `trtparse demo` does, put `nvdspreprocess`
  before it.

## What was not run

DeepStream itself, on any machine: neither nvinfer nor the application. What was checked is the graph against the
bundle's own, by a copy of nvinfer's loop in NumPy; and the keys, against those that NVIDIA's parser of such files and
its published samples have.
"""


def _fitting(framing: Framing) -> str:
    if framing.stretch >= MOST_STRETCH:
        return "Frames fill the input whatever their shape, as in trtparse."
    if framing.stretch == 1:
        return "Frames keep their shape between black bars, as in trtparse."
    return (
        f"Frames keep their shape between black bars; trtparse stretches one side by up to {framing.stretch:g} to fill "
        "the input. `maintain-aspect-ratio=0` fills it whatever that does to the shape."
    )
