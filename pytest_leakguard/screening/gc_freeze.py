"""Keeps a test's collections short: what was there before is frozen until somebody asks for it.

``gc.freeze`` makes a collection a matter of microseconds, but a test that collects on purpose, or
looks through all objects, must find what it would have found. Collections that the interpreter
starts by itself promise nothing.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.core.collector import Collector
from pytest_leakguard.counters.audit import listen

FULL_SHARE = 0.01
"""Of the time that goes by: so much is spent on collecting all there is, as the interpreter would
now and then."""
_LOOKING = ("gc.get_objects", "gc.get_referrers")
_OLDEST = 2
"""Number of the collector's oldest generation; see gc.collect."""
_frozen: list[object] = []
"""More than one when a test runs a session of its own."""
_ours: list[bool] = []
"""While our own code collects."""
_listening: list[SetAside] = []
"""While others run; what our own code asks for is not meant."""


class SetAside:
    """Freezes what exists at ``begin`` until ``end``, or until the code in between asks for it."""

    def __init__(self) -> None:
        self._collected_at, self._collecting_s = Clock.cpu_s(), 0.0

    def begin(self) -> None:
        """Freezes; call ``listen`` once our own collections are done."""
        now = Clock.cpu_s()
        if now - self._collected_at > self._collecting_s / FULL_SHARE:
            Collector.collect()
            self._collected_at = Clock.cpu_s()
            self._collecting_s = self._collected_at - now
        Collector.freeze()
        _frozen.append(self)

    @property
    def is_frozen(self) -> bool:
        """Nobody has asked so far."""
        return self in _frozen

    def freeze_again(self) -> None:
        """Makes what follows quick again after somebody has asked for all objects."""
        if not self.is_frozen:
            Collector.freeze()
            _frozen.append(self)

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

    @contextlib.contextmanager
    def for_a_run(self) -> Iterator[None]:
        """Freezes what there is while a run is made that explains: who looks then, sees it all."""
        if Collector.is_frozen:
            yield
            return
        self.freeze_again()
        try:
            yield
        finally:
            self.end()


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """What exists is frozen while this lasts; nobody else runs who could ask for it."""
    Collector.collect()
    Collector.freeze()
    mark = object()
    _frozen.append(mark)
    try:
        yield
    finally:
        Collector.unfreeze()
        _frozen.remove(mark)


@contextlib.contextmanager
def thawed() -> Iterator[None]:
    """The collector tells of everything while this lasts, and afterwards of no more than before."""
    Collector.unfreeze()
    try:
        yield
    finally:
        if _frozen:
            Collector.freeze()


def collect() -> None:
    """A collection of ours, which asks for nothing that is frozen."""
    _ours.append(True)
    try:
        Collector.collect()
    finally:
        _ours.pop()


def _thaw() -> None:
    Collector.unfreeze()
    _frozen.clear()


def _on_look(*_: Any) -> None:
    if _frozen and _listening:
        _thaw()


def _on_collection(phase: str, info: dict[str, int]) -> None:
    if _ours or phase != "start" or info["generation"] != _OLDEST:
        return
    if _frozen and _is_asked_for():
        _thaw()


def _is_asked_for() -> bool:
    """Whether the collection that starts was called for.

    The interpreter's own start where a threshold is passed.
    """
    threshold = Collector.get_threshold()[0]
    is_off = not Collector.isenabled() or threshold == 0
    return is_off or Collector.get_count()[0] <= threshold
