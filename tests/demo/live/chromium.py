"""Chromium without a window, driven from Python with nothing besides it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any


class Tab:
    """A page in the browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._browser.call(method, arguments, self._session)

    def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """The window's size and the system's colours."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 20.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # the page may not be there yet
                if value := self.run(script):
                    return value
            time.sleep(0.05)
        shown = self.run("document.body?.innerText")
        raise AssertionError(f"not within {seconds:g} s: {script}; the page shows {shown}")

    def pixel(self, x: float, y: float) -> list[int]:
        """Red, green and blue of the canvas; x and y from 0 to 1."""
        return list(
            self.run(
                f"(() => {{ const c = document.getElementById('picture'); return [...c.getContext('2d')"
                f".getImageData({x} * c.width, {y} * c.height, 1, 1).data].slice(0, 3); }})()"
            )
        )

    def click(self, selector: str) -> None:
        """As a finger or a mouse does it: at the middle of what is seen, whatever lies there."""
        x, y = self.run(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)});"
            "node.scrollIntoView({block: 'end'});"
            "const box = node.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        told = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    @property
    def complaints(self) -> list[str]:
        """Errors of scripts, of the content security policy, of requests."""
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            told = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded" and told["entry"]["level"] == "error":
                found.append(told["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and told["type"] == "error":
                found.append(str(told["args"]))
        return found


class Browser:
    """Chromium without a window, spoken to over two pipes in the DevTools protocol."""

    def __init__(self, program: str, folder: Path) -> None:
        self.downloads = folder / "downloads"
        from_here, self._out = os.pipe()
        self._in, to_here = os.pipe()
        command = [
            program,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"),
            # "localhost" and its own names; nothing outside.
            "--host-resolver-rules=MAP rebound.test 127.0.0.1, MAP *.local ~NOTFOUND",
            "about:blank",
        ]
        shell = f'exec "$@" 3<&{from_here} 4>&{to_here}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(from_here, to_here),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_here)
        os.close(to_here)
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []
        self.call("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(self.downloads)})

    def call(self, method: str, arguments: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        self._number += 1
        letter: dict[str, Any] = {"id": self._number, "method": method, "params": arguments or {}}
        if session is not None:
            letter["sessionId"] = session
        os.write(self._out, json.dumps(letter).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                result: dict[str, Any] = told["result"]
                return result
            if "method" in told:
                self.events.append(told)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            readable, _, _ = select.select([self._in], [], [], 60)
            assert readable, "the browser does not answer"
            data = os.read(self._in, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        letter, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(letter)
        return told

    def tab(self) -> Tab:
        # In a window of its own, as a tab behind another one counts as hidden.
        target = self.call("Target.createTarget", {"url": "about:blank", "newWindow": True})["targetId"]
        return Tab(self, self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])

    def close(self) -> None:
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
