"""Builds ``native.c`` once, and tells every process that is started later where it is."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

VARIABLE = "LEAKGUARD_OWN_SET_LIBRARY"
SOURCE = Path(__file__).with_name("native.c")


def native_library(directory: Path | None = None) -> str:
    """Path of the shared library; the compiler is called where the environment names none."""
    known = os.environ.get(VARIABLE)
    if known:
        return known
    directory = directory or Path(tempfile.mkdtemp(prefix="leakguard-own-set-"))
    target = directory / "libownset.so"
    flags = ["-g", "-O0", "-shared", "-fPIC", "-pthread", "-w"]
    subprocess.run(["cc", *flags, "-o", str(target), str(SOURCE)], check=True)
    os.environ[VARIABLE] = str(target)
    return str(target)
