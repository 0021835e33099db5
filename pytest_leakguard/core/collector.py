"""The functions of ``gc`` as they were when this was imported, before any test replaced them."""

from __future__ import annotations

import gc


class Collector:
    """The real ones."""

    collect = staticmethod(gc.collect)
    freeze = staticmethod(gc.freeze)
    get_count = staticmethod(gc.get_count)
    get_objects = staticmethod(gc.get_objects)
    get_threshold = staticmethod(gc.get_threshold)
    isenabled = staticmethod(gc.isenabled)
    unfreeze = staticmethod(gc.unfreeze)
