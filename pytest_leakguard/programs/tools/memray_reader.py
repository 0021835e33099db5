"""Reads one memray capture and writes what it retained as JSON.

memray's reader has no checksum to go by and ends the whole process at some damaged captures, so it
runs in a process of its own. Started by path, so it imports nothing of this package.
"""

import json
import sys
from operator import itemgetter
from pathlib import Path
from typing import Any

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # this file's directory has a module called memray

FEWEST_BLOCKS = 8
"""Blocks from one place that are a leak; fewer are what a program sets up once."""
PARTS = 4
"""Quarters of the run."""
NEEDED_PARTS = 3
"""Quarters of the run in which a leak allocates.

A table built at the start or a result at the end fills fewer.
"""
_WRAPPER = "memray_main.py"
_LOOKS_FOR_SCRIPTS = ("/pkgutil.py", "/importlib/util.py")
"""The modules that runpy asks before it runs anything."""
_PROGRAM_RUNS_IN = "main"
"""The wrapper's only function that calls the program; what the others allocate is ours."""

_Stack = tuple[tuple[str, str, int], ...]
"""Function, file and line of each call, innermost first."""


def main(capture: str) -> None:
    """Writes the leaks in ``capture`` and all that tells whether they can be trusted."""
    import memray

    with memray.FileReader(capture) as reader:
        retained = _retained(reader, memray)
        answer = {
            "pid": reader.metadata.pid,
            "command": reader.metadata.command_line,
            "records": retained.records,
            "repeated": retained.repeated,
            "leaks": _leaks(retained),
        }
    json.dump(answer, sys.stdout)


class _Retained:
    """What one capture holds."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, Any]] = []
        """Time and record of each block that was never freed.

        The time counts allocations from the program's first on: what starts it compiles and imports
        before, and what ends it frees thousands of blocks (3.14 as many as a small program
        allocates).
        """
        self.clock = 0
        """The time of the last allocation."""
        self.records = 0
        """All allocations and frees."""
        self.repeated = 0
        """Blocks that were allocated where another one was alive, which no allocator does."""


def _retained(reader: Any, memray: Any) -> _Retained:
    by_address: dict[int, tuple[int, Any]] = {}
    frees, mappings = _frees(memray), {memray.AllocatorType.MMAP.value}
    found = _Retained()
    has_begun = False
    for record in reader.get_allocation_records():
        found.records += 1
        if record.allocator in frees:
            by_address.pop(record.address, None)
            continue
        if record.allocator not in mappings and record.address in by_address:
            found.repeated += by_address[record.address][1].allocator not in mappings
        has_begun = has_begun or _is_programs_own(_stack(record))
        if _is_ours(record):
            by_address.pop(record.address, None)
            continue
        found.clock += has_begun
        by_address[record.address] = (found.clock, record)
    found.blocks = sorted(by_address.values(), key=itemgetter(0))
    return found


def _is_programs_own(stack: _Stack) -> bool:
    """Whether code of the program itself was running.

    Before it ``runpy`` looks for the script; what it calls for that is the outermost that is left
    of its stack. In a forked child anything can be, since memray knows no calls from before.
    """
    return (
        bool(stack) and not _is_import(stack) and not stack[-1][1].startswith("<frozen")
    ) and not stack[-1][1].endswith(_LOOKS_FOR_SCRIPTS)


def _leaks(retained: _Retained) -> list[list[Any]]:
    """Stacks that kept allocating blocks which were never freed: size, blocks, calls."""
    stacks: dict[_Stack, list[tuple[int, int]]] = {}
    clock = last = 0
    # A service has hundreds of records per stack, each dozens of calls deep.
    stack_by_id: dict[int, _Stack] = {}
    for when, record in retained.blocks:
        if record.stack_id not in stack_by_id:
            stack_by_id[record.stack_id] = _stack(record)
        stack = stack_by_id[record.stack_id]
        # The clock of the run counts allocations, but stands still while modules are imported: the
        # stretch before something that an import has left was the import's.
        if _is_import(stack):
            last = when
            continue
        clock += when - last
        last = when
        if stack:
            stacks.setdefault(stack, []).append((clock, record.size))
    clock += retained.clock - last
    leaks: list[list[Any]] = []
    for stack, blocks in stacks.items():
        parts = {when * PARTS // (clock + 1) for when, _ in blocks}
        if len(blocks) >= FEWEST_BLOCKS and len(parts) >= NEEDED_PARTS:
            leaks.append([sum(size for _, size in blocks), len(blocks), stack])
    return leaks


def _is_ours(record: Any) -> bool:
    """Whether the wrapper was noting something down."""
    return any(
        file.endswith(_WRAPPER) and function != _PROGRAM_RUNS_IN
        for function, file, _ in record.stack_trace()
    )


def _stack(record: Any) -> _Stack:
    return tuple(frame for frame in record.stack_trace() if not _is_wrapper(frame[1]))


def _frees(memray: Any) -> set[int]:
    """The numbers differ between releases of memray; the names do not."""
    frees: set[int] = set()
    for allocator in memray.AllocatorType:
        if allocator.name.endswith(("FREE", "MUNMAP")):
            frees.add(allocator.value)
    return frees


def _is_wrapper(file: str) -> bool:
    is_memrays_own = "/memray/" in file and file.endswith(
        ("/_memray.py", "/commands/run.py", "/memray/__main__.py")
    )
    return is_memrays_own or file.endswith((_WRAPPER, "runpy.py")) or file == "<frozen runpy>"


def _is_import(stack: _Stack) -> bool:
    """Import happens once by construction, however much it allocates."""
    return any(file.startswith("<frozen importlib") for _, file, _ in stack)


if __name__ == "__main__":
    main(sys.argv[1])
