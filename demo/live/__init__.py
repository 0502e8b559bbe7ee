"""The live page: the drawn frames in a browser, with numbers beside them and switches for the overlay."""

from .live_page import LivePage
from .settings import LiveSettings

__all__ = ["LivePage", "LiveSettings"]
