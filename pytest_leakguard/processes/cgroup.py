"""A control group that holds a memory limit over all processes of a service.

Only where the system lets us make one. Versions 1 and 2 (Linux,
Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst). Page cache counts too, but the
kernel takes it back before it kills.
"""

from __future__ import annotations

import itertools
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.processes import supervisor

ROOT = Path("/sys/fs/cgroup")
_TRIAL_S = 5.0
"""Seconds that a shell may take to move into the group; it takes some milliseconds."""
_REMOVAL_S = 2.0
"""Seconds of trying to remove a group: the kernel lets go of it a moment after its last process."""
_RETRY_S = 0.02
"""Seconds between two tries."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A group that exists; ``close`` removes it."""

    path: Path
    limit_bytes: int

    def kills(self) -> int:
        """How many processes the kernel has killed at the limit."""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError, ValueError):
                for line in (self.path / name).read_text().splitlines():
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        return 0

    def close(self) -> None:
        """Its processes must have ended."""
        deadline = time.monotonic() + _REMOVAL_S
        while self.path.exists() and time.monotonic() < deadline:
            with suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(_RETRY_S)


def create(limit_bytes: int, root: Path = ROOT) -> MemoryGroup | None:
    """A group with this limit, proved to take processes; ``None`` where that is not allowed."""
    for parent, limit_file in _parents(root):
        _remove_orphans(parent)
        group = MemoryGroup(parent / f"leakguard-{os.getpid()}-{next(_numbers)}", limit_bytes)
        try:
            group.path.mkdir()
        except OSError:
            continue
        if _is_set_up(group, limit_file):
            return group
        group.close()
    return None


def _remove_orphans(parent: Path) -> None:
    """Groups of a pytest that was killed; what still holds processes stays."""
    for path in parent.glob("leakguard-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            with suppress(OSError):
                path.rmdir()


def _parents(root: Path) -> Iterator[tuple[Path, str]]:
    """Where a group may be made, and the file that holds its limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            yield root / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
        elif not controllers:
            own = root / path.lstrip("/")
            # Version 2: a group with processes of its own has no groups with limits below it; one
            # beside it may do.
            for parent in (own, own.parent):
                if _hands_out_memory(parent):
                    yield parent, "memory.max"


def _hands_out_memory(parent: Path) -> bool:
    try:
        return "memory" in (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _is_set_up(group: MemoryGroup, limit_file: str) -> bool:
    try:
        (group.path / limit_file).write_text(str(group.limit_bytes))
        for name, value in (
            ("memory.swap.max", "0"),
            ("memory.memsw.limit_in_bytes", str(group.limit_bytes)),
            ("memory.oom.group", "1"),
        ):
            with suppress(OSError):  # not on every version, nor without swap
                if (group.path / name).exists():
                    (group.path / name).write_text(value)
        # Whether a process may be moved there shows only when a process is moved.
        command = f"echo 0 > {shlex.quote(str(group.path / 'cgroup.procs'))}"
        code, _, _ = supervisor.capture(["/bin/sh", "-c", command], _TRIAL_S)
    except (OSError, LeakguardError):
        return False
    return code == 0
