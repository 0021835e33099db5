"""What this process has of the system's memory: heap, address space, private pages, stack."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from itertools import repeat
from operator import mul

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_BIN_BYTES = range(513, 1026, 16)
"""glibc counts what waits in a thread's bins as used, up to seven chunks of each size to 1,032
bytes. Filling the bins makes it count the same every time; those below 512 bytes see little use,
since Python has an allocator of its own."""
_BIN_LENGTHS = tuple(size - sys.getsizeof("") for size in _BIN_BYTES for _ in range(7))
"""Of strings that take so many bytes, the quickest objects to make and to drop."""


def memory() -> tuple[int, int]:
    """Bytes of address space of this process, and those in private pages that are resident.

    Both are 0 where the platform does not say.

    What a library keeps in a pool of its own shows in neither the heap nor, once the pool is
    mapped, in the address space; the pages that it comes to use do.
    """
    try:
        descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, 0
    try:
        size, resident, shared = os.read(descriptor, 64).split(None, 3)[:3]
        return int(size) * PAGE_BYTES, (int(resident) - int(shared)) * PAGE_BYTES
    finally:
        os.close(descriptor)


def stack_bytes() -> int:
    """Address space of the main thread's stack, nearly all of it touched.

    It is 0 where the platform does not say.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            _, _, rest = file.read().partition(b"VmStk:")
        return int(rest.split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


_MALLINFO2_FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)
"""As in ``malloc.h``; ``arena`` and ``hblkhd`` are mapped, ``uordblks`` is in use in arenas."""


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2_FIELDS]


def heap_reader() -> Callable[[], tuple[int, int]]:
    """A reader of the bytes in use, and of the address space the allocator itself has mapped."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return _psutil_heap()
    mallinfo2.restype, mallinfo2.argtypes = _Mallinfo2, ()

    def read() -> tuple[int, int]:
        list(map(mul, repeat("-"), _BIN_LENGTHS))
        info = (
            mallinfo2()
        )  # looks at every free chunk: milliseconds where the heap is in many pieces
        mapped = info.hblkhd
        return (
            info.uordblks + mapped,
            info.arena + mapped,
        )  # blocks move from one to the other when they are resized

    return read


def _psutil_heap() -> Callable[[], tuple[int, int]]:
    """For allocators other than glibc's; always 0 where psutil cannot ask it either."""
    try:
        import psutil

        psutil.heap_info()
    except (ImportError, AttributeError, OSError):
        return lambda: (0, 0)

    def read() -> tuple[int, int]:
        info = psutil.heap_info()
        return int(info.heap_used + info.mmap_used), 0

    return read
