"""h11 0.16.0: its test ``test_make_sentinel`` leaves its two classes behind, whatever is collected.

``h11._util.Sentinel`` makes each sentinel its own class: ``v.__class__ = v``. CPython's collector
finds the sentinel unreachable and empties it, but the reference that it holds to itself as its own
type is none that a collection takes away: what is left of the class is never freed. h11 makes its
sentinels once, at import, where it does no harm; its test makes two more in each run.

    pip install h11==0.16.0 && python h11_sentinel.py
"""

import gc
import sys
from collections.abc import Callable

from h11._util import Sentinel


def make_sentinel() -> None:
    """As the test does."""

    class S(Sentinel, metaclass=Sentinel):
        pass


def make_class() -> None:
    class S(type):
        pass


def own_classes() -> int:
    """How many classes there are that are their own class."""
    gc.collect()
    return sum(type(thing) is thing for thing in gc.get_objects())


def show(work: Callable[[], None]) -> None:
    for _ in range(100):
        work()
    classes, blocks = own_classes(), sys.getallocatedblocks()
    for _ in range(1000):
        work()
    kept = own_classes() - classes
    per_call = (sys.getallocatedblocks() - blocks) / 1000
    print(f"{work.__name__}, 1,000 times: {kept} classes stay, {per_call:.1f} blocks per call")


show(make_class)
show(make_sentinel)
