"""Fixtures of the engines' tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trtparse.engines import Bundle, OutputSpec, open_bundle
from trtparse.engines.tensorrt.cuda import open_cuda
from trtparse.engines.tensorrt.engine import TensorRTEngine
from trtparse.errors import MachineError
from trtparse.tests.engines.recording import FakeTensorRT, RecordingCuda, StandIn, fake_engine
from trtparse.tests.predicting import label_maps


@pytest.fixture(scope="session")
def gpu_bundle() -> Bundle:
    """A bundle at 256×192 with FP32, FP16 and INT8 engines of this GPU that take 1 to 8 frames."""
    if "TRTPARSE_GPU_BUNDLE" not in os.environ:
        pytest.skip("TRTPARSE_GPU_BUNDLE names no bundle with engines for this GPU")
    try:
        open_cuda()
    except MachineError as error:
        pytest.skip(error.message)
    return open_bundle(Path(os.environ["TRTPARSE_GPU_BUNDLE"]))


@pytest.fixture
def stand_in() -> Iterator[Callable[..., StandIn]]:
    """Opens engines over stand-ins; afterwards everything must have been given back, on every thread."""
    opened: list[StandIn] = []

    def open_one(
        batch: tuple[int, int, int] = (1, 1, 1),
        *,
        integrated: bool = False,
        cuda: RecordingCuda | None = None,
        refuses: str = "",
        shares_profiles: bool = True,
        logits: bool = False,
        outputs: tuple[OutputSpec, ...] = label_maps((6, 4)),
        types: dict[str, str] | None = None,
        fields: dict[str, Any] | None = None,
        **options: Any,
    ) -> StandIn:
        cuda = cuda or RecordingCuda(integrated=integrated)
        library = FakeTensorRT(cuda, refuses, shares_profiles)
        content, manifest = fake_engine(batch, logits=logits, outputs=outputs, types=types, **(fields or {}))
        engine = TensorRTEngine(content, manifest, cuda=cuda, library=library, **options)
        opened.append(StandIn(engine, cuda, library))
        return opened[-1]

    yield open_one
    for one in opened:
        one.engine.close()
        assert one.cuda.left() == []
        assert one.cuda.depth() == 0
