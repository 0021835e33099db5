"""Programs that leak on purpose, built on this machine. Knows no tool.

Each leaks nothing when it is given ``CLEAN`` as an argument.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.processes import supervisor

CANARY_BYTES = 4321
"""Bytes that each program loses; no tool or runtime loses just as many by itself."""
CLEAN = "clean"
"""The argument with which they free, or never allocate, what they lose without it."""
BUILD_TIMEOUT_S = 60.0
"""Seconds one compilation may take; a loaded machine needs about two."""
_VERSION_TIMEOUT_S = 20.0
"""Seconds a program may take to tell its version; valgrind takes under one."""
_NEWEST_VERSION, _OLDEST_VERSION = 22, 11
"""Version suffixes under which distributions install gcc, clang and LLVM's programs."""
_C = f"""\
#include <stdlib.h>
static void *volatile planted;
static void __attribute__((noinline)) plant_canary(void) {{ planted = malloc({CANARY_BYTES}); }}
static void __attribute__((noinline)) scrub(void) {{
    volatile char room[4096];
    for (int i = 0; i < 4096; i++) room[i] = 0;
}}
int main(int count, char **arguments) {{
    plant_canary();
    if (count > 1) free(planted);
    planted = 0;
    scrub();
    return 0;
}}
"""
_PYTHON = """\
import sys
KEPT = []
def plant_canary():
    KEPT.append(bytearray(1000))
for _ in range(200):
    plant_canary()
    if len(sys.argv) > 1:
        KEPT.clear()
"""
_CTYPES = f"""\
import ctypes, sys
def plant_canary():
    allocate = ctypes.CDLL(None).malloc
    allocate.restype = ctypes.c_void_p
    allocate({CANARY_BYTES})
if len(sys.argv) == 1:
    plant_canary()
"""


class Canaries:
    """Leaking programs, written below ``workdir`` when they are asked for."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir

    def compiled(self, compiler: str, name: str, *flags: str) -> Path | None:
        """A C program that loses one block; ``None`` when it cannot be built."""
        source, output = self._written("canary.c", _C), self._workdir / name
        # -O0: optimisers delete allocations that nobody reads
        argv = [compiler, "-g", "-O0", *flags, "-o", str(output), str(source)]
        try:
            code, _, _ = supervisor.capture(argv, BUILD_TIMEOUT_S)
        except LeakguardError:
            return None
        return output if code == 0 and output.is_file() else None

    def python(self) -> Path:
        """A Python script that keeps objects all through its run."""
        return self._written("canary.py", _PYTHON)

    def ctypes(self) -> Path:
        """A Python script that loses one block of C, for machines without a compiler."""
        return self._written("canary_ctypes.py", _CTYPES)

    def _written(self, name: str, text: str) -> Path:
        path = self._workdir / name
        path.write_text(text, encoding="utf-8")
        return path


def find_versioned(name: str) -> str | None:
    """The program ``name`` on ``PATH``; else the newest under the names that hold a version."""
    if found := shutil.which(name):
        return found
    for version in range(_NEWEST_VERSION, _OLDEST_VERSION - 1, -1):
        if found := shutil.which(f"{name}-{version}"):
            return found
    return None


def version_of(*argv: str) -> str:
    """The first line that the command prints; ``unknown`` when it does not run."""
    try:
        _, out, _ = supervisor.capture(argv, _VERSION_TIMEOUT_S)
    except LeakguardError:
        return "unknown"
    return out.decode("utf-8", "backslashreplace").strip().partition("\n")[0]
