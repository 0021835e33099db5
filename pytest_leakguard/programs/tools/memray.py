"""memray on Python programs: which calls keep allocating, all through the run, and never free."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target
from pytest_leakguard.programs import binary, launchers
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import Canaries
from pytest_leakguard.programs.tools.base import Backend, Trial, incomplete, root_is_missing

FEWEST_BLOCKS = 8
"""Blocks from one place that are a leak; fewer are what a program sets up once."""
PARTS = 4
NEEDED_PARTS = 3
"""Quarters of the run in which a leak allocates.

A table built at the start or a result at the end fills fewer.
"""
_STOP_S = 5.0
"""Seconds after each signal that stops a run; writing the end of a capture takes under one."""
_STARTED = "started"
"""The file beside the capture into which the wrapper writes what programs were started."""
_WRAPPER = "memray_main.py"
_MAGIC = b"memray\0"
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_WITH_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})


class Memray(Backend):
    """Runs Python programs, 5 times slower.

    Sees what Python code allocates, not who still holds it.
    """

    name = "memray"
    artifacts = "memray.bin*"
    how_to_get = "memray is not installed: `pip install 'pytest-leakguard[memray]'`"

    def is_present(self) -> bool:
        """Whether memray can be imported."""
        return find_spec(self.name) is not None

    def suits(self, program: Binary) -> str:
        """Python programs, but for those whose interpreter has a sanitizer inside."""
        return "a Python program" if program.is_python and not program.sanitizer else ""

    def refuses(self, target: Target) -> str:
        """There is nothing that more arguments or suppressions could be given to."""
        if target.tool_args or target.suppressions:
            return "memray takes no tool arguments, and no suppressions"
        return ""

    def plan(self, target: Target, workdir: Path) -> Launch:
        """The program inside a small wrapper, in the interpreter it names or else in ours."""
        interpreter, flags, program = split_command(target.argv)
        wrapper = Path(__file__).resolve().with_name(_WRAPPER)
        return Launch(
            argv=(interpreter, *flags, str(wrapper), str(workdir / "memray.bin"), *program),
            env=target.env,
            cwd=target.cwd,
            timeout_s=target.timeout_s,
            # Only a normal end completes the capture.
            stop_signals=((signal.SIGINT, _STOP_S), (signal.SIGTERM, _STOP_S)),
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """memray's magic, plain or in an LZ4 frame, whose first block holds it uncompressed."""
        return _MAGIC in head[:64]

    def parse(self, artifact: Path) -> Report:
        """The lasting growth in one capture.

        Raises ``MalformedReport`` when the run did not end normally.
        """
        try:
            import memray
        except ImportError:
            raise MalformedReport(
                f"{artifact}: reading a memray capture needs memray: pip install memray"
            ) from None
        reader: Any = None
        try:
            reader = memray.FileReader(artifact)
            return _read(reader, artifact)
        except MalformedReport:
            raise
        except Exception as error:  # on damaged captures the reader raises errors of any kind
            why = f"{artifact}: memray cannot read it: {error}"
            raise MalformedReport(why, Report("memray")) from None
        finally:
            if reader is not None:
                reader.close()

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started interpreter must have closed its capture."""
        return root_is_missing(report, status, "finished memray capture") + incomplete(
            report.processes
        )

    def after_run(self, report: Report, target: Target, workdir: Path, status: RunStatus) -> Report:
        """With a problem for each compiled program of the user's that was started from Python."""
        unseen: dict[str, None] = {}
        for words in _commands(workdir / _STARTED):
            for path in _compiled(words, target):
                unseen[str(path)] = None
        problems = [
            f'it starts {path}, which memray does not see into: use tool="valgrind" '
            "(or --follow=PATTERN for what counts)"
            for path in unseen
        ]
        return replace(report, problems=(*report.problems, *problems))

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """A Python script in this interpreter."""
        if not self.is_present():
            yield Trial(why="it is not installed", fix="pip install 'pytest-leakguard[memray]'")
            return
        argv = (sys.executable, str(canaries.python()))
        yield Trial(argv, path=sys.executable, version=version(self.name))


def _commands(path: Path) -> Iterator[tuple[str, ...]]:
    """The command lines that the wrapper has written down; a line that was cut is left out."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                words = json.loads(line)
            except ValueError:
                continue
            if words and isinstance(words, list) and all(isinstance(word, str) for word in words):
                yield tuple(words)


def _compiled(words: tuple[str, ...], target: Target) -> Iterator[Path]:
    """The programs among them that no interpreter runs, and that did not come with the system."""
    if launchers.is_launcher(words, target.cwd):
        found = launchers.behind(words, target.cwd)
    else:
        path = binary.find(words[0], target.cwd)
        found = (path,) if path else ()
    for path in found:
        program = binary.inspect(str(path.absolute()))
        is_own = program.is_elf and not launchers.is_of_the_system(str(path.resolve()))
        if not is_own or program.is_python:
            continue
        if not target.follow or launchers.matches(str(path), target.follow):
            yield path


def split_command(argv: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Interpreter, its flags, and the program with its arguments."""
    if not _PYTHON.match(Path(argv[0]).name):
        return sys.executable, (), argv
    index = 1
    while (
        index < len(argv) and argv[index].startswith("-") and argv[index] not in ("-m", "-c", "-")
    ):
        index += 2 if argv[index] in _WITH_VALUE else 1
    return argv[0], argv[1:index], argv[index:]


