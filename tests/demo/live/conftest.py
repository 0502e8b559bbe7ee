"""A page that shows made-up frames, and a browser that looks at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from trtparse.demo.live import LivePage, LiveSettings
from trtparse.specs.label_set import label_set
from trtparse.tasks.parsing.task import Parsing
from trtparse.tests.demo.live.chromium import Browser, Tab

PARTS = Parsing(label_set("lip")).parts


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        pytest.skip(f"none of {', '.join(names)} is on PATH, so the page is not opened in a browser")
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def window(browser: Browser) -> Tab:
    return browser.tab()


@pytest.fixture
def tab(browser: Browser, window: Tab) -> Tab:
    """The same window for all tests, as new."""
    window.open("about:blank")
    window.look(1280, 800)
    browser.events.clear()
    return window


@pytest.fixture
def page() -> Iterator[LivePage]:
    with LivePage(
        "127.0.0.1:0", settings=LiveSettings(PARTS), title="street.mp4", details="ONNX Runtime, int8"
    ) as page:
        yield page
