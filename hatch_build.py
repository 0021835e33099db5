"""Compiles the tracker's native libraries into wheels and editable installations.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "pytest_leakguard/tracker"
LIBRARY = "_tracker.so"
"""Loaded into this process."""
ACTION = "pytest_leakguard/templates/action"
"""Where `pytest-leakguard init github --copy-action` finds the action in a wheel."""
PRELOADED = "_preload.so"
"""Preloaded into the processes of a service; Linux only, since elsewhere nothing is preloaded."""
SAMPLER = "_java.so"
"""Loaded into the JVM of a service that leaks; built without a JDK."""
_SHARED_SOURCES = ("pages.c", "ranges.c")
"""Of the first library, and part of the second one as well."""
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
"""After the user's CFLAGS: without -O2 the hook of dlsym would hide its caller."""
_OWN_UNWINDER = ("-static-libgcc", "-Wl,--exclude-libs,ALL")
"""Of the preloaded library: it takes stacks inside allocators, where nothing can be loaded, and
programs that throw exceptions must not find its unwinder in place of theirs."""
_SHORTAGE = (
    "pytest-leakguard is built WITHOUT a native library: {reason}. `--leakguard` will screen "
    "nothing, or services without exact live memory. Install a C compiler "
    "(gcc or clang, and the headers of the C library) and install again."
)


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling before it collects the files of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is "editable" or "standard"."""
        root = Path(self.root)
        if version == "editable":
            self._compile_all(root, root / FOLDER)
            return
        build_data["force_include"][str(root / "ci" / "github-action")] = ACTION
        for output in self._compile_all(root, Path(tempfile.mkdtemp(prefix="leakguard-build-"))):
            build_data["force_include"][str(output)] = f"{FOLDER}/{output.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        for path, target in build_data["force_include"].items():
            if target.startswith(FOLDER):
                shutil.rmtree(Path(path).parent, ignore_errors=True)

    def _compile_all(self, root: Path, folder: Path) -> list[Path]:
        """The libraries that were built; a message for those that cannot be."""
        native = root / FOLDER / "native"
        built: list[Path] = []
        for name, sources in _sources_of_all(native).items():
            flags = _OWN_UNWINDER if name == PRELOADED else ()
            reason = compile_library(sources, folder / name, flags)
            if reason is None:
                built.append(folder / name)
                continue
            if os.environ.get("LEAKGUARD_REQUIRE_NATIVE") == "1":
                raise RuntimeError(f"LEAKGUARD_REQUIRE_NATIVE=1 is set, but {reason}")
            self.app.display_warning(_SHORTAGE.format(reason=reason))
        return built


def _sources_of_all(native: Path) -> dict[str, list[Path]]:
    sources = {LIBRARY: sorted(native.glob("*.c"))}
    if sys.platform == "linux":
        shared = [native / name for name in _SHARED_SOURCES]
        sources[PRELOADED] = [*sorted((native / "preload").glob("*.c")), *shared]
        sources[SAMPLER] = sorted((native / "java").glob("*.c"))
    return sources


def compile_library(sources: Iterable[Path], output: Path, flags: Iterable[str] = ()) -> str | None:
    """Why it cannot be compiled; None when it was."""
    if sys.platform == "win32":
        return "it needs Linux or macOS"
    compiler = _compiler()
    if compiler is None:
        return "there is no C compiler (CC is not set; no cc, gcc or clang)"
    command = [*compiler, *_words("CFLAGS"), *FLAGS, *flags, *_architectures()]
    command += ["-o", str(output), *map(str, sources), *_words("LDFLAGS")]
    command += ["-ldl", "-lpthread"]  # parts of the C library since glibc 2.34
    environment = {**os.environ, **_deployment_target()}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
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


def _platform_tag() -> str:
    """As pip installs on this machine; auditwheel renames it for other Linux systems."""
    platform = sysconfig.get_platform()
    if sys.platform == "darwin":
        platform = f"macosx-{_oldest_macos()}-{_macos_architecture()}"
    return platform.replace("-", "_").replace(".", "_")


def _architectures() -> list[str]:
    """macOS: as cibuildwheel asks, or those that this Python has."""
    if sys.platform != "darwin":
        return []
    if _words("ARCHFLAGS"):
        return _words("ARCHFLAGS")
    architecture = sysconfig.get_platform().rpartition("-")[2]
    names = ("x86_64", "arm64") if architecture == "universal2" else (architecture,)
    return [word for name in names for word in ("-arch", name)]


def _macos_architecture() -> str:
    """Of what is compiled, which may be less than what this Python is made for."""
    names = [word for word in _architectures() if word != "-arch"]
    return "universal2" if len(set(names)) > 1 else names[0]


def _oldest_macos() -> str:
    """That the library runs on: "10.13", or "11.0", which stands for every macOS 11."""
    wanted = os.environ.get("MACOSX_DEPLOYMENT_TARGET") or sysconfig.get_platform().split("-")[1]
    major, _, minor = wanted.partition(".")
    if int(major) < 11 and _macos_architecture() == "arm64":
        return "11.0"  # the first one with such processors
    if int(major) >= 11:
        return f"{major}.0"  # pip knows no other minor version of these
    return f"{major}.{minor.partition('.')[0] or 0}"


def _deployment_target() -> dict[str, str]:
    """So that the compiler builds for what the tag promises, not for this machine's own macOS."""
    return {"MACOSX_DEPLOYMENT_TARGET": _oldest_macos()} if sys.platform == "darwin" else {}
