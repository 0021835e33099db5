"""Compiles the tracker's native library into wheels and editable installations.

Without a C compiler the package is built without it, and says so when it is used. Where
LEAKGUARD_REQUIRE_NATIVE=1 is set, as for published wheels, the build fails instead.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "pytest_leakguard/tracker/_tracker.so"
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
"""After the user's CFLAGS: without -O2 the hook of dlsym would hide its caller."""
_SHORTAGE = (
    "pytest-leakguard is built WITHOUT its native library: {reason}. `--leakguard` will screen "
    "nothing. Install a C compiler (gcc or clang, and the headers of the C library) "
    "and install again."
)


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling before it collects the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is "editable" or "standard"."""
        root = Path(self.root)
        if version == "editable":
            self._compile(root, root / LIBRARY)
            return
        output = Path(tempfile.mkdtemp(prefix="leakguard-build-")) / "_tracker.so"
        if self._compile(root, output):
            build_data["force_include"][str(output)] = LIBRARY
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        for path, target in build_data["force_include"].items():
            if target == LIBRARY:
                shutil.rmtree(Path(path).parent, ignore_errors=True)

    def _compile(self, root: Path, output: Path) -> bool:
        """False, after a message, where it cannot be compiled."""
        reason = compile_library(root / "pytest_leakguard" / "tracker" / "native", output)
        if reason is None:
            return True
        if os.environ.get("LEAKGUARD_REQUIRE_NATIVE") == "1":
            raise RuntimeError(f"LEAKGUARD_REQUIRE_NATIVE=1 is set, but {reason}")
        self.app.display_warning(_SHORTAGE.format(reason=reason))
        return False


def compile_library(sources: Path, output: Path) -> str | None:
    """Why it cannot be compiled; None when it was."""
    if sys.platform == "win32":
        return "it needs Linux or macOS"
    compiler = _compiler()
    if compiler is None:
        return "there is no C compiler (CC is not set; no cc, gcc or clang)"
    command = [*compiler, *_words("CFLAGS"), *FLAGS, *_architectures()]
    command += ["-o", str(output), *map(str, sorted(sources.glob("*.c"))), *_words("LDFLAGS")]
    command += ["-ldl", "-lpthread"]  # parts of the C library since glibc 2.34
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"the C compiler {compiler[0]} cannot be started: {error}"
    if done.returncode:
        return f"`{shlex.join(command)}` failed:\n{done.stderr}"
    return None


def _compiler() -> list[str] | None:
    """What CC says, or the first usual compiler."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    return None


def _words(variable: str) -> list[str]:
    return shlex.split(os.environ.get(variable, ""))


def _architectures() -> list[str]:
    """macOS: as cibuildwheel asks, or both for a Python that has both."""
    if sys.platform != "darwin":
        return []
    if _words("ARCHFLAGS"):
        return _words("ARCHFLAGS")
    is_universal = sysconfig.get_platform().endswith("universal2")
    return ["-arch", "x86_64", "-arch", "arm64"] if is_universal else []


def _platform_tag() -> str:
    """As pip installs on this machine; auditwheel and delocate rename it for others."""
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
