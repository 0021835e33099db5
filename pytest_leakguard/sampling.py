"""Reads one process tree through /proc: memory, descriptors, threads, children. Judges nothing; Linux only."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROLLUP = {
    b"Rss:": "rss",
    b"Anonymous:": "anonymous",
    b"Swap:": "swap",
    b"Private_Dirty:": "private_dirty",
}


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One process at one moment; sizes in bytes."""

    pid: int
    started: int
    """Clock ticks since boot; tells two processes with the same id apart."""
    rss: int = 0
    anonymous: int = 0
    swap: int = 0
    private_dirty: int = 0
    threads: int = 0
    descriptors: int = 0
    ticks: int = 0
    """Processor time used so far, in the kernel's clock ticks."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole tree at one moment."""

    processes: tuple[ProcessReading, ...]

    @property
    def private_bytes(self) -> int:
        """Anonymous and swapped-out memory: what is judged. It does not move with other processes, as PSS does."""
        return sum(one.anonymous + one.swap for one in self.processes)

    @property
    def rss(self) -> int:
        return sum(one.rss for one in self.processes)

    @property
    def private_dirty(self) -> int:
        return sum(one.private_dirty for one in self.processes)

    @property
    def threads(self) -> int:
        return sum(one.threads for one in self.processes)

    @property
    def descriptors(self) -> int:
        return sum(one.descriptors for one in self.processes)


def read(pids: Iterable[int]) -> Reading:
    """The processes that are still there; those that end meanwhile are left out."""
    found = (_process(pid) for pid in pids)
    return Reading(tuple(one for one in found if one is not None))


def read_quickly(pids: Iterable[int], known: Mapping[int, int]) -> Reading:
    """As ``read``, at a tenth of its cost: from the kernel's own counters, without a walk over the page tables.

    Without dirty pages, and with the start of each process as ``known`` from an earlier reading. Whether the
    counters are exact depends on the kernel (6.2 to 6.16 keep part of them per CPU): compare with ``read`` first.
    """
    found = (_quickly(pid, known.get(pid, 0)) for pid in pids)
    return Reading(tuple(one for one in found if one is not None))


def _quickly(pid: int, started: int) -> ProcessReading | None:
    content, fields = _bytes(f"/proc/{pid}/status"), _fields(pid)
    numbers = {name: int(content[at:].split(None, 2)[1]) for name, at in _fields_at(content)}
    if not content or not fields or fields[0] in b"ZX":
        return None
    return ProcessReading(
        pid,
        started,
        rss=numbers.get(b"VmRSS", 0) * 1024,
        anonymous=numbers.get(b"RssAnon", 0) * 1024,
        swap=numbers.get(b"VmSwap", 0) * 1024,
        threads=numbers.get(b"Threads", 0),
        descriptors=_descriptor_count(pid),
        ticks=_ticks(fields),
    )


def _fields_at(content: bytes) -> Iterable[tuple[bytes, int]]:
    for name in (b"VmRSS", b"RssAnon", b"VmSwap", b"Threads"):
        at = content.find(b"\n" + name + b":")
        if at >= 0:
            yield name, at


