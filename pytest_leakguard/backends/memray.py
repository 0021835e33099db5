"""memray on Python programs: which calls keep allocating, all through the run, what is never freed."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_leakguard.backends.base import incomplete, root_is_missing
from pytest_leakguard.errors import MalformedReport
from pytest_leakguard.model import Frame, Launch, Leak, LeakKind, Process, Report, RunStatus, Target

FEWEST_BLOCKS = 8
"""Fewer blocks from one place are what a program sets up once."""
PARTS = 4
NEEDED_PARTS = 3
"""A leak allocates in three of four quarters of the run; a table built at the start or a result at the end does not."""
_MAGIC = b"memray\0"
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_FREES = frozenset({1, 5, 12})
"""``memray.AllocatorType``: PYMALLOC_FREE, FREE, MUNMAP."""
_WITH_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})


class Memray:
    """Runs Python programs; 5 times slower; sees what Python code allocates, not who still holds it."""

    name = "memray"
    executable = "memray"
    artifacts = "memray.bin*"

    def plan(self, target: Target, workdir: Path) -> Launch:
        """The program inside a small wrapper, in the interpreter it names; ours when it names none."""
        interpreter, flags, program = split_command(target.argv)
        wrapper = Path(__file__).resolve().parent.parent / "memray_main.py"
        return Launch(
            argv=(interpreter, *flags, str(wrapper), str(workdir / "memray.bin"), *program),
            env=target.env,
            cwd=target.cwd,
            timeout_s=target.timeout_s,
            stop_signals=((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0)),  # only a normal end completes the capture
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """memray's magic, plain or inside an LZ4 frame (whose first block holds it uncompressed)."""
        return _MAGIC in head[:64]

    def parse(self, artifact: Path) -> Report:
        """The lasting growth in one capture; raises ``MalformedReport`` when the run did not end normally."""
        try:
            import memray
        except ImportError:
            raise MalformedReport(f"{artifact}: reading a memray capture needs memray: pip install memray") from None
        reader: Any = None
        try:
            reader = memray.FileReader(artifact)
            return _read(reader, artifact)
        except MalformedReport:
            raise
        except Exception as error:  # on damaged captures its reader lets through whatever it stumbles over
            raise MalformedReport(f"{artifact}: memray cannot read it: {error}", Report("memray")) from None
        finally:
            if reader is not None:
                reader.close()

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started interpreter must have closed its capture."""
        return root_is_missing(report, status, "finished memray capture") + incomplete(report.processes)


def split_command(argv: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Interpreter, its flags, and the program with its arguments."""
    if not _PYTHON.match(Path(argv[0]).name):
        return sys.executable, (), argv
    index = 1
    while index < len(argv) and argv[index].startswith("-") and argv[index] not in ("-m", "-c", "-"):
        index += 2 if argv[index] in _WITH_VALUE else 1
    return argv[0], argv[1:index], argv[index:]


def _read(reader: Any, artifact: Path) -> Report:
    metadata = reader.metadata
    leaks, events = _leaks(reader, metadata.pid)
    reason = ""
    if not _was_closed(artifact):
        reason = "the capture was not closed: the program was killed or left by os._exit (or memray ran --no-compress)"
    elif events != metadata.total_allocations:
        reason = f"the capture is cut off: {events} of {metadata.total_allocations} events are left"
    process = Process(metadata.pid, command=metadata.command_line, is_complete=not reason, reason=reason)
    report = Report("memray", leaks, (process,))
    if reason:
        raise MalformedReport(f"{artifact}: {reason}", report)
    return report


def _was_closed(artifact: Path) -> bool:
    """memray writes captures plain and compresses them when it closes them.

    The header proves nothing: the reader makes up the number of allocations and the time of the end where they lack.
    """
    with artifact.open("rb") as stream:
        return not stream.read(len(_MAGIC)).startswith(_MAGIC)


def _leaks(reader: Any, pid: int) -> tuple[tuple[Leak, ...], int]:
    """Stacks that kept allocating blocks which were never freed, and how many events there were in all."""
    living: dict[int, tuple[int, Any]] = {}
    events = 0
    for events, record in enumerate(reader.get_allocation_records(), 1):
        if record.allocator in _FREES:
            living.pop(record.address, None)
        else:
            living[record.address] = (events, record)
    return tuple(_lasting(living, events, pid)), events


def _lasting(living: dict[int, tuple[int, Any]], events: int, pid: int) -> Iterator[Leak]:
    """The stacks whose blocks were allocated all through the run."""
    stacks: dict[tuple[Frame, ...], list[tuple[int, int]]] = {}
    clock = last = 0
    for when, record in sorted(living.values(), key=lambda one: one[0]):
        stack = _stack(record)
        is_import = _is_import(stack)
        # The clock of the run counts allocations, but stands still while modules are imported: the stretch before
        # something that an import left behind was the import's.
        clock += 0 if is_import else when - last
        last = when
        if stack and not is_import:
            stacks.setdefault(stack, []).append((clock, record.size))
    clock += events - last
    for stack, blocks in stacks.items():
        parts = {when * PARTS // (clock + 1) for when, _ in blocks}
        if len(blocks) >= FEWEST_BLOCKS and len(parts) >= NEEDED_PARTS:
            yield Leak(LeakKind.PYTHON_OBJECTS, sum(size for _, size in blocks), len(blocks), stack, pid)


def _stack(record: Any) -> tuple[Frame, ...]:
    frames = (Frame(function, file, line) for function, file, line in record.stack_trace())
    return tuple(frame for frame in frames if not _is_wrapper(frame))


def _is_wrapper(frame: Frame) -> bool:
    file = frame.file or ""
    return file.endswith("memray_main.py") or file in ("<frozen runpy>", "runpy.py")


def _is_import(stack: tuple[Frame, ...]) -> bool:
    """Import happens once by construction, however much it allocates."""
    return any((frame.file or "").startswith("<frozen importlib") for frame in stack)
