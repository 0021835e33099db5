"""Paths of sources as compilers record them, seen from the project.

Meson compiles in its build directory: ``../src/orders.c``, or ``build/../src/orders.c`` where a
tool puts the directory before it. Neither is a path that git knows, so no annotation would show.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from pytest_leakguard.core.leaks import Finding, Frame

_UP = "../"


def straightened(finding: Finding, root: Path) -> Finding:
    """``finding`` with the paths that its sources have in the project at ``root``."""
    if not any(frame.file and _UP in frame.file for frame in finding.stack):
        return finding
    stack = tuple(_straight(frame, root) for frame in finding.stack)
    sites = []
    for site in finding.sites:
        file, colon, line = site.rpartition(":")
        sites.append(f"{_path(file, root)}{colon}{line}" if _UP in file else site)
    return replace(finding, stack=stack, sites=tuple(dict.fromkeys(sites)))


def _straight(frame: Frame, root: Path) -> Frame:
    if not frame.file or _UP not in frame.file:
        return frame
    return replace(frame, file=_path(frame.file, root))


@lru_cache(maxsize=4096)
def _path(file: str, root: Path) -> str:
    path = posixpath.normpath(file)
    inside = path
    while inside.startswith(_UP):
        inside = inside[len(_UP) :]
    # Only what is there: of a build in another place nobody knows which file is meant.
    is_of_build = inside != path and not (root / path).exists() and (root / inside).is_file()
    return inside if is_of_build else path
