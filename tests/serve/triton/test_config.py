from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tritonclient.grpc", reason="tritonclient, or grpcio that its protobuf comes through, is missing")

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from trtparse.serve.triton.config import Word, entries, to_text


def parsed(message: dict[str, Any]) -> Any:
    return text_format.Parse(to_text(message), model_config_pb2.ModelConfig())


def test_every_kind_of_field_comes_back_from_triton_s_protobuf() -> None:
    config = parsed(
        {
            "name": "one",
            "max_batch_size": 8,
            "backend": None,
            "input": [{"name": "frames", "data_type": Word("TYPE_UINT8"), "dims": [-1, 3]}],
            "optimization": {"cuda": {"graphs": True}, "input_pinned_memory": {"enable": False}},
            "cc_model_filenames": entries({"8.7": "a.engine", "8.6": "b.engine"}),
            "version_policy": {"latest": {}},
        }
    )
    assert (config.name, config.max_batch_size, config.backend) == ("one", 8, "")
    assert list(config.input[0].dims) == [-1, 3]
    assert config.input[0].data_type == model_config_pb2.TYPE_UINT8
    assert config.optimization.cuda.graphs
    assert not config.optimization.input_pinned_memory.enable
    assert dict(config.cc_model_filenames) == {"8.7": "a.engine", "8.6": "b.engine"}
    assert config.version_policy.HasField("latest")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert parsed({"name": text}).name == text


def test_a_field_that_triton_does_not_know_is_found() -> None:
    with pytest.raises(text_format.ParseError, match="max_batch_sise"):
        parsed({"max_batch_sise": 8})
