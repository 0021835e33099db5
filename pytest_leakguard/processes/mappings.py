"""What a process tree and its control group have, by kind: mappings, descriptors, listeners, kills.

For the start and the end of a run: it costs too much for every sample.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pytest_leakguard.processes.tree import content_of, target_of


def mappings(pids: Iterable[int]) -> dict[str, int]:
    """Resident bytes by kind of mapping: heap, anonymous, stack, file, shared.

    It costs more than ``memory.read``.
    """
    sizes: Counter[str] = Counter()
    for pid in pids:
        kind = ""
        for line in content_of(f"/proc/{pid}/smaps").splitlines():
            words = line.split()
            if line.startswith(b"Rss:"):
                sizes[kind] += int(words[1]) * 1024
            elif not words[0].endswith(b":"):
                kind = _kind(words)
    return dict(sizes)


def _kind(words: list[bytes]) -> str:
    name = words[5] if len(words) > 5 else b""
    if name.startswith((b"[heap", b"[stack")):
        return name[1:].split(b":")[0].rstrip(b"]").decode()
    if words[1].endswith(b"s"):
        return "shared"
    return "file" if name.startswith(b"/") else "anonymous"


def descriptors(pids: Iterable[int]) -> dict[str, int]:
    """Open descriptors by kind: socket, pipe, file, directory, device, eventpoll and the like."""
    kinds: Counter[str] = Counter()
    for pid in pids:
        for entry in _entries(pid):
            if kind := _descriptor_kind(entry):
                kinds[kind] += 1
    return dict(kinds)


def _descriptor_kind(entry: Path) -> str:
    try:
        target = str(entry.readlink())
        mode = entry.stat().st_mode
    except OSError:
        return ""
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    for name, is_kind in (
        ("socket", stat.S_ISSOCK),
        ("pipe", stat.S_ISFIFO),
        ("directory", stat.S_ISDIR),
    ):
        if is_kind(mode):
            return name
    return "file" if stat.S_ISREG(mode) else "device"


def page_cache_bytes(pid: int) -> int | None:
    """Page cache of the process's control group: full memory that is no leak.

    ``None`` where it cannot be read.
    """
    for line in content_of(f"/proc/{pid}/cgroup").decode(errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            file, key = f"/sys/fs/cgroup{path}/memory.stat", b"file"
        elif controllers == "memory":
            file, key = f"/sys/fs/cgroup/memory{path}/memory.stat", b"total_cache"
        else:
            continue
        for entry in content_of(file).splitlines():
            name, _, value = entry.partition(b" ")
            if name == key:
                return int(value)
    return None


def listens_on(pids: Iterable[int], port: int) -> bool:
    """Whether one of these processes has a TCP socket that listens on ``port``."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in content_of(f"/proc/net/{table}").splitlines()[1:]:
            words = line.split()
            if words[3] == b"0A" and int(words[1].rpartition(b":")[2], 16) == port:
                inodes.add(f"socket:[{words[9].decode()}]")
    if not inodes:
        return False
    descriptors_of_all = (entry for pid in pids for entry in _entries(pid))
    return any(target_of(entry) in inodes for entry in descriptors_of_all)


def _entries(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def oom_kills(pid: int) -> int:
    """How many processes of this process's control group the kernel has killed for memory.

    0 where it does not say.
    """
    for line in content_of(f"/proc/{pid}/cgroup").decode(errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        file = {
            "": f"/sys/fs/cgroup{path}/memory.events",
            "memory": f"/sys/fs/cgroup/memory{path}/memory.oom_control",
        }
        for entry in content_of(file.get(controllers, "")).splitlines():
            name, _, value = entry.partition(b" ")
            if name == b"oom_kill":
                return int(value)
    return 0


def descriptor_limit(pid: int) -> int:
    """How many descriptors the process may have open; 0 where that is not known or unlimited."""
    for line in content_of(f"/proc/{pid}/limits").splitlines():
        if line.startswith(b"Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else 0
    return 0
