"""Where the code of a running process is: the file, and the address that its debug information has.

As the kernel shows it in ``/proc/PID/maps``; see proc(5).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_leakguard.core.leaks import Frame

_ELF_64 = b"\x7fELF\x02\x01"
"""How a 64-bit little-endian ELF file begins."""
_HEADER_BYTES = 64
"""Of the header of a 64-bit file; ELF specification, Elf64_Ehdr."""
_SEGMENT = struct.Struct("<IIQQQQQQ")
"""Type, flags, offset, address, physical address, size in the file, in memory, alignment."""
_LOADED = 1
"""Segment type PT_LOAD; ELF specification, figure 2-2."""


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    end: int
    offset: int
    """In the file, where the range begins."""
    path: str


@dataclass(frozen=True, slots=True)
class LoadedCode:
    """The files whose code a process has mapped."""

    ranges: tuple[_Range, ...]

    @classmethod
    def of(cls, pid: int) -> LoadedCode:
        """Read them; none of a process that is gone."""
        ranges = []
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
                words = line.split(maxsplit=5)
                if len(words) == 6 and words[5].startswith(b"/") and b"x" in words[1]:
                    start, _, end = words[0].partition(b"-")
                    path = os.fsdecode(words[5])
                    ranges.append(_Range(int(start, 16), int(end, 16), int(words[2], 16), path))
        return cls(tuple(ranges))

    def caller(self, return_address: int) -> Frame:
        """Return the call that returns there."""
        # The next instruction may be another line's, or another function's.
        address = return_address - 1
        at = bisect_right(self.ranges, address, key=lambda one: one.start) - 1
        if at < 0 or address >= self.ranges[at].end:
            return Frame(address=return_address)
        inside = self.ranges[at]
        offset = address - inside.start + inside.offset
        return Frame(
            module=inside.path,
            address=return_address,
            offset=offset + shift_in(inside.path, offset),
        )


@lru_cache(maxsize=4096)
def _segments(path: str, written_ns: int) -> tuple[tuple[int, int, int], ...]:
    """Of each loaded segment where it begins and ends in the file, and how far its address is."""
    found = []
    with suppress(OSError, struct.error), Path(path).open("rb") as stream:
        header = stream.read(_HEADER_BYTES)
        if header.startswith(_ELF_64):
            (table,) = struct.unpack_from("<Q", header, 32)
            size, count = struct.unpack_from("<HH", header, 54)
            stream.seek(table)
            content = stream.read(size * count)
            for at in range(0, size * count, size):
                kind, _, offset, address, _, length, _, _ = _SEGMENT.unpack_from(content, at)
                if kind == _LOADED:
                    found.append((offset, offset + length, address - offset))
    return tuple(found)


def shift_in(path: str, offset: int) -> int:
    """Return how far the address of what is at that offset is from it."""
    with suppress(OSError):  # a file that was replaced since has other segments
        for start, end, shift in _segments(path, Path(path).stat().st_mtime_ns):
            if start <= offset < end:
                return shift
    return 0
