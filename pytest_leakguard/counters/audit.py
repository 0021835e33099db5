"""Audit events of the interpreter: who is told of which.

A hook in Python is called for every event, also for each ``id()``, which ``copy.deepcopy`` calls
for every object: tests would take longer. The native library calls Python only for the events that
somebody listens to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

Listener = Callable[[str, tuple[Any, ...]], None]
Hear = Callable[[Listener], Callable[[str], object] | None]
"""Has a function called for every event that is asked for by what this returns; ``None`` where that
cannot be."""

_listeners: dict[str, Listener] = {}
_ways: list[Callable[[str], object]] = []
"""How to ask for one more event; empty as long as nobody listens."""


def listen(events: Iterable[str], listener: Listener) -> None:
    """From now on ``listener`` is called with each of these events.

    It must not raise, or the audited call fails.
    """
    if not _ways:
        sys.addaudithook(_hook)
        _ways.append(str)
    for event in events:
        if event not in _listeners:  # asking twice would leave something behind with every test
            _ways[0](event)
        _listeners[event] = listener


def hear_through(hear: Hear) -> None:
    """Has events told by this from now on, unless somebody listens already."""
    if not _ways:
        ask_for = hear(_hook)
        if ask_for is not None:
            _ways.append(ask_for)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _listeners:
        _listeners[event](event, args)
