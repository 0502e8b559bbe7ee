"""What the manifests of bundles and of engines have in common as JSON: what they carry by value, and their seal.

A sealed document has its schema and a digest of itself, so one changed byte is found on opening.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..specs.framing import Framing
from ..specs.spec import Spec, pop_spec, spec_entry
from ..storage.json_types import JsonObject

if TYPE_CHECKING:
    from .bundle import Manifest
    from .manifest import EngineManifest


def digest_of(values: JsonObject) -> str:
    """sha256 over values in JSON's types, however their keys are ordered."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(manifest: Manifest | EngineManifest) -> str:
    """A manifest as JSON, with what its answers speak of, its framing, and its digest."""
    values = asdict(manifest)
    framing: Framing = manifest.framing
    del values["spec"], values["framing"]
    values |= spec_entry(manifest.spec)
    values["input_size"] = list(framing.input_size)
    values["preprocessing"] = framing.preprocessing()
    values["digest"] = digest_of(values)
    return json.dumps(values, indent=2) + "\n"


def unsealed(text: str, path: Path, what: str, newest: int, again: str) -> dict[str, Any]:
    """The values of a document that :func:`sealed` made, for its reader to take apart.

    Args:
        text: the document.
        path: where it was read, for messages.
        what: it is to be, for messages.
        newest: schema that is read.
        again: how it is made again, for messages.

    Raises:
        UsageError: no such document, of a newer schema, or changed since it was written.
    """
    try:
        values = json.loads(text)
        schema, digest = int(values["schema"]), values.pop("digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not {what}: {error}.", again) from error
    if schema > newest:
        raise UsageError(f"{path} has schema {schema}; this trtparse reads {newest}.", "Update trtparse.")
    if digest != digest_of(values):
        raise UsageError(f"{path} was changed after it was written.", again)
    return {**values, "schema": schema}


def pop_carried(values: dict[str, Any], path: Path) -> tuple[Spec, Framing]:
    """Take out of a document's values what its answers speak of, and its framing.

    Raises:
        UsageError: it is none.
        KeyError, TypeError, ValueError: the document has none.
    """
    height, width = values.pop("input_size")
    framing = Framing.of_preprocessing((int(height), int(width)), values.pop("preprocessing"))
    return pop_spec(values, str(path)), framing