def _read(reader: Any, artifact: Path) -> Report:
    metadata = reader.metadata
    leaks = tuple(_leaks(reader, metadata.pid))
    reason = _why_not_whole(artifact)
    process = Process(
        metadata.pid, command=metadata.command_line, is_complete=not reason, reason=reason
    )
    report = Report("memray", leaks, (process,))
    if reason:
        raise MalformedReport(f"{artifact}: {reason}", report)
    return report


def _why_not_whole(artifact: Path) -> str:
    """Why the file does not prove that memray closed the capture; empty when it does.

    memray writes captures plain and compresses them when it closes them, so a whole LZ4 frame is
    the proof. Its header is none: the reader makes up the number of allocations and the time of the
    end where they are missing.
    """
    with artifact.open("rb") as stream:
        if stream.read(len(_MAGIC)) == _MAGIC:
            return (
                "the capture was not closed: the program was killed or left by os._exit "
                "(or memray ran --no-compress)"
            )
        size_bytes = stream.seek(0, os.SEEK_END)
        if _frame_length(stream) != size_bytes:
            return f"the capture is cut off at byte {size_bytes}"
    return ""


def _frame_length(stream: BinaryIO) -> int:
    """Where the LZ4 frame in ``stream`` ends; -1 when it does not.

    Source: LZ4 frame format description, version 1.6.2.
    """
    stream.seek(0)
    head = stream.read(6)
    if len(head) < 6 or head[:4] != _LZ4_MAGIC:
        return -1
    has_block_sums, has_size, has_sum, has_dictionary = (
        bool(head[4] & bit) for bit in (16, 8, 4, 1)
    )
    at = 7 + 8 * has_size + 4 * has_dictionary
    while True:
        stream.seek(at)
        block = stream.read(4)
        if len(block) < 4:
            return -1
        at += 4
        # The highest bit says that the block is not compressed.
        length = int.from_bytes(block, "little") & 0x7FFFFFFF
        if length == 0:
            return at + 4 * has_sum
        at += length + 4 * has_block_sums


def _leaks(reader: Any, pid: int) -> Iterator[Leak]:
    """Stacks that kept allocating blocks which were never freed."""
    retained, events = _retained(reader)
    stacks: dict[tuple[Frame, ...], list[tuple[int, int]]] = {}
    clock = last = 0
    # A service has hundreds of records per stack, each dozens of calls deep.
    stack_by_id: dict[int, tuple[Frame, ...]] = {}
    for when, record in retained:
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
    clock += events - last
    for stack, blocks in stacks.items():
        parts = {when * PARTS // (clock + 1) for when, _ in blocks}
        if len(blocks) >= FEWEST_BLOCKS and len(parts) >= NEEDED_PARTS:
            size_bytes = sum(size for _, size in blocks)
            yield Leak(LeakKind.PYTHON_OBJECTS, size_bytes, len(blocks), stack, pid)


def _retained(reader: Any) -> tuple[list[tuple[int, Any]], int]:
    """Time and record of each block that was never freed, and the time of the last allocation.

    The time counts allocations from the program's first on: what starts it compiles and imports
    before, and what ends it frees thousands of blocks (3.14 as many as a small program allocates).
    """
    by_address: dict[int, tuple[int, Any]] = {}
    frees = _frees()
    clock = 0
    has_begun = False
    for record in reader.get_allocation_records():
        if record.allocator in frees:
            by_address.pop(record.address, None)
            continue
        has_begun = has_begun or _is_programs_own(_stack(record))
        clock += has_begun
        by_address[record.address] = (clock, record)
    return sorted(by_address.values(), key=itemgetter(0)), clock


def _is_programs_own(stack: tuple[Frame, ...]) -> bool:
    """Whether code of the program itself was running."""
    return (
        bool(stack) and not _is_import(stack) and not (stack[-1].file or "").startswith("<frozen")
    )


def _stack(record: Any) -> tuple[Frame, ...]:
    frames = (Frame(function, file, line) for function, file, line in record.stack_trace())
    return tuple(frame for frame in frames if not _is_wrapper(frame))


def _frees() -> frozenset[int]:
    """The numbers differ between releases of memray; the names do not."""
    import memray

    frees = set()
    for allocator in memray.AllocatorType:
        if allocator.name.endswith(("FREE", "MUNMAP")):
            frees.add(allocator.value)
    return frozenset(frees)


def _is_wrapper(frame: Frame) -> bool:
    file = frame.file or ""
    is_memrays_own = "/memray/" in file and file.endswith(
        ("/_memray.py", "/commands/run.py", "/memray/__main__.py")
    )
    return is_memrays_own or file.endswith((_WRAPPER, "runpy.py")) or file == "<frozen runpy>"


def _is_import(stack: tuple[Frame, ...]) -> bool:
    """Import happens once by construction, however much it allocates."""
    return any((frame.file or "").startswith("<frozen importlib") for frame in stack)
