"""Whose code a file is: the user's own, a library's, the interpreter's, or the harness's.

Looks at paths only.
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from types import FrameType

from pytest_leakguard.core.leaks import Frame

_STDLIB = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
)
_SCRIPTS = (
    (os.path.realpath(sysconfig.get_path("scripts")) + os.sep,)
    if sys.prefix != sys.base_prefix
    else ()
)
"""Of a virtual environment: what pip has written there only calls a package."""
_PACKAGES = ("site-packages", "dist-packages")
HARNESS = frozenset(
    {
        "pytest",
        "_pytest",
        "pluggy",
        "pytest_leakguard",
        "xdist",
        "execnet",
        "anyio",
        "pytest_asyncio",
    }
)
_HARNESS_MODULES = ("unittest", "runpy.py")
_HERE = str(Path(__file__).resolve().parent.parent) + os.sep


class Owner(IntEnum):
    """Whose turn it is, the reader's own code first."""

    USER = 0
    LIBRARY = 1
    INTERPRETER = 2
    HARNESS = 3


@lru_cache(maxsize=4096)
def owner(file: str) -> Owner:
    """Whose the file is.

    A source that is not here is its package's, or else as good as the interpreter's.
    """
    if (
        not Path(file).is_file()
    ):  # compiled elsewhere: Objects/call.c, msgpack/_unpacker.pyx, <string>, an empty name
        return Owner.LIBRARY if package_of(file) else Owner.INTERPRETER
    path = _real(file)
    if path.startswith(_HERE):
        return Owner.HARNESS
    package = _installed_part(path)
    if package:
        return Owner.HARNESS if package in HARNESS else Owner.LIBRARY
    for root in (*_STDLIB, *_SCRIPTS):
        if path.startswith(root):
            return (
                Owner.HARNESS
                if path[len(root) :].startswith(_HARNESS_MODULES)
                else Owner.INTERPRETER
            )
    return Owner.USER


def _real(file: str) -> str:
    """As ``os.path.realpath``, which looks at every directory again for every file in it."""
    path = Path(file)
    if not path.is_absolute() or path.is_symlink():
        return os.path.realpath(file)
    return _real_directory(str(path.parent)) + os.sep + path.name


@lru_cache(maxsize=1024)
def _real_directory(directory: str) -> str:
    return os.path.realpath(directory).rstrip(os.sep)


def package_of(file: str) -> str:
    """The name an installed package is imported by, of a file in it; empty for all other files.

    Compilers record sources as the package's builder saw them: ``simplejson/_speedups.c``.
    """
    if part := _installed_part(file):
        return part.partition(".")[0]
    parts = Path(file).parts
    loaded = sys.modules.get(parts[0]) if len(parts) > 1 else None
    return (
        parts[0]
        if loaded is not None and _installed_part(getattr(loaded, "__file__", None) or "")
        else ""
    )


def _installed_part(path: str) -> str:
    """What follows the last ``site-packages`` of a path."""
    if not any(name in path for name in _PACKAGES):
        return ""
    parts = Path(path).parts
    for name in _PACKAGES:
        if name in parts[:-1]:
            return parts[len(parts) - parts[::-1].index(name)]
    return ""


@lru_cache(maxsize=4096)
def is_ours(file: str) -> bool:
    """Code of this package: what lies below it on a stack started the measurement, not the leak."""
    return os.path.realpath(file).startswith(_HERE)


@dataclass(frozen=True, slots=True)
class Site:
    """One place a run comes by again and again, with what it leaves there."""

    stack: tuple[Frame, ...]
    """Innermost call first, the harness left out."""
    blocks: float = 0.0
    size_bytes: float = 0.0
    native: tuple[Frame, ...] = ()
    """Calls of compiled code inside the innermost one of ``stack``, where memray saw
    them."""

    @property
    def calls(self) -> tuple[Frame, ...]:
        """All of them, innermost first."""
        return (*self.native, *self.stack)

    @property
    def own(self) -> Frame | None:
        """The innermost line of the user's own code."""
        return next((frame for frame in self.calls if owner(frame.file or "") is Owner.USER), None)

    @property
    def library(self) -> Frame | None:
        """The innermost line in an installed package, below the user's."""
        for frame in self.stack:
            if owner(frame.file or "") is Owner.USER:
                return None
            if owner(frame.file or "") is Owner.LIBRARY:
                return frame
        return None

    @property
    def inner(self) -> tuple[Frame, ...]:
        """Calls below the user's line, innermost first: the packages', or else the last one."""
        own = self.own
        below = self.calls[: self.calls.index(own)] if own else ()
        of_packages = tuple(
            frame for frame in below if frame in self.native or self._is_of_package(frame)
        )
        return of_packages or below[:1]

    @staticmethod
    def _is_of_package(frame: Frame) -> bool:
        return owner(frame.file or "") is Owner.LIBRARY

    @property
    def reading_order(self) -> tuple[Frame, ...]:
        """From the innermost line of the user's own code outwards.

        The true stack when there is none.
        """
        own = self.own
        return self.calls[self.calls.index(own) :] if own else self.calls

    @property
    def names(self) -> tuple[str, ...]:
        """What distinguishes root causes: the package's function, or else the user's.

        No test and no line is part of it, and nothing that only memray shows, which is not
        installed everywhere.
        """
        frame = self.library or replace(self, native=()).own or next(iter(self.stack), None)
        return (f"{Path(frame.file or '').name}:{frame.function}",) if frame else ("?",)


def frames_of(frame: FrameType | None) -> tuple[Frame, ...]:
    """The running stack, innermost call first, the harness left out."""
    found = []
    while frame is not None and not is_ours(frame.f_code.co_filename):
        code = frame.f_code
        if owner(code.co_filename) is not Owner.HARNESS:
            found.append(
                Frame(code.co_qualname.rpartition(">.")[2], code.co_filename, frame.f_lineno)
            )
        frame = frame.f_back
    return tuple(found)


def source_line(frame: Frame) -> str:
    """The text of the line; empty when the file cannot be read."""
    return linecache.getline(frame.file or "", frame.line or 0).strip()
