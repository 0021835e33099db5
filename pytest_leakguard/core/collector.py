"""The functions of ``gc`` as they were when this was imported, before any test replaced them."""

from __future__ import annotations

import gc
from typing import Any

_collect = gc.collect
_callbacks: list[Any] = gc.callbacks
_aside: list[Any] = []


class Collector:
    """The real ones."""

    freeze = staticmethod(gc.freeze)
    get_count = staticmethod(gc.get_count)
    get_objects = staticmethod(gc.get_objects)
    get_threshold = staticmethod(gc.get_threshold)
    isenabled = staticmethod(gc.isenabled)
    unfreeze = staticmethod(gc.unfreeze)

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
