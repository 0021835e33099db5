"""Looks at a program's file and says what it is: sanitizer inside, static, Python.

It reads the file and never runs it.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_leakguard.programs.elf_symbols import definitions

_PT_INTERP = 3
"""Type of the segment that names the dynamic loader; ELF specification, figure 2-1."""
_HEAD_BYTES = 4096
"""Bytes of a file that hold an ELF header or a script's first line."""
_ALLOCATORS = frozenset(
    "malloc je_malloc _rjem_malloc mi_malloc tc_malloc rpmalloc sn_malloc scalable_malloc".split()
)
"""The allocating function of each allocator that programs carry, jemalloc in Rust among them."""
_INTERCEPTORS = frozenset(
    {"__interceptor_malloc", "___interceptor_malloc", "__interceptor_trampoline_malloc"}
)
"""A sanitizer's runtime that is linked in defines malloc by one of these names."""
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_LONG_PATH = re.compile(rb"#!/bin/sh\n'{3}exec' [^\n]*(python|pypy)")
"""How pip begins a script whose interpreter has a long path or a space in it."""


@dataclass(frozen=True, slots=True)
class Binary:
    """What can be told of a program without running it."""

    path: Path | None
    """``None`` when there is no such program."""
    is_elf: bool = False
    is_static: bool = False
    sanitizer: str = ""
    """``address`` or ``leak`` when that runtime is linked in."""
    loader: str = ""
    """The dynamic loader that it asks for."""
    is_python: bool = False
    """A Python interpreter, a ``.py`` file or a script that names Python in its first line."""


def inspect(program: str, cwd: Path | None = None) -> Binary:
    """What ``program`` is, looked up as the system would.

    Of a script only this is known: whether Python runs it.
    """
    path = find(program, cwd)
    if path is None:
        return Binary(None)
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return Binary(None)
    if head.startswith(b"\x7fELF"):
        return _inspect_elf(path, head)
    first_line = head.split(b"\n", 1)[0]
    is_script = first_line.startswith(b"#!")
    # pyenv and asdf put scripts before the interpreters.
    is_named_so = b"python" in first_line or bool(_PYTHON.match(path.name))
    names_python = is_script and (is_named_so or _LONG_PATH.match(head) is not None)
    return Binary(path, is_python=path.suffix == ".py" or names_python)


def find(program: str, cwd: Path | None = None) -> Path | None:
    """The file that would be executed; a name with a slash is relative to ``cwd``."""
    if os.sep in program:
        path = (cwd or Path()) / program
        return path if path.is_file() else None
    found = shutil.which(program)
    return Path(found) if found else None


def _inspect_elf(path: Path, head: bytes) -> Binary:
    is_python = bool(_PYTHON.match(path.name)) or bool(_PYTHON.match(path.resolve().name))
    loader = _loader(path, head)
    return Binary(path, True, loader == "", _sanitizer(path), loader or "", is_python)


@dataclass(frozen=True, slots=True)
class Allocator:
    """An allocator inside a program's file."""

    function: str
    is_hidden: bool
    """No tool can find it by the name ``malloc``."""


def own_allocator(path: Path) -> Allocator | None:
    """The allocator that ``path`` brings along; ``None`` where it takes the C library's.

    That of a sanitizer's runtime is none of the program's.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return _own_allocator(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _own_allocator(path: Path, _changed_ns: int, _size_bytes: int) -> Allocator | None:
    """Kept, since one program is asked about several times and its table may be long."""
    found = definitions(path, _ALLOCATORS | _INTERCEPTORS)
    intercepted = {each.address for each in found if each.name in _INTERCEPTORS}
    own = [each for each in found if each.name in _ALLOCATORS and each.address not in intercepted]
    if not own:
        return None
    public = [each for each in own if each.name == "malloc" and not each.is_local]
    chosen = public[0] if public else own[0]
    return Allocator(chosen.name, not public)


def _loader(path: Path, head: bytes) -> str | None:
    """The dynamic loader that the program asks for; empty for none, ``None`` where unreadable."""
    try:
        is_64, order = head[4] == 2, "<" if head[5] == 1 else ">"
        if is_64:
            (offset,) = struct.unpack_from(order + "Q", head, 32)
            size, count = struct.unpack_from(order + "HH", head, 54)
        else:
            (offset,) = struct.unpack_from(order + "I", head, 28)
            size, count = struct.unpack_from(order + "HH", head, 42)
        with path.open("rb") as stream:
            stream.seek(offset)
            table = stream.read(size * count)
            for index in range(count):
                row = table[index * size : (index + 1) * size]
                if struct.unpack_from(order + "I", row)[0] != _PT_INTERP:
                    continue
                start, length = _extent(row, order, is_64)
                stream.seek(start)
                name = stream.read(min(length, _HEAD_BYTES)).rstrip(b"\0")
                return name.decode("utf-8", "backslashreplace") or None
    except (struct.error, IndexError, OSError, OverflowError):
        return None  # a damaged header: let the system refuse it
    return ""


def _extent(row: bytes, order: str, is_64: bool) -> tuple[int, int]:
    """Where in the file a segment lies, and how long it is."""
    if is_64:
        (start,) = struct.unpack_from(order + "Q", row, 8)
        (length,) = struct.unpack_from(order + "Q", row, 32)
    else:
        (start,) = struct.unpack_from(order + "I", row, 4)
        (length,) = struct.unpack_from(order + "I", row, 16)
    return start, length


def _sanitizer(path: Path) -> str:
    """Which runtime is inside; empty for none.

    Its init function is among the symbol names whether it is linked in or comes as a library.
    """
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            if content.find(b"__asan_init") >= 0:
                return "address"
            names = (b"__lsan_init", b"liblsan.so", b"libclang_rt.lsan")
            return "leak" if any(content.find(name) >= 0 for name in names) else ""
    except (OSError, ValueError):
        return ""
