"""One audit hook for all who need one: it can be added, never removed, and every audited event pays for each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

_listeners: dict[str, Callable[[str, tuple[Any, ...]], None]] = {}


def listen(events: Iterable[str], listener: Callable[[str, tuple[Any, ...]], None]) -> None:
    """From now on ``listener`` is called with each of these events; it must not raise, or the audited call fails."""
    if not _listeners:
        sys.addaudithook(_hook)
    _listeners.update(dict.fromkeys(events, listener))


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _listeners:
        _listeners[event](event, args)
