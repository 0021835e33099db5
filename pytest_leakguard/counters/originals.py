"""Functions of ``os`` as they were when this was imported, before any test replaced them.

Somebody's fake file system or a closed ``open`` would otherwise be what we measure with. They are
in a class, since pyfakefs and freezegun replace what they find at the top of modules.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Original:
    """The real ones."""

    chdir = staticmethod(os.chdir)
    getcwd = staticmethod(os.getcwd)
    getpid = staticmethod(os.getpid)
    leave = staticmethod(os._exit)
    lstat = staticmethod(os.lstat)
    listdir = staticmethod(os.listdir)
    open: Callable[..., Any] = staticmethod(open)
    readlink = staticmethod(os.readlink)
    stat = staticmethod(os.stat)
    statvfs = staticmethod(os.statvfs)
    waitid = staticmethod(os.waitid)

    @classmethod
    def exists(cls, path: str) -> bool:
        """As ``os.path.exists``, which asks whatever ``os.stat`` is now."""
        try:
            cls.stat(path)
        except (OSError, ValueError):
            return False
        return True

    @classmethod
    def lexists(cls, path: str) -> bool:
        """The same of a name, wherever a link may lead."""
        try:
            cls.lstat(path)
        except (OSError, ValueError):
            return False
        return True


_PLACES: tuple[tuple[Any, str, Any], ...] = (
    (builtins, "open", Original.open),
    (os, "getcwd", Original.getcwd),
    (os, "listdir", Original.listdir),
    (os, "lstat", Original.lstat),
    (os, "stat", Original.stat),
)


@contextmanager
def in_place() -> Iterator[None]:
    """While this lasts, these are in their places again: for imports and reports of ours."""
    replaced = []
    for owner, name, original in _PLACES:
        found = getattr(owner, name, None)
        if found is not original:
            replaced.append((owner, name, found))
            setattr(owner, name, original)
    try:
        yield
    finally:
        for owner, name, found in replaced:
            setattr(owner, name, found)
