"""Possibly lost blocks: they fail in C, and not where a runtime points into the middle of blocks."""

from __future__ import annotations

import pytest

from pytest_leakguard.core import settings
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Report
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import finish

MALLOC = Frame("malloc", module="/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so")
C = (MALLOC, Frame("push", "server.c", 42), Frame("main", "server.c", 50))
PYTHON = (
    MALLOC,
    Frame("_PyObject_GC_NewVar", module="/usr/bin/python3.11"),
    Frame("_PyEval_EvalFrameDefault", module="/usr/bin/python3.11"),
)
NUMPY = (MALLOC, Frame("npy_alloc", "alloc.c", 7), Frame("PyArray_NewFromDescr_int", "ctors.c", 8))
RUST = (
    MALLOC,
    Frame("arc::main", "arc.rs", 5),
    Frame("std::rt::lang_start::{{closure}}", "/rustc/0123/library/std/src/rt.rs", 206),
    Frame("main"),
)
EXPLICIT = settings.kinds("definitely_lost,possibly_lost")


def gates(stack: tuple[Frame, ...], kind: LeakKind, chosen: Settings) -> bool:
    report = Report("valgrind", (Leak(kind, 48, 1, stack),))
    (finding,) = finish(Check("program", "program", "valgrind"), report, chosen).findings
    return finding.is_gating


@pytest.mark.parametrize("stack", [PYTHON, NUMPY, RUST], ids=["python", "numpy", "rust"])
def test_what_a_runtime_points_into_does_not_fail_unless_it_is_asked_for(
    stack: tuple[Frame, ...],
) -> None:
    assert not gates(stack, LeakKind.POSSIBLY_LOST, Settings())
    assert gates(stack, LeakKind.POSSIBLY_LOST, Settings(kinds=EXPLICIT))
    assert gates(stack, LeakKind.DEFINITELY_LOST, Settings())


def test_a_possibly_lost_block_of_a_c_program_fails() -> None:
    assert gates(C, LeakKind.POSSIBLY_LOST, Settings())
