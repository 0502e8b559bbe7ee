"""How a recipe of whatever task becomes tables and comes back: TOML's values, settings of the command line, messages.

A key that does not exist, and a value that cannot be, are errors that name the key.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import UsageError
from ..storage.json_types import JsonObject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Table = TypeVar("Table")

RecipeTables = dict[str, Any]
"""A recipe's tables as TOML has them: read, and changed key by key, until one of the recipes' classes takes them."""


def override(values: RecipeTables, overrides: Sequence[str]) -> RecipeTables:
    """``values`` with ``key=value`` settings applied."""
    for setting in overrides:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{setting!r} is not a setting.", "Write key=value, such as optimizer.learning_rate=0.01.")
        *folders, name = key.strip().split(".")
        table = values
        for folder in folders:
            table = table.setdefault(folder, {})
            if not isinstance(table, dict):
                raise UsageError(f"{key} cannot be set: {folder} is no table.", "Edit the recipe's file instead.")
        table[name] = _toml_value(text.strip())
    return values


class Tables(Protocol):
    """A recipe of any task."""

    def to_dict(self) -> JsonObject: ...


def differences(one: Tables, other: Tables) -> list[str]:
    """Dotted keys whose values differ, with both values, for messages."""
    first, second = _flat(one.to_dict()), _flat(other.to_dict())
    return [
        f"{key} ({first.get(key)!r} and {second.get(key)!r})"
        for key in sorted({*first, *second})
        if first.get(key) != second.get(key)
    ]


def _flat(table: JsonObject, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_table(recipe: DataclassInstance) -> RecipeTables:
    """A recipe, or a table of it, as JSON and TOML have it: a frozen dataclass of values and of such tables."""
    return {item.name: _plain(getattr(recipe, item.name)) for item in fields(recipe)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def from_table(cls: type[Table], values: Any, prefix: str) -> Table:
    """Read a frozen dataclass of tables, its fields coerced to their declared types.

    Args:
        cls: what is made.
        values: the table.
        prefix: of the keys in messages, with the dot.

    Raises:
        UsageError: an unknown, missing or impossible value; the message names the key.
    """
    if not isinstance(values, Mapping):
        raise impossible(prefix.rstrip("."), values, "a table")
    hints = get_type_hints(cls)
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1, 0.4)
            hint = f"Did you mean {prefix}{near[0]}?" if near else f"There are {', '.join(prefix + n for n in names)}."
            raise UsageError(f"The recipe has an unknown key {prefix}{key}.", hint)
    for item in fields(cls):  # type: ignore[arg-type]
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise UsageError(f"The recipe lacks {prefix}{item.name}.", "Add it.")
    values = {item.name: _filled(item, values[item.name]) for item in fields(cls) if item.name in values}  # type: ignore[arg-type]
    try:
        return cls(**{key: _coerce(hints[key], value, prefix + key) for key, value in values.items()})
    except ValueError as error:
        raise UsageError(f"The recipe's {prefix.rstrip('.')} cannot be: {error}.", "Change that value.") from error


def _filled(item: Field[Any], value: Any) -> Any:
    """A table with what it leaves out as its field has it: a finder's network is a finder, whatever the class says."""
    if item.default_factory is MISSING or not isinstance(value, Mapping):
        return value
    default = item.default_factory()
    if not is_dataclass(default) or isinstance(default, type):
        return value
    return {**{key: kept for key, kept in to_table(default).items() if kept is not None}, **value}


def _coerce(hint: Any, value: Any, key: str) -> Any:
    """``value`` as the type that a field is declared with."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value, f"{key}.")
    if origin in (Union, UnionType):
        return _coerce(arguments[0], value, key)
    if origin is Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), arguments, 1, 0.4)
            raise impossible(key, value, f"one of {', '.join(arguments)}", near)
        return value
    if origin is tuple:
        return _coerce_tuple(arguments, value, key)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise impossible(key, value, "a finite number")
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if (hint is bool and isinstance(value, bool)) or (hint is str and isinstance(value, str)):
        return value
    if isinstance(value, Mapping) and (origin is not None and issubclass(origin, Mapping)):
        return dict(value)
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
    raise impossible(key, value, names.get(hint, "a table"))


def _coerce_tuple(arguments: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    if isinstance(value, str) and arguments == (int, int):  # a size: "256x192"
        value = [int(part) if part.isdecimal() else part for part in value.lower().split("x")]
    if not isinstance(value, (list, tuple)):
        raise impossible(key, value, "a list")
    if arguments[-1] is Ellipsis:
        return tuple(_coerce(arguments[0], item, key) for item in value)
    if len(value) != len(arguments):
        raise impossible(key, value, f"{len(arguments)} values")
    return tuple(_coerce(hint, item, key) for hint, item in zip(arguments, value))


def impossible(key: str, value: Any, wanted: str, near: Sequence[str] = ()) -> UsageError:
    """The error of a value that cannot be.

    Args:
        key: dotted.
        value: that is there.
        wanted: what it must be, in words.
        near: what may have been meant.
    """
    hint = f"Did you mean {near[0]}?" if near else "Change it in the recipe, or override it with --set."
    return UsageError(f"The recipe's {key} is {value!r}; it must be {wanted}.", hint)


def above(table: Any, prefix: str, **limits: float) -> None:
    """See that fields of a table are more than their limits.

    Raises:
        UsageError: one is not; named with the prefix.
    """
    for name, limit in limits.items():
        if not getattr(table, name) > limit:
            raise impossible(prefix + name, getattr(table, name), f"more than {limit}")


def at_least_zero(table: Any, prefix: str, *names: str) -> None:
    """See that fields of a table are 0 or more; errors as of :func:`above`."""
    for name in names:
        if not getattr(table, name) >= 0:
            raise impossible(prefix + name, getattr(table, name), "0 or more")


def within(table: Any, prefix: str, low: float, high: float, *names: str) -> None:
    """See that fields of a table are from ``low`` to below ``high``; errors as of :func:`above`."""
    for name in names:
        if not low <= getattr(table, name) < high:
            raise impossible(prefix + name, getattr(table, name), f"from {low} to below {high}")
