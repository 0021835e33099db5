"""CPython 3.11 and 3.12: ``tracemalloc`` loses native bytes per ``start`` and ``stop``.

Nothing is lost when nothing was traced in between; newer versions lose nothing.

    python tracemalloc_sessions.py
"""

import ctypes
import gc
import sys
import tracemalloc
from itertools import pairwise

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Usage(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Usage


def session(frames: int) -> None:
    """Traces some allocations, all of which are gone in the end."""
    tracemalloc.start(frames)
    kept = [bytes(length) for length in range(100)]
    del kept
    tracemalloc.take_snapshot()
    tracemalloc.stop()


def in_use() -> int:
    gc.collect()
    usage = mallinfo2()
    return int(usage.uordblks + usage.hblkhd)


for _ in range(100):
    session(25)
readings = [in_use()]
for _ in range(3):
    for _ in range(1000):
        session(25)
    readings.append(in_use())
lost = [(after - before) / 1000 for before, after in pairwise(readings)]
version = ".".join(map(str, sys.version_info[:3]))
print(f"CPython {version}: native bytes lost per session, thrice 1,000: {lost}")
