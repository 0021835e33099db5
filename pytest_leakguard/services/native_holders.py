"""Which global variable of compiled code holds what a service keeps, by the name it has in sources.

The data of each loaded file is searched for what leads to the blocks, and the symbol around it is
the holder. What only a stack holds, or a file without symbols, has no name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_leakguard.programs.elf_symbols import Symbols, read_variables
from pytest_leakguard.programs.loaded_code import shift_in
from pytest_leakguard.programs.symbolize import demangled
from pytest_leakguard.tracker.live import ProcessLive
from pytest_leakguard.tracker.roots import find_roots

_MOST_OF_IT = 0.6
"""Least share of the blocks that one variable holds for it to be the holder."""
_NOT_THEIRS = re.compile(
    r"^/dev/|^\[|/(ld-linux|ld-musl|libc[.-]|libpthread|lib(je|tc)malloc|libmimalloc|_preload\.so)"
)
"""What is no file that was loaded, and those whose data leads to blocks of everybody: the loader,
the C library, allocators."""
_MARKS = re.compile(r"::h[0-9a-f]{16}$|\[abi:\w+\]")
"""Of the compiler's, in names: Rust's hash, the version of C++'s library."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A variable that holds most of it."""

    name: str
    file: str
    """The name of the program or library that it is in."""

    @property
    def held_by(self) -> str:
        """Return it as a person reads it."""
        return f"{self.name} (global variable in {self.file})"


@dataclass(frozen=True, slots=True)
class _Data:
    """Writable memory of a loaded file."""

    begin: int
    end: int
    path: str
    bias: int
    """What its addresses are above those in the file."""


def holder_of(pid: int, counted: ProcessLive, blocks: list[int], size_bytes: int) -> Holder | None:
    """Return the variable that leads to most of these blocks, which have that size, if one does."""
    data = [*_data_of(pid)]
    roots = find_roots(pid, counted, blocks, [(one.begin, one.end) for one in data])
    by_variable: dict[tuple[str, str], int] = {}
    for root in roots:
        inside = next(one for one in data if one.begin <= root.address < one.end)
        name = _variables(inside.path).at(root.address - inside.bias)
        key = name, inside.path
        by_variable[key] = by_variable.get(key, 0) + root.size_bytes
    if not by_variable:
        return None
    (name, path), most = max(by_variable.items(), key=lambda item: item[1])
    if not name or most < _MOST_OF_IT * size_bytes:
        return None
    plain = demangled({name}).get(name, name) if name.startswith("_") else name
    return Holder(_MARKS.sub("", plain), os.path.basename(path))  # noqa: PTH119 - a text


def _data_of(pid: int) -> Iterator[_Data]:
    """The data of each loaded file, with what has no content in the file, which follows it."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_bytes().splitlines()
    except OSError:
        return
    biases: dict[str, int] = {}
    before: _Data | None = None
    for line in lines:
        words = line.split(maxsplit=5)
        begin, _, end = words[0].partition(b"-")
        start, stop, offset = int(begin, 16), int(end, 16), int(words[2], 16)
        path = os.fsdecode(words[5]) if len(words) == 6 else ""
        if path and offset == 0:  # where the file begins, with its header
            biases[path] = start - shift_in(path, 0)
        if path in biases and not _NOT_THEIRS.search(path):
            before = _Data(start, stop, path, biases[path])
        elif not path and before is not None and start == before.end:
            before = _Data(start, stop, before.path, before.bias)
        else:
            before = None
        if before is not None and words[1] == b"rw-p":
            yield before


@lru_cache(maxsize=64)
def _variables(path: str) -> Symbols:
    return read_variables(Path(path))
