"""What a tool is: how to start it, how to read what it left, and all that is special about it.

The runner, the doctor and the reader of existing reports call these methods and know no tool by
name. A new tool is one file with one class, and one line in the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import Canaries

LONGEST_LINE_BYTES = 1 << 16
"""Bytes of one line that are kept; no tool writes longer ones, and damage may be one line."""
MOST_PROCESSES = 2000
"""Processes in one file; more are no report but an attack or a disk full of garbage."""
LONGEST_LINE_NUMBER = 9
"""Digits of a line number; one with more is damage, and Python refuses to read endless ones."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One way of using the tool on this machine, with a program that leaks on purpose."""

    argv: tuple[str, ...] = ()
    """The leaking program; empty when there is none to run, and ``why`` tells what is missing."""
    clean_argv: tuple[str, ...] = ()
    """The same program without its leak, which has to pass; empty when there is none."""
    variant: str = ""
    """Compiler and flag for sanitizers."""
    path: str = ""
    """Empty when the tool was not found."""
    version: str = ""
    why: str = ""
    fix: str = ""
    """The command that provides what is missing."""
    caveat: str = ""
    """What this version may miss although it sees the planted leak."""
    how_to_get_names: str = ""
    """The command that helps where the leak is seen without the function's name."""


class Backend(ABC):
    """One tool that can tell leaks."""

    name: ClassVar[str]
    """As users write it, and as it stands in reports."""
    artifacts: ClassVar[str]
    """Glob of the reports inside the work directory of a run."""
    how_to_get: ClassVar[str] = ""
    """What is missing and the command that installs it; shown when ``is_present`` is false."""
    is_system_package: ClassVar[bool] = False
    """Whether the system's package manager installs it, so that a gate has to ask for it."""
    is_linked_by_addresses: ClassVar[bool] = False
    """Whether the reports of a run are known by their shared addresses, as none names a parent."""

    @abstractmethod
    def plan(self, target: Target, workdir: Path) -> Launch:
        """How to start ``target`` so that its reports land in ``workdir``.

        It runs nothing and writes nothing.
        """

    @abstractmethod
    def parse(self, artifact: Path) -> Report:
        """What one report says.

        Raises ``MalformedReport`` (with what was recovered) when it is not whole. Several threads
        may parse at once.
        """

    @abstractmethod
    def recognises(self, head: bytes) -> bool:
        """Whether content that begins with ``head`` is this tool's report."""

    @abstractmethod
    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """What is missing in ``report`` as proof of a whole check of this run."""

    def is_present(self) -> bool:
        """Whether the tool is on this machine; one that is built into the target always is."""
        return True

    def suits(self, program: Binary) -> str:
        """Why ``auto`` picks this tool for ``program``; empty when it does not."""
        return ""

    def refuses(self, target: Target) -> str:
        """Why ``target`` cannot be checked with this tool at all; empty when it can."""
        return ""

    def prepare(self, target: Target) -> Target:
        """``target`` with what a pure ``plan`` cannot look up on the machine."""
        return target

    def after_run(self, report: Report, target: Target, workdir: Path, status: RunStatus) -> Report:
        """``report`` with what only the ended run and its work directory can add to it."""
        return report

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """The ways to use the tool on this machine, each with a leak that it has to see."""
        return iter(())

    def advice(self, problem: str) -> str:
        """The command that helps against what kept a trial from an answer; empty when unknown."""
        return ""


def lines(stream: BinaryIO) -> Iterator[str]:
    """Each line with its line feed, which a line that was cut off lacks.

    Of an endless line only the beginning is given.
    """
    is_rest = False
    while raw := stream.readline(LONGEST_LINE_BYTES):
        ends = raw.endswith(b"\n")
        if not is_rest:
            text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
            yield text + "\n" if ends or len(raw) == LONGEST_LINE_BYTES else text
        is_rest = not ends


def mark_inlined(frames: list[Frame]) -> tuple[Frame, ...]:
    """``frames`` with those marked that the compiler inlined.

    An inlined call repeats the address of the call it was inlined into. So does recursion, but
    with the same name.
    """
    marked: list[Frame] = []
    # Functions of the call that this run of equal addresses belongs to.
    inside: set[str | None] = set()
    for frame, outer in zip(frames, [*frames[1:], None], strict=False):
        inside.add(frame.function)
        if outer and outer.address == frame.address != 0 and outer.function not in inside:
            marked.append(replace(frame, is_inlined=True))
        else:
            marked.append(frame)
            inside.clear()
    return tuple(marked)


def line_number(digits: str) -> int | None:
    """A line in a source file; ``None`` for 0 and for what cannot be one."""
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_LINE_NUMBER
    return int(digits) or None if is_number else None


def root_is_missing(report: Report, status: RunStatus, what: str) -> tuple[str, ...]:
    """The reason when the started process itself left no report; empty when it did."""
    if any(process.pid == status.pid for process in report.processes):
        return ()
    if report.processes and status.pid == 0:
        return ()
    return (f"process {status.pid} left no {what}",)


def incomplete(processes: tuple[Process, ...]) -> tuple[str, ...]:
    """One line per process whose leak check is not proved to have finished."""
    return tuple(
        f"process {process.pid}: {process.reason or 'its leak check did not finish'}"
        for process in processes
        if not process.is_complete
    )


def whole(artifact: Path, runs: list[Report]) -> Report:
    """The report of a file with these runs.

    Raises ``MalformedReport`` unless each of them is whole.
    """
    report = replace(runs[0], further=tuple(runs[1:]))
    reasons = [reason for run in runs for reason in (*incomplete(run.processes), *run.problems)]
    if reasons:
        raise MalformedReport(f"{artifact}: {'; '.join(dict.fromkeys(reasons))}", report)
    return report


def runs_of(report: Report) -> tuple[Report, ...]:
    """Each run that a file holds."""
    return (replace(report, further=()), *report.further)


def merge(tool: str, reports: tuple[Report, ...]) -> Report:
    """Several processes of one run as one report; nothing is dropped or counted again here."""
    return Report(
        tool=tool,
        leaks=tuple(leak for report in reports for leak in report.leaks),
        processes=tuple(process for report in reports for process in report.processes),
        tool_version=next((report.tool_version for report in reports if report.tool_version), ""),
        problems=tuple(dict.fromkeys(p for report in reports for p in report.problems)),
        notes=tuple(dict.fromkeys(n for report in reports for n in report.notes)),
        errors=tuple(dict.fromkeys(e for report in reports for e in report.errors)),
    )
