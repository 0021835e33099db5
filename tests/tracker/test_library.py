"""The native library is built with the package; where it is missing the message says what to do."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.tracker import library
from pytest_leakguard.tracker.tracker import Tracker
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
    tracker = Tracker()
    assert tracker.used == 0
    assert not tracker.is_child


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
    reason = build_hook.compile_library(NATIVE, tmp_path / "out.so")
    assert reason == "there is no C compiler (CC is not set; no cc, gcc or clang)"
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    assert "cannot be started" in build_hook.compile_library(NATIVE, tmp_path / "out.so")


def test_a_compiler_that_fails_is_quoted(
    build_hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: Callable[..., Path]
) -> None:
    monkeypatch.setenv("CFLAGS", "-no-such-flag")
    assert "no-such-flag" in build_hook.compile_library(NATIVE, tmp_path / "out.so")


def test_a_wheel_is_of_its_platform_with_a_compiler_and_of_any_without(
    build_hook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tracker_library: Path
) -> None:
    from hatchling.builders.wheel import WheelBuilder

    def wheel(name: str) -> Path:
        (built,) = WheelBuilder(str(ROOT)).build(
            directory=str(tmp_path / name), versions=["standard"]
        )
        return Path(built)

    native = wheel("native")
    assert "-py3-none-linux_" in native.name or "-py3-none-macosx_" in native.name
    assert _has_library(native)
    monkeypatch.setenv("CC", "no-such-compiler")
    pure = wheel("pure")
    assert pure.name.endswith("-py3-none-any.whl")
    assert not _has_library(pure)
    monkeypatch.setenv("LEAKGUARD_REQUIRE_NATIVE", "1")
    with pytest.raises(RuntimeError, match="LEAKGUARD_REQUIRE_NATIVE=1 is set"):
        wheel("required")


def _has_library(wheel: Path) -> bool:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if "tracker/native" in name]
    return "pytest_leakguard/tracker/_tracker.so" in names