def _descriptor_count(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - hundreds of Paths per sample
    except OSError:
        return 0


def tree(root: int) -> list[int]:
    """``root`` and everything below it, parents first; without those that have ended and were not yet waited for."""
    found = [root]
    for pid in found:  # grows while we walk it
        found.extend(_children(pid))
    return [pid for pid in found if _is_alive(pid)]


def below(root: int) -> list[int]:
    """Everything below ``root``, without itself."""
    return [pid for pid in tree(root) if pid != root]


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a Path per thread costs more than the reading
    except OSError:
        return []
    for task in tasks:  # any thread may fork
        children.extend(int(child) for child in _bytes(f"/proc/{pid}/task/{task}/children").split())
    return children


def _fields(pid: int) -> list[bytes]:
    """``/proc/PID/stat`` from the state on; the command before it may hold anything."""
    content = _bytes(f"/proc/{pid}/stat")
    return content[content.rindex(b")") + 2 :].split() if b")" in content else []


def _is_alive(pid: int) -> bool:
    fields = _fields(pid)
    return bool(fields) and (fields[0] not in b"ZX" or int(fields[17]) > 1)


def exists(pid: int) -> bool:
    """Whether there is such a process, be it one that has ended and was not yet waited for: the least to ask."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def command(pid: int) -> str:
    """What the process calls itself; empty when it is gone."""
    words = _bytes(f"/proc/{pid}/cmdline").split(b"\0")
    return b" ".join(words[:4]).decode("utf-8", "backslashreplace").strip()


def program(pid: int) -> str:
    """What the process runs and who started it; numbers left out, as servers number their workers."""
    fields = _fields(pid)
    parent = fields[1].decode() if fields else ""
    return f"{parent} {re.sub(r'[0-9]+', '', command(pid))}"


def _process(pid: int) -> ProcessReading | None:
    fields = _fields(pid)
    if not fields or fields[0] in b"ZX":
        return None
    sizes = dict.fromkeys(_ROLLUP.values(), 0)
    rollup = _bytes(f"/proc/{pid}/smaps_rollup")
    for line in rollup.splitlines():
        name, _, value = line.partition(b" ")
        if name in _ROLLUP:
            sizes[_ROLLUP[name]] = int(value.split()[0]) * 1024
    if not rollup:  # kernels before 4.14, or another user's process
        sizes |= _from_status(pid)
    return ProcessReading(
        pid,
        int(fields[19]),
        threads=int(fields[17]),
        descriptors=_descriptor_count(pid),
        ticks=_ticks(fields),
        **sizes,
    )


def _ticks(fields: list[bytes]) -> int:
    return int(fields[11]) + int(fields[12])  # in user mode and in the kernel


def _from_status(pid: int) -> Mapping[str, int]:
    wanted = {b"VmRSS:": "rss", b"RssAnon:": "anonymous", b"VmSwap:": "swap"}
    lines = (line.split() for line in _bytes(f"/proc/{pid}/status").splitlines())
    return {wanted[line[0]]: int(line[1]) * 1024 for line in lines if line and line[0] in wanted}


def mappings(pids: Iterable[int]) -> dict[str, int]:
    """Resident bytes by kind of mapping: heap, anonymous, stack, file, shared. Dearer than ``read``."""
    sizes: Counter[str] = Counter()
    for pid in pids:
        kind = ""
        for line in _bytes(f"/proc/{pid}/smaps").splitlines():
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
        directory = Path(f"/proc/{pid}/fd")
        try:
            entries = list(directory.iterdir())
        except OSError:
            continue
        kinds.update(kind for entry in entries if (kind := _descriptor_kind(entry)))
    return dict(kinds)


def _descriptor_kind(entry: Path) -> str:
    try:
        target = str(entry.readlink())
        mode = entry.stat().st_mode
    except OSError:
        return ""
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]")
    for name, is_kind in (("socket", stat.S_ISSOCK), ("pipe", stat.S_ISFIFO), ("directory", stat.S_ISDIR)):
        if is_kind(mode):
            return name
    return "file" if stat.S_ISREG(mode) else "device"


def page_cache_bytes(pid: int) -> int | None:
    """Page cache of the process's control group: full memory that is no leak. ``None`` where it cannot be read."""
    for line in _bytes(f"/proc/{pid}/cgroup").decode(errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            file, key = f"/sys/fs/cgroup{path}/memory.stat", b"file"
        elif controllers == "memory":
            file, key = f"/sys/fs/cgroup/memory{path}/memory.stat", b"total_cache"
        else:
            continue
        for entry in _bytes(file).splitlines():
            name, _, value = entry.partition(b" ")
            if name == key:
                return int(value)
    return None


def listens_on(pids: Iterable[int], port: int) -> bool:
    """Whether one of these processes has a TCP socket that listens on ``port``."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in _bytes(f"/proc/net/{table}").splitlines()[1:]:
            words = line.split()
            if words[3] == b"0A" and int(words[1].rpartition(b":")[2], 16) == port:
                inodes.add(f"socket:[{words[9].decode()}]")
    return bool(inodes) and any(_link(entry) in inodes for pid in pids for entry in _entries(pid))


def _entries(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""


def _bytes(path: str) -> bytes:
    """Empty when the process is gone or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a third of the time that open() takes
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def oom_kills(pid: int) -> int:
    """How many processes of this one's control group the kernel has killed for memory; 0 where it does not say."""
    for line in _bytes(f"/proc/{pid}/cgroup").decode(errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        file = {"": f"/sys/fs/cgroup{path}/memory.events", "memory": f"/sys/fs/cgroup/memory{path}/memory.oom_control"}
        for entry in _bytes(file.get(controllers, "")).splitlines():
            name, _, value = entry.partition(b" ")
            if name == b"oom_kill":
                return int(value)
    return 0


def runtime(pids: Iterable[int]) -> str:
    """``jvm`` or ``v8`` when such a process is in the tree: its resident memory says little of what it keeps."""
    known = {"java": "jvm", "node": "v8", "nodejs": "v8", "deno": "v8"}
    found = {known.get(Path(_link(Path(f"/proc/{pid}/exe"))).name, "") for pid in pids}
    return "jvm" if "jvm" in found else "v8" if "v8" in found else ""
