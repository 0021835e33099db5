"""The native stack of memory that no Python object accounts for, by memray where it is installed and free."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_leakguard.explain.code import Owner, owner
from pytest_leakguard.model import Frame


def leaking_stack(work: Callable[[], object], runs: int, per_run: float) -> tuple[Frame, ...]:
    """The stack that loses most in the runs, innermost call first; empty when memray is absent or sees nothing.

    memray sees calls through a library's own symbol table; memory from a pointer to ``malloc`` is not seen.
    """
    if importlib.util.find_spec("memray") is None:
        return ()
    import memray

    with tempfile.TemporaryDirectory(prefix="leakguard-") as name:
        file = Path(name) / "run.bin"
        try:
            with memray.Tracker(file, native_traces=True):
                for _ in range(runs):
                    work()
        except RuntimeError:  # somebody else is tracking
            return ()
        with memray.FileReader(file) as reader:
            records = list(reader.get_leaked_allocation_records(merge_threads=True))
        fitting = [one for one in records if one.n_allocations >= 0.5 * runs * min(1.0, per_run / 16)]
        for record in sorted(fitting, key=lambda one: -one.size):
            frames = _frames(record)
            if frames:
                return frames
    return ()


def _frames(record: Any) -> tuple[Frame, ...]:
    found = [
        Frame(function or None, file or None, line or None) for function, file, line in record.hybrid_stack_trace()
    ]
    return tuple(
        frame
        for frame in found
        if frame.function != "<unknown>" and frame.file != "<unknown>" and owner(frame.file or "") is not Owner.HARNESS
    )
