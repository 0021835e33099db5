"""Which files this process left in the temporary directory; others use it too, so listing it would not tell."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any


class Leftovers:
    """Names that were created below the temporary directory, told by the interpreter's own audit events."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._root = ""
        self._ignored: tuple[str, ...] = ()
        self.is_watching = False

    def watch(self, ignored: tuple[str, ...] = ()) -> None:
        """Starts noting; ``ignored`` are directories whose owner tidies up by himself, such as ``tmp_path``'s."""
        self._root = os.path.realpath(tempfile.gettempdir()) + os.sep
        self._ignored = ignored
        self._names.clear()
        self.is_watching = True

    def stop(self) -> None:
        """Notes nothing more and forgets."""
        self.is_watching = False
        self._names.clear()

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Takes one audit event; must never raise, since that would make the audited call fail."""
        if event == "open":
            path, _, flags = args
            if not isinstance(flags, int) or not flags & os.O_CREAT:
                return
        else:
            path = args[0]
        if (
            isinstance(path, str)
            and path.startswith(self._root)
            and not path.startswith(self._ignored or ("\0",))
        ):
            self._names.add(path)

    def count(self) -> int:
        """How many of them still exist; the others are forgotten."""
        if not self._names:
            return 0
        self._names.difference_update([name for name in self._names if not os.path.lexists(name)])
        return len(self._names)

    def names(self) -> frozenset[str]:
        """Those that existed at the last count."""
        return frozenset(self._names)


LEFTOVERS = Leftovers()
"""The one of this process."""
_EVENTS = ("open", "tempfile.mkstemp", "tempfile.mkdtemp", "os.mkdir")


def _noted(event: str, args: tuple[Any, ...]) -> None:
    if LEFTOVERS.is_watching:
        LEFTOVERS.note(event, args)


def leftovers() -> Leftovers:
    """The watcher of this process, installed on first use."""
    listen(_EVENTS, _noted)
    return LEFTOVERS


def pytest_directories(config: Any) -> tuple[str, ...]:
    """What pytest's own temporary directories begin with; it tidies up there by itself."""
    factory = getattr(config, "_tmp_path_factory", None)
    return (str(factory.getbasetemp()) + os.sep,) if factory else ()


_listeners: dict[str, Callable[[str, tuple[Any, ...]], None]] = {}


def listen(events: Iterable[str], listener: Callable[[str, tuple[Any, ...]], None]) -> None:
    """From now on ``listener`` is called with each of these events; it must not raise, or the audited call fails."""
    if not _listeners:
        sys.addaudithook(_hook)
    _listeners.update(dict.fromkeys(events, listener))


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _listeners:
        _listeners[event](event, args)
