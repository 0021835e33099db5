"""Which words of another process lead to its blocks: where global variables hold them.

Read from outside, without stopping it; see ``native/block_roots.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_leakguard.tracker import library
from pytest_leakguard.tracker.live import ProcessLive

_MOST_ROOTS = 64
"""Upper limit of the words that are told, those that lead to most."""


@dataclass(frozen=True, slots=True)
class Root:
    """One word."""

    address: int
    size_bytes: int
    """Of the blocks that were asked for and that it is the nearest to lead to."""


class _Range(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64))


class _Root(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint64), ("bytes", ctypes.c_uint64))


def find_roots(
    pid: int, counted: ProcessLive, blocks: Iterable[int], ranges: Sequence[tuple[int, int]]
) -> list[Root]:
    """Return the words in these ranges that lead to the blocks at these addresses, most first.

    Nothing where the process cannot be searched.
    """
    try:
        search = ctypes.CDLL(str(library.LIBRARY)).tracker_block_roots
    except (OSError, AttributeError):
        return []
    array = (ctypes.c_void_p, ctypes.c_size_t)
    search.argtypes = (ctypes.c_int, ctypes.c_uint64, *array, *array, *array)
    addresses = sorted(blocks)
    asked = (ctypes.c_uint64 * len(addresses))(*addresses)
    given = (_Range * len(ranges))(*(_Range(begin, end) for begin, end in ranges))
    found = (_Root * _MOST_ROOTS)()
    of_process = (pid, counted.cells_root, asked, len(asked))
    if search(*of_process, given, len(ranges), found, _MOST_ROOTS):
        return []
    return [Root(one.address, one.bytes) for one in found if one.bytes]
