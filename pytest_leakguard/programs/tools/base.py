"""What a backend is: a name, two pure functions, and the proof it demands. Knows no tool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target

LONGEST_LINE_BYTES = 1 << 16
MOST_PROCESSES = 2000
"""In one file; more are no report but an attack or a disk full of garbage."""


class Backend(Protocol):
    """One tool that can tell leaks."""

    name: str
    executable: str
    """The program or Python package that must be present."""
    artifacts: str
    """Glob of the reports inside the work directory of a run."""

    def plan(self, target: Target, workdir: Path) -> Launch:
        """How to start ``target`` so that its reports land in ``workdir``; runs nothing, writes nothing."""

    def parse(self, artifact: Path) -> Report:
        """What one report says. Raises ``MalformedReport`` (with what was recovered) when it is not whole."""

    def recognises(self, head: bytes) -> bool:
        """Whether content that begins with ``head`` is this tool's report."""

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """What is missing in ``report`` as proof of a whole check of this run."""


def lines(stream: BinaryIO) -> Iterator[str]:
    """Each line with its line feed, which a line that was cut off lacks; of an endless line only the beginning."""
    is_rest = False
    while raw := stream.readline(LONGEST_LINE_BYTES):
        ends = raw.endswith(b"\n")
        if not is_rest:
            text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
            yield text + "\n" if ends or len(raw) == LONGEST_LINE_BYTES else text
        is_rest = not ends


def mark_inlined(frames: list[Frame]) -> tuple[Frame, ...]:
    """Inlined calls repeat the address of the call they were inlined into; so does recursion, with the same name."""
    marked: list[Frame] = []
    inside: set[str | None] = (
        set()
    )  # functions of the call that this run of equal addresses belongs to
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
    return (
        int(digits) or None if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
    )


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


def merge(tool: str, reports: tuple[Report, ...]) -> Report:
    """Several processes of one run as one report; nothing is dropped or counted again here."""
    return Report(
        tool=tool,
        leaks=tuple(leak for report in reports for leak in report.leaks),
        processes=tuple(process for report in reports for process in report.processes),
        tool_version=next((report.tool_version for report in reports if report.tool_version), ""),
        problems=tuple(dict.fromkeys(p for report in reports for p in report.problems)),
        notes=tuple(dict.fromkeys(n for report in reports for n in report.notes)),
    )
