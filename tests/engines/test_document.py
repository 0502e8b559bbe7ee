"""What a bundle's manifest and an engine's have in common; what each has of its own is tested with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trtparse.engines.bundle import Manifest
from trtparse.engines.document import digest_of, pop_carried, unsealed
from trtparse.errors import UsageError
from trtparse.specs.framing import CropRule, Framing
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.specs.spec import Spec
from trtparse.tests.engines.recording import fake_engine

FRAMING = Framing((6, 4), 1.5, "BGR", crop=CropRule(1.2), place="upper left", fill=114)


@pytest.mark.parametrize("spec", [label_set("cihp"), load_skeleton("lsp14")])
def test_bundle_and_engine_carry_what_answers_speak_of_and_the_framing_alike(spec: Spec) -> None:
    bundle = Manifest("parsing", "student", {}, spec, FRAMING, 1, ("int8",), {}, {}, {})
    engine = fake_engine(spec=spec, framing=FRAMING)[1]
    one, other = (json.loads(manifest.to_json()) for manifest in (bundle, engine))
    for entry in ({"label_set", "skeleton"} & one.keys()) | {"input_size", "preprocessing"}:
        assert one[entry] == other[entry]
    for values in (one, other):
        assert pop_carried(values, Path("a.json")) == (spec, FRAMING)


def test_a_document_of_a_newer_schema_is_for_a_newer_version() -> None:
    values = {"schema": 8, "name": "a"}
    text = json.dumps({**values, "digest": digest_of(values)})
    assert unsealed(text, Path("a.json"), "a manifest", 8, "Again.") == values
    with pytest.raises(UsageError, match=r"a\.json has schema 8; this trtparse reads 7") as caught:
        unsealed(text, Path("a.json"), "a manifest", 7, "Again.")
    assert caught.value.hint == "Update trtparse."
