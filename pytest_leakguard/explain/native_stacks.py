"""Calls of compiled code that lost memory, by memray where it is installed and not in use."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.counters._cpython import cache_clearer
from pytest_leakguard.explain.code_owner import Owner, is_ours, owner

_NOT_KNOWN = "<unknown>"
"""memray's word for a function or file without a name."""
_INTERPRETER_SOURCES = ("Objects/", "Python/", "Modules/", "Parser/", "Include/", "./Include/")
"""As the interpreter's own build names them."""
_INTERPRETER_FUNCTIONS = (
    "_Py",
    "Py",
    "__libc_start",
    "_start",
    "cfunction_",
    "method_vectorcall",
    "type_call",
)


def leaking_stack(
    work: Callable[[], object],
    runs: int,
    per_run: float,
    at: Frame | None,
    *,
    of_objects: bool = False,
) -> tuple[Frame, ...]:
    """The stack that loses most in the runs, innermost call first.

    Empty when memray is absent or sees nothing.

    ``per_run`` is in bytes, or in blocks with ``of_objects``, which has memray follow the
    interpreter's own blocks. ``at`` is the innermost Python call where it is known. memray sees
    calls through a library's own symbol table; memory from a pointer to ``malloc`` is not seen.
    """
    events = runs * min(1.0, per_run if of_objects else per_run / 16)
    records = _leaking_records(work, runs, of_objects)
    fitting = [record for record in records if record.n_allocations >= 0.5 * events]
    for record in sorted(
        fitting, key=lambda record: (-record.n_allocations if of_objects else 0, -record.size)
    ):
        frames = _frames(record)
        inner = next((frame for frame in frames if _is_python(frame)), None)
        if frames and (at is None or (inner is not None and _is_same(inner, at))):
            return frames
    return ()


def inside(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The calls of compiled code at the inner end of a stack."""
    return tuple(takewhile(lambda frame: not _is_python(frame), stack))


def _leaking_records(work: Callable[[], object], runs: int, of_objects: bool) -> list[Any]:
    try:
        import memray
    except ImportError:  # it is an extra of ours
        return []
    gc.collect()  # empties the free lists, from which the unit would take what memray cannot see
    with tempfile.TemporaryDirectory(prefix="leakguard-") as name:
        file = Path(name) / "run.bin"
        try:
            with memray.Tracker(file, native_traces=True, trace_python_allocators=of_objects):
                for _ in range(runs):
                    work()
                cache_clearer()()
                gc.collect()
        except RuntimeError:  # somebody else is tracking
            return []
        with memray.FileReader(file) as reader:
            records = list(reader.get_leaked_allocation_records(merge_threads=True))
    return records


def _is_python(frame: Frame) -> bool:
    return (frame.file or "").endswith(".py")


def _is_same(first: Frame, second: Frame) -> bool:
    """The same line or function.

    Memray knows neither a function's class nor every line of a statement.
    """
    if first.file != second.file:
        return False
    return first.line == second.line or _last_name(first) == _last_name(second)


def _last_name(frame: Frame) -> str:
    return (frame.function or "").rpartition(".")[2]


def _frames(record: Any) -> tuple[Frame, ...]:
    """Calls with a name, without the interpreter's and the harness's."""
    found = []
    for function, file, line in record.hybrid_stack_trace():
        if not function or function == _NOT_KNOWN:
            continue
        frame = Frame(function, file if file != _NOT_KNOWN else None, line or None)
        if _is_named(frame):
            found.append(frame)
    return tuple(takewhile(lambda frame: not is_ours(frame.file or ""), found))


def _is_named(frame: Frame) -> bool:
    if frame.file is None:
        return not (frame.function or "").startswith(_INTERPRETER_FUNCTIONS)
    is_interpreter = (
        frame.file.startswith((*_INTERPRETER_SOURCES, "<")) or "/include/python3" in frame.file
    )
    return not is_interpreter and owner(frame.file) is not Owner.HARNESS
