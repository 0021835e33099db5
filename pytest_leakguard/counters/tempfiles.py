"""Which files in the temporary directory are this process's own; a listing has those of others."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

NO_DIRECTORY = ("\0",)
"""A prefix that no path has, since none can contain the byte."""


class TemporaryFiles:
    """Names created below the temporary directory, as audit events of the interpreter say."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._root = ""
        self._ignored: tuple[str, ...] = ()
        self.is_watching = False

    def watch(self, ignored: tuple[str, ...] = ()) -> None:
        """Starts noting names.

        None below ``ignored``, whose owner removes them, as ``tmp_path``'s.
        """
        self._root = os.path.realpath(tempfile.gettempdir()) + os.sep
        self._ignored = ignored or NO_DIRECTORY
        self._names.clear()
        self.is_watching = True

    def stop(self) -> None:
        """Notes nothing more and forgets what it noted."""
        self.is_watching = False
        self._names.clear()

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Takes one audit event; must never raise, since that would make the audited call fail."""
        path = args[0]
        if event == "open":
            flags = args[2]
            if not isinstance(flags, int) or not flags & os.O_CREAT:
                return
        if not isinstance(path, str) or not path.startswith(self._root):
            return
        if not path.startswith(self._ignored):
            self._names.add(path)

    def count(self) -> int:
        """How many of them still exist; the others are forgotten."""
        if not self._names:
            return 0
        gone = [name for name in self._names if not os.path.lexists(name)]
        self._names.difference_update(gone)
        return len(self._names)

    def names(self) -> frozenset[str]:
        """Those that existed at the last count."""
        return frozenset(self._names)


_FILES = TemporaryFiles()
"""The ones of this process."""
_EVENTS = ("open", "tempfile.mkstemp", "tempfile.mkdtemp", "os.mkdir")


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if _FILES.is_watching:
        _FILES.note(event, args)


def temporary_files() -> TemporaryFiles:
    """The watcher of this process, installed on first use."""
    listen(_EVENTS, _on_event)
    return _FILES


_listeners: dict[str, Callable[[str, tuple[Any, ...]], None]] = {}


def listen(events: Iterable[str], listener: Callable[[str, tuple[Any, ...]], None]) -> None:
    """From now on ``listener`` is called with each of these events.

    It must not raise, or the audited call fails.
    """
    if not _listeners:
        sys.addaudithook(_hook)
    _listeners.update(dict.fromkeys(events, listener))


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _listeners:
        _listeners[event](event, args)
