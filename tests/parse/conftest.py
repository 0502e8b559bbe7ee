"""The photographs that the demo is tested on serve here as well."""

from trtparse.tests.demo.conftest import engine, make_engine, make_frame

__all__ = ["engine", "make_engine", "make_frame"]
