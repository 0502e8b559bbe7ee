"""What an exported folder says of itself to whoever gives it to DeepStream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...specs.framing import MOST_STRETCH, Framing

if TYPE_CHECKING:
    from .export import DeepStreamExport


_TITLES = {"parsing": "A parser", "pose": "A pose network", "people": "A person finder"}

_GIVES = {
    "parsing": "`probabilities` (N, classes, H, W)",
    "pose": "`joints` (N, K, 3): x and y in the network's pixels, and a score, of each joint",
    "people": "`boxes` (N, M, 5): left, top, right and bottom in the network's pixels, and a score, of each",
}

_TENSORS = {
    "pose": """
nvinfer hands the joints on as they are (`network-type=100`, `output-tensor-meta=1`): a probe behind it reads
`NvDsInferTensorMeta` from the frame, or from each person, and brings them onto the picture.
""",
    "people": """
nvinfer hands the boxes on as they are (`network-type=100`, `output-tensor-meta=1`): a probe behind it reads
`NvDsInferTensorMeta`, takes those above the bundle's score, of several that overlap by 0.6 the best, and adds an
`NvDsObjectMeta` of class 0 for each, which nvinfer behind it works on.
""",
}

_PADDING = """- nvinfer does not pad a person's box: to see as much around people as `trtparse demo` does, put
  `nvdspreprocess` before it.
"""


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
    name = exported.name
    parsing, people = exported.task == "parsing", exported.task == "people"
    start = "\ndeepstream-app -c deepstream_app_config.txt    # after the video's path is in it" if parsing else ""
    rows = [f"| `config_infer_{name}.txt` | nvinfer over whole frames |"]
    if not people:
        rows.append(
            f"| `config_infer_{name}_of_people.txt` | nvinfer over the people of a detector before it (`gie-unique-id` "
            "1, class 0) |"
        )
    if parsing:
        rows += [
            "| `labels.txt` | the classes, one a line |",
            "| `deepstream_app_config.txt` | NVIDIA's `deepstream-app`: one video, its parts in colours, into a file |",
        ]
    return f"""# {_TITLES[exported.task]} for DeepStream

`{name}.onnx` takes `images` (N, 3, {height}, {width}) float32, BGR from 0 to 255, as nvinfer makes them, normalises
inside, and gives {_GIVES[exported.task]}. Its precision is {exported.precision}, in the graph.
On {exported.frames} rendered people {100 * exported.agreement:.3f} % of the {exported.unit} that nvinfer gets are those
that the bundle's graph gives.

## Start it

```sh
trtexec --onnx={name}.onnx --stronglyTyped --saveEngine={name}.engine{shapes}{start}
```

The engine is built first: nvinfer, which builds one where it finds none, sets precisions of its own, and wants a
calibration file for INT8 although the graph's own Q/DQ nodes have the ranges.
{"" if parsing else _TENSORS[exported.task]}
| file | for |
|---|---|
{chr(10).join(rows)}

## What differs from trtparse

- {_fitting(framing)}
- nvinfer scales bilinearly; trtparse averages where it scales down.
{"" if people else _PADDING}
## What was not run

DeepStream itself, on any machine: neither nvinfer nor an application. What was checked is the graph against the
bundle's own{", by a copy of nvinfer's loop in NumPy" if parsing else ""}; and the keys, against those that NVIDIA's
parser of such files and its published samples have.
"""


def _fitting(framing: Framing) -> str:
    if framing.fill and framing.stretch < MOST_STRETCH:
        return f"nvinfer leaves black bars where frames keep their shape, and trtparse grey ones ({framing.fill})."
    if framing.stretch >= MOST_STRETCH:
        return "Frames fill the input whatever their shape, as in trtparse."
    if framing.stretch == 1:
        return "Frames keep their shape between black bars, as in trtparse."
    return (
        f"Frames keep their shape between black bars; trtparse stretches one side by up to {framing.stretch:g} to fill "
        "the input. `maintain-aspect-ratio=0` fills it whatever that does to the shape."
    )
