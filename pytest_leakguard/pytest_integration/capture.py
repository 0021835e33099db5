"""What pytest collects of a test while it runs: log records, warnings, output. A loop would pile it up call by call.

The first call's stays, so that a test and its report see what one call says; what later calls add is taken back
after each, before anything is counted.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


class Captured:
    """Everything that is collecting now; made when the loop begins."""

    def __init__(self, config: pytest.Config) -> None:
        manager = config.pluginmanager
        logs = manager.getplugin("logging-plugin")
        handlers = [getattr(logs, name, None) for name in ("caplog_handler", "report_handler")]
        self._handlers: list[Any] = [one for one in handlers if one is not None]
        self._warnings = _recorded_warnings()
        capturing = manager.getplugin("capturemanager")
        fixture = getattr(capturing, "_capture_fixture", None)
        both = (getattr(capturing, "_global_capturing", None), getattr(fixture, "_capture", None))
        ends = [getattr(one, name, None) for one in both for name in ("out", "err")]
        files = [getattr(one, "tmpfile", None) for one in ends]
        self._files: list[Any] = [
            one.buffer for one in files if one is not None and hasattr(one, "buffer")
        ]
        self._is_first = True
        self._counts: list[int] = []
        self._sizes: list[int] = []

    def trim(self) -> None:
        """After each call: keeps what the first one left, takes back what came since."""
        # A test may have emptied any of it, or have got a new list or stream from pytest.
        if self._is_first:
            self._is_first = False
            self._counts = list(map(len, self._lists()))
            self._sizes = [0 if file.closed else file.tell() for file in self._streams()]
        for collected, count in zip(self._lists(), self._counts, strict=True):
            if len(collected) > count:
                del collected[count:]
        for file, size in zip(self._streams(), self._sizes, strict=True):
            if not file.closed and file.tell() > size:
                file.seek(size)
                file.truncate()

    def _lists(self) -> list[list[Any]]:
        return [self._warnings, *(one.records for one in self._handlers)]

    def _streams(self) -> list[Any]:
        return [*self._files, *(one.stream for one in self._handlers)]


def _recorded_warnings() -> list[Any]:
    """The list that ``warnings.catch_warnings(record=True)`` fills now: pytest's, ``pytest.warns``' or the test's."""
    context = getattr(
        warnings, "_get_context", lambda: None
    )()  # of Python 3.14, where a thread may have its own
    found = getattr(context, "log", None)
    if found is None:
        found = getattr(getattr(warnings, "_showwarnmsg_impl", None), "__self__", None)
    return found if isinstance(found, list) else []
