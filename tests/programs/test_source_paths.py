"""Sources of programs that are compiled from a build directory have the paths that git knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_leakguard.core.leaks import Finding, Frame, LeakKind
from pytest_leakguard.programs.source_paths import straightened


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ("../src/orders.c", "src/orders.c"),
        ("build/../src/orders.c", "src/orders.c"),
        ("../../src/orders.c", "src/orders.c"),
        ("../elsewhere.c", "../elsewhere.c"),
        ("src/orders.c", "src/orders.c"),
        ("/usr/src/glibc/../malloc.c", "/usr/src/malloc.c"),
    ],
)
def test_a_path_from_the_build_directory_is_told_as_from_the_project(
    tmp_path: Path, recorded: str, told: str
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "orders.c").write_text("")
    one = Finding("f" * 16, LeakKind.DEFINITELY_LOST, 48, 1, (Frame("push", recorded, 5),))
    assert [frame.file for frame in straightened(one, tmp_path).stack] == [told]
