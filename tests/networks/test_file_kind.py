from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from trtparse.errors import UsageError
from trtparse.networks.file_kind import identify, refuse_others


def an_onnx_graph(ir_version: int, producer: str) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [])
    return helper.make_model(graph, ir_version=ir_version, producer_name=producer).SerializeToString()


def a_zip(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return content.getvalue()


def a_tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "told", "advice"),
    [
        (b"", "an empty file", "again"),
        (bytes(4096), "nothing but zeros", "again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0d\nsize 1\n",
            "a pointer of Git LFS",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html><head><title>Google Drive", "a web page", "browser"),
        (b"\xef\xbb\xbf\n <?xml version='1.0'?><Error><Code>AccessDenied", "a web page", "browser"),
        (b'{"message": "Not Found"}', 'a text that begins with \'{"message"', "again"),
        ("Zugriff verweigert: für".encode() * 50, "a text that begins with 'Zugriff", "again"),
        (gzip.compress(b"x"), "a gzip archive", "Unpack"),
        (a_tar(), "a tar archive", "Unpack"),
        (a_zip("lip/model.pth"), "a zip archive with lip/model.pth in it", "Unpack"),
        (a_zip("a/data.pkl", "a/code/x.py", "a/constants.pkl"), "a TorchScript program", "state_dict"),
        (a_zip("w.npy"), "NumPy", "torch.save"),
        (a_zip("a/data.pkl")[:-30], "cut off or damaged", "again"),
        (an_onnx_graph(7, "tf2onnx"), "an ONNX graph", ".onnx"),
        (an_onnx_graph(3, ""), "an ONNX graph", ".onnx"),
    ],
    # Some of the bytes hold the time of day, and every process has to collect the same names.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_checkpoint_is_called_what_it_is(content: bytes, told: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        refuse_others(tmp_path / "a.pth", "a checkpoint", allowed=("safetensors", "pickle"))
    assert told in caught.value.message
    assert caught.value.message.endswith(", not a checkpoint.")
    assert advice in caught.value.hint


def test_what_torch_and_safetensors_write_is_told_by_its_bytes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import save_file

    torch.save({}, tmp_path / "zip")
    torch.save({}, tmp_path / "legacy", _use_new_zipfile_serialization=False)
    save_file({"a": torch.ones(1)}, tmp_path / "safe")
    assert [kind.kind for kind in map(identify, (tmp_path / n for n in ("zip", "legacy", "safe"))) if kind] == [
        *("pickle", "pickle", "safetensors")
    ]


def test_what_cannot_be_told_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xfe\xdc\xba\x98" * 9)
    assert refuse_others(tmp_path / "a", "a checkpoint", allowed=()) is None


def test_an_onnx_file_of_onnx_s_own_is_recognised(tmp_path: Path) -> None:
    onnx.save(onnx.load_from_string(an_onnx_graph(10, "pytorch")), tmp_path / "a.onnx")
    found = refuse_others(tmp_path / "a.onnx", "an ONNX graph", allowed=("onnx",))
    assert found is not None
    assert found.kind == "onnx"
