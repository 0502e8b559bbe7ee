from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def scale_gradients(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on runs scale their loss, as they do in FP16 on a GPU."""
    import torch

    scaler = torch.amp.GradScaler

    def scale() -> None:
        monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device, enabled=True))

    return scale
