"""What pytest collects of a test while it runs: log records, warnings, output.

A loop would pile it up call by call.

The first call's stays, so that a test and its report see what one call says; what later calls add
is taken back after each, before anything is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_leakguard.counters import _cpython
from pytest_leakguard.pytest_integration import _pytest_internals

if TYPE_CHECKING:
    import pytest


class Captured:
    """Everything that is collecting now; made when the loop begins."""

    def __init__(self, config: pytest.Config) -> None:
        self._handlers = _pytest_internals.log_handlers(config)
        self._files = _pytest_internals.captured_files(config)
        recorded = _cpython.recorded_warnings()
        self._warnings = [] if recorded is None else recorded  # an empty list is one that is filled
        self._is_first = True
        self._counts: list[int] = []
        self._sizes: list[int] = []

    def trim(self) -> None:
        """After each call: keeps what the first one left, takes back what came since."""
        # A test may have emptied any of it, or have got a new list or stream from pytest.
        if self._is_first:
            self._is_first = False
            self._counts = list(map(len, self._lists()))
            self._sizes = [_size(stream) for stream in self._streams()]
        for collected, count in zip(self._lists(), self._counts, strict=True):
            if len(collected) > count:
                del collected[count:]
        for stream, size in zip(self._streams(), self._sizes, strict=True):
            if _size(stream) > size:
                stream.seek(size)
                stream.truncate()

    def _lists(self) -> list[list[Any]]:
        return [self._warnings, *(handler.records for handler in self._handlers)]

    def _streams(self) -> list[Any]:
        return [*self._files, *(handler.stream for handler in self._handlers)]


def _size(stream: Any) -> int:
    """What has been written to it; nothing once its owner has closed it."""
    return 0 if stream.closed else stream.tell()
