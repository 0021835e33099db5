"""A real headless Chromium, driven over a pipe by the DevTools protocol: no driver, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
_COMPLAINTS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


def executable() -> str | None:
    """Path of a Chromium; ``None`` when there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of one browser. Every event is kept."""

    def __init__(self, to_browser: IO[bytes], from_browser: IO[bytes]) -> None:
        self._write, self._read = to_browser, from_browser
        self._last, self._session, self._received = 0, "", b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]  # type: ignore[no-any-return]  # JSON

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            part = os.read(self._read.fileno(), 1 << 20)
            assert part, "the browser ended"
            self._received += part
        data, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(data)
        if "method" in message:
            self.events.append(message)
        return message

    def start(self) -> Self:
        """An empty page that tells what happens in it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def show(
        self,
        page: Path,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        media: str = "",
    ) -> None:
        """Opens ``page`` and waits until it has loaded; forgets the events of the page before."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            media=media,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()

    def evaluate(self, script: str, waits: bool = False) -> Any:
        """The value of a JavaScript expression in the page, or of what it promises."""
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=waits
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def picture(self, top: int = 0, height: int = 0) -> bytes:
        """The page as PNG; with ``height`` only so many pixels from ``top``."""
        part = {
            "x": 0,
            "y": top,
            "width": self.evaluate("innerWidth"),
            "height": height,
            "scale": 1,
        }
        clip = {"clip": part} if height else {}
        data = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, **clip
        )["data"]
        return base64.b64decode(data)

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])

    def complaints(self) -> list[str]:
        """What the page wrote to the console, and what the browser has to say against it."""
        return [
            json.dumps(event["params"]) for event in self.events if event["method"] in _COMPLAINTS
        ]

    def requests(self) -> list[str]:
        """The addresses it asked for."""
        sent = (event for event in self.events if event["method"] == "Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in sent]

    def spoken(self) -> list[tuple[str, str]]:
        """Role and name of what a screen reader is told, in its order."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        told = [node for node in nodes if not node.get("ignored")]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in told]


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A browser that ends with the block, its profile with it."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    profile = tempfile.mkdtemp(prefix="leakguard-chromium-")
    # The pipe is on descriptors 3 and 4; a shell puts them there after everything else is closed.
    moved = f'exec "$0" "$@" 3<&{command_read} 4>&{answer_write}'
    switches = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
    ]
    process = subprocess.Popen(
        ["/bin/bash", "-c", moved, path, *switches],
        pass_fds=(command_read, answer_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(command_read)
    os.close(answer_write)
    try:
        with (
            os.fdopen(command_write, "wb") as to_browser,
            os.fdopen(answer_read, "rb") as from_browser,
        ):
            yield Browser(to_browser, from_browser).start()
            to_browser.write(json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        process.wait(20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(
                process.pid, signal.SIGKILL
            )  # its helpers too, which would write into the profile
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)
