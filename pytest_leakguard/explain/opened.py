"""Which lines open files and sockets and start programs, while a service is driven on.

For descriptors and children that leave no object of Python's, as those of ``os.open``. Python tells
each such call to its audit hooks; a hook cannot be taken away, so that it is asleep afterwards.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_leakguard.counters._cpython import calling_frame
from pytest_leakguard.explain.allocations import FRAMES, Places
from pytest_leakguard.explain.code_owner import Owner, is_ours, owner

_KINDS = {
    "open": "file",
    "socket.__new__": "socket",
    "subprocess.Popen": "child",
    "os.posix_spawn": "child",
    "os.fork": "child",
}
_NUMBERS = re.compile(r"\d+")
_MOST_LINES = 500
"""Lines that are told apart; a service that opens from more of them is none that can be told."""


@dataclass(slots=True)
class Opened:
    """What one line has opened or started."""

    kind: str
    """``file``, ``socket`` or ``child``."""
    path: str
    """Of a file; empty for the others."""
    stack: Places
    count: int = 0


class OpeningCalls:
    """Counts them while it is awake; one hook serves all explanations of a process."""

    def __init__(self) -> None:
        self._is_awake = False
        self._found: dict[tuple[str, str, Places], Opened] = {}
        sys.addaudithook(self._hear)

    def wake(self) -> None:
        """Count from now on."""
        self._found, self._is_awake = {}, True

    def sleep(self) -> list[Opened]:
        """Return what there was, the most frequent first; nothing is counted from now on."""
        self._is_awake = False
        return sorted(self._found.values(), key=lambda one: (-one.count, one.stack))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_awake or event not in _KINDS:
            return
        try:
            self._note(_KINDS[event], arguments)
        except Exception:  # the service must not suffer from being looked at
            self._is_awake = False

    def _note(self, kind: str, arguments: tuple[Any, ...]) -> None:
        given = arguments[0] if kind == "file" and arguments else ""
        path = os.fsdecode(given) if type(given) is str or type(given) is bytes else ""
        stack = _stack(calling_frame().f_back)
        path = _NUMBERS.sub("*", path)  # paths that differ in numbers are those of one line
        key = kind, path, stack
        if stack and (key in self._found or len(self._found) < _MOST_LINES):
            self._found.setdefault(key, Opened(kind, path, stack)).count += 1


def _stack(frame: FrameType | None) -> Places:
    """Innermost call first; empty for calls of ours."""
    found: list[tuple[str, int]] = []
    while frame is not None and len(found) < FRAMES:
        file = frame.f_code.co_filename
        if is_ours(file) and not found:
            return ()
        if owner(file) is not Owner.HARNESS:
            found.append((file, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


_calls: list[OpeningCalls] = []


def opening_calls() -> OpeningCalls:
    """The one of this process."""
    if not _calls:
        _calls.append(OpeningCalls())
    return _calls[0]
