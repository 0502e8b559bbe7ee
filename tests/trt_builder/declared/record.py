"""Write down what a version of TensorRT's Python bindings declares.

    python record.py tensorrt >tensorrt-8.6.0.json

Needs no GPU, and of TensorRT's libraries (a gigabyte and more) none but their names: the bindings of a wheel such as
``tensorrt_cu12_bindings`` load against stand-ins that define the functions that they import by name
(``nm -D --undefined-only tensorrt.so``; some ten). Of each method it keeps with how many arguments it can be called,
of each enumeration the values, of everything else the name.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

NAMES = [
    "Builder",
    "IBuilderConfig",
    "INetworkDefinition",
    "OnnxParser",
    "ParserError",
    "ITimingCache",
    "EngineInspector",
    "ICudaEngine",
    "IExecutionContext",
    "Runtime",
    "ILayer",
    "ITensor",
    "IOptimizationProfile",
    "ILogger",
    "IHostMemory",
    "BuilderFlag",
    "NetworkDefinitionCreationFlag",
    "HardwareCompatibilityLevel",
    "ProfilingVerbosity",
    "MemoryPoolType",
    "TacticSource",
    "LayerType",
    "LayerInformationFormat",
    "ComputeCapability",
    "DeviceType",
    "OnnxParserFlag",
    "PreviewFeature",
    "DataType",
    "TensorIOMode",
]


def arguments(method: Any) -> list[tuple[int, int]]:
    """(fewest, most) arguments of each overload, by pybind11's docstring."""
    counts = set()
    for line in re.findall(r"(?m)^(?:\d+\. )?\w+\(self: [^\n]*\) ->", method.__doc__ or ""):
        inner = re.sub(r"[\[(<][^\[\](<>)]*[\])>]", "", line[line.index("(") + 1 : line.rindex(")")])
        while re.search(r"\[[^\[\]]*\]", inner):
            inner = re.sub(r"\[[^\[\]]*\]", "", inner)
        parts = inner.split(",")
        counts.add((sum("=" not in part for part in parts) - 1, len(parts) - 1))
    return sorted(counts)


def declared(module: Any) -> dict[str, Any]:
    classes: dict[str, Any] = {}
    enums: dict[str, dict[str, int]] = {}
    for name in NAMES:
        found = getattr(module, name, None)
        if found is None:
            continue
        if hasattr(found, "__members__"):
            enums[name] = {member: int(value) for member, value in found.__members__.items()}
        else:
            public = [attribute for attribute in dir(found) if not attribute.startswith("_")]
            values = {attribute: getattr(found, attribute) for attribute in public}
            classes[name] = {key: arguments(value) if callable(value) else None for key, value in values.items()}
    return {"version": str(module.__version__), "enums": enums, "classes": classes}


def main() -> None:
    found = declared(importlib.import_module(sys.argv[1]))
    lines = [f' "version": {json.dumps(found["version"])}']
    for part in ("enums", "classes"):
        inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in found[part].items())
        lines.append(f' "{part}": {{\n{inner}\n }}')
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
