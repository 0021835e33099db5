"""A program to check, how it is launched, how it ended, and what a tool reported of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from pytest_leakguard.core.leaks import Leak


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the target and whether its report is whole."""

    pid: int
    ppid: int = 0
    command: str = ""
    is_fork: bool = False
    """Forked without exec, so the blocks of its parent are reported a second time."""
    is_complete: bool = True
    """The tool finished its leak check in this process."""
    reason: str = ""
    """Why it is not complete."""
    signal: int | None = None
    """The signal that ended it, where the report names it."""
    open_end: str = ""
    """Why what is written of it is whole only for somebody who saw it end; empty where it shows."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a tool found in one run of a target, all its processes together."""

    tool: str
    leaks: tuple[Leak, ...] = ()
    """As reported, process by process; see ``core.forks`` for what is counted once."""
    processes: tuple[Process, ...] = ()
    tool_version: str = ""
    problems: tuple[str, ...] = ()
    """Why this is inconclusive. Empty only when the check is proved to have run."""
    notes: tuple[str, ...] = ()
    """Worth saying, without effect on the answer."""
    further: tuple[Report, ...] = ()
    """Other runs that stand in the same file, each a report of its own."""
    errors: tuple[str, ...] = ()
    """Other faults that the tool saw, such as an invalid read, each in one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """A program to check."""

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: tuple[tuple[str, str], ...] = ()
    """Variables added to the environment of the run."""
    timeout_s: float = 300.0
    memory_limit_bytes: int | None = None
    """Resident bytes, whole process tree, above which the target is killed."""
    follows_children: bool = True
    follow: tuple[str, ...] = ()
    """Patterns of the programs that count; empty for the user's own, the system's left out."""
    tool_args: tuple[str, ...] = ()
    """More arguments for the tool itself (valgrind's, memray's)."""
    suppressions: tuple[Path, ...] = ()
    stdin: Path | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a target under a tool; a pure ``plan`` makes it, ``processes`` does it."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    """Variables set on top of the inherited environment."""
    unset: tuple[str, ...] = ()
    """Variables removed from the inherited environment."""
    cwd: Path | None = None
    timeout_s: float = 300.0
    stop_signals: tuple[tuple[int, float], ...] = ((15, 5.0),)
    """Signals sent in turn to end the target, each with seconds to wait after it; then SIGKILL."""
    memory_limit_bytes: int | None = None
    stdin: Path | None = None
    control_group: Path | None = None
    """A directory of the cgroup file system that the target moves into before it begins."""
    scratch: Path | None = None
    """A directory of ours that goes with the target when we are killed and cannot remove it."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How the launched process ended, apart from anything the tool says about leaks."""

    pid: int
    exit_code: int | None
    """Exit status, ``None`` when a signal ended it."""
    signal: int | None = None
    timed_out: bool = False
    memory_exceeded_bytes: int | None = None
    """Resident bytes of the tree when the memory limit was passed; ``None`` when it was not."""
    duration_s: float = 0.0
    stdout: bytes = b""
    """Head and tail only; the middle of a flood is left out."""
    stderr: bytes = b""
    leftover: tuple[int, ...] = ()
    """Descendants that outlived the target and had to be stopped."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The target's own end, as it stands in the report."""

    code: int | None = 0
    signal: int | None = None
    timed_out: bool = False


SUCCESS = ExitStatus()
"""Ended by itself, with status 0."""


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; the number itself where the platform has no name for it."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
