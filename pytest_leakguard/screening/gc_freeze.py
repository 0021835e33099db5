"""Keeps a test's collections short: what was there before is frozen until somebody asks for it.

``gc.freeze`` makes a collection a matter of microseconds, but a test that collects on purpose, or
looks through all objects, must find what it would have found. Collections that the interpreter
starts by itself promise nothing.
"""

from __future__ import annotations

import contextlib
import gc
import time
from typing import Any

from pytest_leakguard.counters.tempfiles import listen

FULL_SHARE = 0.01
"""Of the time that goes by: so much is spent on collecting all there is, as the interpreter would
now and then."""
_LOOKING = ("gc.get_objects", "gc.get_referrers")
_OLDEST = 2
_frozen: list[SetAside] = []
"""More than one when a test runs a session of its own."""
_listening: list[SetAside] = []
"""While others run; what our own code asks for is not meant."""


class SetAside:
    """Freezes what exists at ``begin`` until ``end``, or until the code in between asks for it."""

    def __init__(self) -> None:
        self._collected_at, self._collecting_s = time.process_time(), 0.0

    def begin(self) -> None:
        """Freezes; call ``listen`` once our own collections are done."""
        now = time.process_time()
        if now - self._collected_at > self._collecting_s / FULL_SHARE:
            gc.collect()
            self._collected_at = time.process_time()
            self._collecting_s = self._collected_at - now
        gc.freeze()
        _frozen.append(self)

    @property
    def is_frozen(self) -> bool:
        """Nobody has asked so far."""
        return self in _frozen

    def listen(self) -> None:
        """From here on others run, who may ask for all objects."""
        listen(_LOOKING, _on_look)
        _listening.append(self)
        gc.callbacks.append(_on_collection)

    def hush(self) -> None:
        """Only our own code runs again."""
        _listening.remove(self)
        with contextlib.suppress(ValueError):  # somebody has emptied the list
            gc.callbacks.remove(_on_collection)

    def end(self) -> None:
        """Everything is the collector's again."""
        _thaw()


def _thaw() -> None:
    gc.unfreeze()
    _frozen.clear()


def _on_look(*_: Any) -> None:
    if _frozen and _listening:
        _thaw()


def _on_collection(phase: str, info: dict[str, int]) -> None:
    if phase == "start" and info["generation"] == _OLDEST and _frozen and _is_asked_for():
        _thaw()


def _is_asked_for() -> bool:
    """Whether the collection that starts was called for.

    The interpreter's own start where a threshold is passed.
    """
    threshold = gc.get_threshold()[0]
    return not gc.isenabled() or threshold == 0 or gc.get_count()[0] <= threshold
