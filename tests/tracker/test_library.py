"""The native library is built with the package; where it is missing the message says what to do."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.tracker import library
from tests.tracker.conftest import NATIVE, ROOT


def test_a_missing_library_says_exactly_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(library.LibraryMissing) as caught:
        library.load(tmp_path / "_tracker.so")
    message = str(caught.value)
    assert "_tracker.so is missing" in message
    assert "install a C compiler" in message
    assert "pip install" in message


def test_a_damaged_library_says_what_to_do(tmp_path: Path) -> None:
    damaged = tmp_path / "_tracker.so"
    damaged.write_bytes(b"no library")
    with pytest.raises(library.LibraryMissing, match=r"cannot be loaded.*pip install"):
        library.load(damaged)


def test_a_library_from_other_sources_is_refused(
    tracker_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "API_VERSION", 0)
    with pytest.raises(library.LibraryMissing, match="built from other sources"):
        library.load(tracker_library)


def test_a_tracker_that_is_not_installed_sees_nothing(tracker_library: Path) -> None:
    script = (
        "from pytest_leakguard.tracker.tracker import Tracker\n"
        "tracker = Tracker()\n"
        "print(tracker.used, tracker.is_child)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["0", "False"]


@pytest.fixture
def build_hook() -> Any:
    """``hatch_build.py``, which only the build backend imports otherwise."""
    pytest.importorskip("hatchling")
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_without_a_compiler_the_build_says_so(
    build_hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = build_hook.compile_library(NATIVE.glob("*.c"), tmp_path / "out.so")
    assert reason == "there is no C compiler (CC is not set; no cc, gcc or clang)"
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    assert "cannot be started" in build_hook.compile_library(
        NATIVE.glob("*.c"), tmp_path / "out.so"
    )


def test_a_compiler_that_fails_is_quoted(
    build_hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: Callable[..., Path]
) -> None:
    monkeypatch.setenv("CFLAGS", "-no-such-flag")
    assert "no-such-flag" in build_hook.compile_library(NATIVE.glob("*.c"), tmp_path / "out.so")


MACOS = [
    # platform of the Python, ARCHFLAGS, MACOSX_DEPLOYMENT_TARGET: tag, built for
    ("macosx-10.13-universal2", "", "", "macosx_10_13_universal2", "10.13"),
    ("macosx-10.13-universal2", "-arch arm64", "", "macosx_11_0_arm64", "11.0"),
    ("macosx-10.13-universal2", "-arch x86_64", "", "macosx_10_13_x86_64", "10.13"),
    ("macosx-14.4-arm64", "", "", "macosx_14_0_arm64", "14.0"),
    ("macosx-11.0-arm64", "", "12.3", "macosx_12_0_arm64", "12.0"),
    ("macosx-10.9-x86_64", "", "", "macosx_10_9_x86_64", "10.9"),
]


@pytest.mark.parametrize(("platform", "flags", "wanted", "tag", "target"), MACOS)
def test_a_wheel_for_macos_promises_what_its_library_was_compiled_for(
    build_hook: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    platform: str,
    flags: str,
    wanted: str,
    tag: str,
    target: str,
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\necho "$MACOSX_DEPLOYMENT_TARGET $*" > {tmp_path}/called\n')
    compiler.chmod(0o755)
    for name, value in (("ARCHFLAGS", flags), ("MACOSX_DEPLOYMENT_TARGET", wanted)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr(build_hook.sys, "platform", "darwin")
    monkeypatch.setattr(build_hook.sysconfig, "get_platform", lambda: platform)
    assert build_hook._platform_tag() == tag
    assert build_hook.compile_library(NATIVE.glob("*.c"), tmp_path / "out.so") is None
    called = (tmp_path / "called").read_text()
    assert called.startswith(f"{target} ")
    for architecture in ("x86_64", "arm64"):
        is_in_tag = architecture in tag or "universal2" in tag
        assert (f"-arch {architecture}" in called) == is_in_tag
