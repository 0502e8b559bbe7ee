"""What answers speak of is classes or joints: documents tell which, and what somebody says has to fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trtparse.errors import UsageError
from trtparse.specs.label_set import label_set
from trtparse.specs.skeleton import load_skeleton
from trtparse.specs.spec import Spec, classes_meant, joints_meant, names_of, nothing_meant, pop_spec, spec_entry

LIP, COCO = label_set("lip"), load_skeleton("coco17")
PATH = Path("somebody's.onnx")


@pytest.mark.parametrize(("spec", "key"), [(LIP, "label_set"), (COCO, "skeleton")])
def test_a_document_says_which_it_is(spec: Spec, key: str) -> None:
    document = {**json.loads(json.dumps(spec_entry(spec))), "other": 1}
    assert list(document) == [key, "other"]
    assert len(names_of(spec)) == len(spec)
    assert pop_spec(document, "a bundle") == spec
    assert document == {"other": 1}


def test_documents_of_before_label_sets_named_the_classes_of_lip() -> None:
    assert pop_spec({"labels": list(LIP.classes)}, "a bundle") == LIP
    with pytest.raises(KeyError):
        pop_spec({}, "a bundle")


def test_what_somebody_says_has_to_be_of_the_network_s_kind() -> None:
    assert classes_meant(LIP, PATH) is LIP
    assert joints_meant(COCO, PATH) is COCO
    assert classes_meant(None, PATH) is joints_meant(None, PATH) is None
    nothing_meant(None, PATH)
    with pytest.raises(UsageError, match="onnx tells classes apart, and coco17 has joints"):
        classes_meant(COCO, PATH)
    with pytest.raises(UsageError, match=r"onnx finds joints, and LIP-20 .* has classes"):
        joints_meant(LIP, PATH)
    with pytest.raises(UsageError, match="onnx finds people, and --labels names LIP-20"):
        nothing_meant(LIP, PATH)
