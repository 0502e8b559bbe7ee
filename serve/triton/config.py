"""Triton's model configurations, as the text form of protobuf that ``config.pbtxt`` holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = dict[str, Any]
"""A message of protobuf's: fields to texts, words, numbers, truth values, further messages, or lists of these. What
fields there are, Triton's ``model_config.proto`` says; None leaves one out."""


class Word(str):
    """A name of the protocol's own, as ``TYPE_UINT8``, which stands without quotes."""

    __slots__ = ()


def to_text(message: Mapping[str, object]) -> str:
    """A message in protobuf's text form.

    Args:
        message: a :data:`Message`.
    """
    return "".join(line + "\n" for line in _fields(message))


def entries(values: Mapping[str, object]) -> list[Message]:
    """A map, as protobuf's text form writes it."""
    return [{"key": key, "value": value} for key, value in values.items()]


def _fields(message: Mapping[str, object]) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield f"{name} {{"
            yield from _indented(value)
            yield "}"
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if value and isinstance(value[0], Mapping):
                for one in value:
                    yield from _fields({name: one})
            else:
                yield f"{name}: [{', '.join(map(_scalar, value))}]"
        elif value is not None:
            yield f"{name}: {_scalar(value)}"


def _indented(message: Mapping[str, object]) -> Iterator[str]:
    return (f"  {line}" for line in _fields(message))


def _scalar(value: object) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's escapes are among protobuf's, as long as the letters are ASCII; others go as UTF-8 bytes.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
