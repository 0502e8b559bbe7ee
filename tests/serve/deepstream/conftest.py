"""People, as everywhere but for what is served."""

from trtparse.tests.conftest import frames

__all__ = ["frames"]
