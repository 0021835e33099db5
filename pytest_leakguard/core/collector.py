"""The functions of ``gc`` as they were when this was imported, before any test replaced them."""

from __future__ import annotations

import gc
from typing import Any

_collect, _freeze, _unfreeze = gc.collect, gc.freeze, gc.unfreeze
_callbacks: list[Any] = gc.callbacks
_aside: list[Any] = []


class Collector:
    """The real ones."""

    is_frozen = False
    """We have frozen what there was."""
    get_count = staticmethod(gc.get_count)
    get_objects = staticmethod(gc.get_objects)
    get_threshold = staticmethod(gc.get_threshold)
    isenabled = staticmethod(gc.isenabled)

    @classmethod
    def freeze(cls) -> None:
        """Collections leave out what is there now."""
        cls.is_frozen = True
        _freeze()

    @classmethod
    def unfreeze(cls) -> None:
        """Everything is the collector's again."""
        cls.is_frozen = False
        _unfreeze()

    @classmethod
    def empty_free_lists(cls) -> None:
        """Collects nothing, in less than a microsecond (measured, of 300,000 objects)."""
        if cls.is_frozen:
            cls.collect()
            return
        _freeze()
        cls.collect()
        _unfreeze()

    @staticmethod
    def collect() -> int:
        """Collects everything, and empties the interpreter's free lists.

        Nobody who listens to collections is told of ours: what they are given, a dict, would be in
        the free list afterwards, and the first one that a test makes would not be allocated. No
        list is made here for the same reason.
        """
        if not _callbacks:
            return _collect()
        _aside.extend(_callbacks)
        _callbacks.clear()
        try:
            return _collect()
        finally:
            _callbacks.extend(_aside)
            _aside.clear()
