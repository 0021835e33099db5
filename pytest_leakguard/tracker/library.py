"""Finds and loads the native library that tracks blocks; says what to do where it is missing."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError

API_VERSION = 7
"""Of ``native/api.h``; a library of another version was built from other sources."""
LIBRARY = Path(__file__).with_name("_tracker.so")
"""Where the package's build puts it, on every platform that has it."""
JAVA_LIBRARY = Path(__file__).with_name("_java.so")
"""For the JVM of a service, on Linux."""

_COMPILERS = {
    "linux": "a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev; "
    "Alpine: apk add gcc musl-dev; Fedora: dnf install gcc)",
    "darwin": "a C compiler (xcode-select --install)",
}
_REBUILD = "pip install --force-reinstall --no-deps --no-cache-dir"
_PACKAGE = "--no-binary pytest-leakguard pytest-leakguard"


class LibraryMissing(LeakguardError):
    """The native library cannot be used here; the message says why and what to do."""


def load(path: Path = LIBRARY) -> ctypes.PyDLL:
    """The library, whose functions keep the GIL while they run.

    Raises ``LibraryMissing`` where it was not built, cannot be loaded, or is of another version.
    """
    if not path.is_file():
        raise LibraryMissing(
            "pytest-leakguard was installed without its native library, so nothing can be tracked "
            f"({path} is missing). {_advice()}"
        )
    try:
        library = ctypes.PyDLL(str(path))
        version = library.tracker_api_version()
    except (OSError, AttributeError) as error:
        raise LibraryMissing(f"the native library cannot be loaded: {error}. {_advice()}") from None
    if version != API_VERSION:
        raise LibraryMissing(
            f"{path} has version {version}, not {API_VERSION}: it was built from other sources. "
            f"{_advice()}"
        )
    return library


def _advice() -> str:
    compiler = _COMPILERS.get(sys.platform)
    if compiler is None:
        return f"Tracking is not available on {sys.platform}; it needs Linux or macOS."
    if (Path(__file__).parent / "native").is_dir():  # only a source tree has the C sources
        command = f"pip install -e {Path(__file__).parent.parent.parent}"
    else:
        command = f"{_REBUILD} {_PACKAGE}"
    return f"To build it: install {compiler}, then run: {command}"
