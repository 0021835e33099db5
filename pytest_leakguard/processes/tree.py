"""Who is there: a process and everything below it, through /proc. Linux only."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

_NOTES_BYTES = 8192
"""Bytes at the beginning of a program in which linkers place notes."""
_RUNTIMES = {"java": "jvm", "node": "v8", "nodejs": "v8", "deno": "v8"}
"""Runtimes that manage a heap of their own, by the name of the executable."""


def tree(root: int, ended: Collection[int] = ()) -> list[int]:
    """``root`` and everything below it, parents first.

    Processes that have ended and were not yet waited for are left out; ``ended`` are known ones.
    """
    found = [root]
    for pid in found:  # the list grows meanwhile
        found.extend(child for child in _children(pid) if child not in ended)
    return [pid for pid in found if is_alive(pid)]


def not_waited_for(pids: Iterable[int], known: Collection[int] = ()) -> list[int]:
    """Children of these processes that have ended, and that they have not asked about.

    Each takes an entry of the system's table of processes until then. Those that are ``known`` are
    not looked at again.
    """
    pids = list(pids)
    alive = set(pids)
    others = [child for pid in pids for child in _children(pid) if child not in alive]
    return [child for child in others if child in known or fields_of(child)[:1] == [b"Z"]]


def name(pid: int) -> str:
    """The name that the kernel has for it, also when it has ended; empty when it is gone."""
    _, _, rest = content_of(f"/proc/{pid}/stat").partition(b"(")
    return rest.rpartition(b")")[0].decode("utf-8", "backslashreplace")


def below(root: int, ended: Collection[int] = ()) -> list[int]:
    """Everything below ``root``, without itself."""
    return [pid for pid in tree(root, ended) if pid != root]


def exists(pid: int) -> bool:
    """Whether there is such a process; the cheapest question.

    A process that has ended and was not yet waited for counts.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def command(pid: int) -> str:
    """What the process calls itself; empty when it is gone."""
    words = content_of(f"/proc/{pid}/cmdline").split(b"\0")
    return b" ".join(words[:4]).decode("utf-8", "backslashreplace").strip()


def program(pid: int) -> str:
    """What the process runs and who started it; without numbers, as servers number workers."""
    fields = fields_of(pid)
    parent = fields[1].decode() if fields else ""
    return f"{parent} {re.sub(r'[0-9]+', '', command(pid))}"


def executable(pid: int) -> str:
    """The name of the file that the process runs; empty when it is gone or not ours to see."""
    return Path(target_of(Path(f"/proc/{pid}/exe"))).name


def is_go(pid: int) -> bool:
    """Whether the program was built by Go's compiler, whose heap calls no allocator of C.

    Its build id stands in a note near the beginning of the file.
    """
    try:
        with Path(f"/proc/{pid}/exe").open("rb") as program:
            return b"\0\0\0Go\0\0" in program.read(_NOTES_BYTES)
    except OSError:
        return False


def runtime(pids: Iterable[int]) -> str:
    """``jvm``, ``v8`` or ``go`` when such a process is in the tree; empty otherwise.

    The resident memory of such a runtime says little of what it keeps.
    """
    found: set[str] = set()
    for pid in pids:
        found.add(_RUNTIMES.get(executable(pid), ""))
        if is_go(pid):
            found.add("go")
    for name in ("jvm", "v8", "go"):
        if name in found:
            return name
    return ""


def fields_of(pid: int) -> list[bytes]:
    """``/proc/PID/stat`` from the state on; the command before it may hold anything."""
    content = content_of(f"/proc/{pid}/stat")
    return content[content.rindex(b")") + 2 :].split() if b")" in content else []


def content_of(path: str) -> bytes:
    """Empty when the process is gone or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a third of the time of open()
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


def target_of(entry: Path) -> str:
    """Where the link leads; empty when it is gone."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        # A Path per thread would cost more than the reading.
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a Path per thread
    except OSError:
        return []
    for task in tasks:  # any thread may fork
        children.extend(
            int(child) for child in content_of(f"/proc/{pid}/task/{task}/children").split()
        )
    return children


def is_alive(pid: int) -> bool:
    """Return whether it runs; one that has ended and was not yet waited for does not."""
    fields = fields_of(pid)
    return bool(fields) and (fields[0] not in b"ZX" or int(fields[17]) > 1)
