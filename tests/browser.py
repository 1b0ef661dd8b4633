"""A real Chromium without a window, driven over WebDriver (W3C), which chromedriver speaks.

Only what the tests of our pages need, so that no library is.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.integration.server import HOST, free_port
from tests.integration.waiting import DEADLINE_S, wait_until

DRIVER = "chromedriver"
WHY_NOT = "" if shutil.which(DRIVER) and shutil.which("chromium") else "needs chromium and chromedriver"
PHONE = (390, 844)
DESK = (1280, 860)
# WebDriver, section 12.2: the name under which an element's reference is sent.
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-extensions"),
)


class Browser:
    """One window.

    Args:
        port: of the driver.
        size: of the page in CSS pixels, where it is to look like a phone.
    """

    def __init__(self, port: int, size: tuple[int, int]) -> None:
        self._port = port
        options: dict[str, Any] = {"args": [*_OPTIONS, f"--window-size={size[0]},{size[1]}"]}
        options["binary"] = shutil.which("chromium")
        if size == PHONE:
            metrics = {"width": size[0], "height": size[1], "pixelRatio": 2, "touch": True, "mobile": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/{answer['sessionId']}"

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page; what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, *arguments: Any, what: str = "") -> Any:
        """Run it again and again, until what it returns is true."""
        return wait_until(what or script, lambda: self.run(script, *arguments))

    def click(self, selector: str) -> None:
        """Click an element, as soon as there is one that can be clicked."""
        self._when_possible("/click", selector, {})

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self._when_possible("/value", selector, {"text": text})

    def text(self, selector: str) -> str:
        """What an element shows; "" where there is none."""
        shown = self.run("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector)
        assert isinstance(shown, str)
        return shown

    def wait_text(self, selector: str, part: str) -> None:
        """Wait until an element shows something."""
        wait_until(f"{selector} shows {part!r}, not {self.text(selector)!r}", lambda: part in self.text(selector))

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """The window as a PNG, or the whole page."""
        if whole:
            parameters = {"captureBeyondViewport": True, "format": "png"}
            taken = self._call("POST", "/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": parameters})
            data = taken["data"]
        else:
            data = self._call("GET", "/screenshot")
        path.write_bytes(base64.b64decode(data))
        return path

    def complaints(self) -> Sequence[str]:
        """What the page has written to the console as an error since the last look."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def close(self) -> None:
        """Close it."""
        self._call("DELETE", "")

    def _when_possible(self, action: str, selector: str, body: dict[str, Any]) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                found = self._call("POST", "/element", {"using": "css selector", "value": selector})
                self._call("POST", f"/element/{found[_ELEMENT]}{action}", body)
                return
            except AssertionError:  # not there yet, not visible yet, or just replaced
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask(method, self._session + path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        connection = HTTPConnection(HOST, self._port, timeout=DEADLINE_S)
        try:
            connection.request(method, f"/session{path}", None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{value['error']}: {value['message']}")
        return value


@contextmanager
def browsing(size: tuple[int, int] = DESK, count: int = 1) -> Iterator[list[Browser]]:
    """Windows that do not outlive the test, nor do their files."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="push-browser-") as home:
        environment = os.environ | {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home, "TMPDIR": home}
        command = [DRIVER, f"--port={port}", "--log-level=SEVERE"]
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        browsers: list[Browser] = []
        try:
            wait_until("the driver listens", lambda: _listens(port))
            browsers += [Browser(port, size) for _ in range(count)]
            yield browsers
        finally:
            for browser in browsers:
                browser.close()
            driver.terminate()
            driver.wait()


def _listens(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/status")
        return bool(json.loads(connection.getresponse().read())["value"]["ready"])
    except OSError:
        return False
    finally:
        connection.close()
