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
from pathlib import Path

_PT_INTERP = 3
"""Type of the segment that names the dynamic loader; ELF specification, figure 2-1."""
_HEAD_BYTES = 4096
"""Bytes of a file that hold an ELF header or a script's first line."""
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")


@dataclass(frozen=True, slots=True)
class Binary:
    """What can be told of a program without running it."""

    path: Path | None
    """``None`` when there is no such program."""
    is_elf: bool = False
    is_static: bool = False
    sanitizer: str = ""
    """``address`` or ``leak`` when that runtime is linked in."""
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
    names_python = first_line.startswith(b"#!") and b"python" in first_line
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
    return Binary(path, True, not _has_interpreter(path, head), _sanitizer(path), is_python)


def _has_interpreter(path: Path, head: bytes) -> bool:
    """Whether the program asks for a dynamic loader."""
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
        kinds = [struct.unpack_from(order + "I", table, index * size)[0] for index in range(count)]
    except (struct.error, IndexError, OSError, OverflowError):
        return True  # a damaged header: let the system refuse it
    return _PT_INTERP in kinds


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
