"""Reads the symbol table of an ELF file: the full names of functions, also of internal ones.

gcc writes no linkage name for a function with internal linkage into its debug information, so that
a sanitizer, which reads nothing else, calls ``shop::(anonymous namespace)::load(int)`` just
``load``. valgrind takes names from the symbol table; both have to give the same name to one call.
"""

from __future__ import annotations

import bisect
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SYMBOL_TABLE, _DYNAMIC_SYMBOLS = 2, 11
"""Section types SHT_SYMTAB and SHT_DYNSYM; ELF specification, figure 1-10."""
_VARIABLE, _FUNCTION = 1, 2
"""Symbol types STT_OBJECT and STT_FUNC; figure 1-18."""
_LOCAL = 0
"""Symbol binding STB_LOCAL; figure 1-17."""
_ROW = struct.Struct("<IBBHQQ")
"""One symbol of a 64-bit file: name, type and binding, visibility, section, value, size."""
MOST_SYMBOLS = 2_000_000
"""Symbols that are read of one file, some 200 MB of them; a browser has half as many."""


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    offset: int
    size_bytes: int
    link: int


@dataclass(frozen=True, slots=True)
class Symbols:
    """Functions or variables of one file, by address."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    names: tuple[str, ...]

    def at(self, address: int) -> str:
        """The mangled name of what is around ``address``; empty where there is nothing."""
        index = bisect.bisect_right(self.starts, address) - 1
        return self.names[index] if index >= 0 and address < self.ends[index] else ""


def read_symbols(path: Path) -> Symbols:
    """The functions in ``path``; none for a file that is no 64-bit little-endian ELF."""
    return _read(path, _FUNCTION)


def read_variables(path: Path) -> Symbols:
    """The same of its global and static variables."""
    return _read(path, _VARIABLE)


def _read(path: Path, kind: int) -> Symbols:
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = sorted(_of_kind(content, kind))
    except (OSError, ValueError, struct.error, IndexError):
        found = []
    return Symbols(
        tuple(start for start, _, _ in found),
        tuple(end for _, end, _ in found),
        tuple(name for _, _, name in found),
    )


@dataclass(frozen=True, slots=True)
class Definition:
    """One function that a file itself defines."""

    name: str
    address: int
    is_local: bool
    """Other files, and tools, cannot find it by its name."""


def definitions(path: Path, names: frozenset[str]) -> tuple[Definition, ...]:
    """Those functions called ``names`` that ``path`` defines; none for what is no such ELF."""
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return tuple(_definitions(content, names))
    except (OSError, ValueError, struct.error, IndexError):
        return ()


def _definitions(content: mmap.mmap, names: frozenset[str]) -> Iterator[Definition]:
    for strings, rows in _tables(content, (_SYMBOL_TABLE, _DYNAMIC_SYMBOLS)):
        offsets = {}
        for name in names:
            for at in _places(content, strings, name.encode() + b"\0"):
                offsets[at] = name
        for name_at, info, _, section, value, _ in rows:
            if name_at in offsets and info & 0xF == _FUNCTION and section:
                yield Definition(offsets[name_at], value, info >> 4 == _LOCAL)


def _places(content: mmap.mmap, strings: _Section, text: bytes) -> Iterator[int]:
    """Where ``text`` stands in a string table, also as the end of a longer name."""
    end = strings.offset + strings.size_bytes
    at = content.find(text, strings.offset, end)
    while at >= 0:
        yield at - strings.offset
        at = content.find(text, at + 1, end)


def _of_kind(content: mmap.mmap, kind: int) -> Iterator[tuple[int, int, str]]:
    for kinds in ((_SYMBOL_TABLE,), (_DYNAMIC_SYMBOLS,)):
        has_table = False
        for strings, rows in _tables(content, kinds):
            has_table = True
            for name_at, info, _, section, value, size_bytes in rows:
                if info & 0xF == kind and section and size_bytes:
                    start = strings.offset + name_at
                    name = content[start : content.find(b"\0", start)]
                    yield value, value + size_bytes, name.decode("utf-8", "replace")
        if has_table:
            return  # the dynamic symbols are among the others


def _tables(
    content: mmap.mmap, kinds: tuple[int, ...]
) -> Iterator[tuple[_Section, Iterator[tuple[int, int, int, int, int, int]]]]:
    """The symbol tables of these kinds, each with its strings and its rows."""
    if content[:6] != b"\x7fELF\x02\x01":
        return
    sections = _sections(content)
    for table in sections:
        if table.kind in kinds:
            size_bytes = min(table.size_bytes, MOST_SYMBOLS * _ROW.size) // _ROW.size * _ROW.size
            rows = content[table.offset : table.offset + size_bytes]
            yield sections[table.link], _ROW.iter_unpack(rows)


def _sections(content: mmap.mmap) -> list[_Section]:
    (offset,) = struct.unpack_from("<Q", content, 40)
    entry_bytes, count = struct.unpack_from("<HH", content, 58)
    sections = []
    for index in range(count):
        at = offset + index * entry_bytes
        _, kind, _, _, start, size_bytes, link = struct.unpack_from("<IIQQQQI", content, at)
        sections.append(_Section(kind, start, size_bytes, link))
    return sections
