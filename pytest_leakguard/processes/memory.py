"""One sample of a process tree through /proc: memory, descriptors, threads.

Judges nothing; Linux only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pytest_leakguard.processes.tree import content_of, fields_of

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
    shared: int = 0
    """Shared memory and files in ``/dev/shm`` that it has in its own address space."""
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
        """Anonymous and swapped-out memory: what is judged.

        It does not move with other processes, as PSS does.
        """
        return sum(process.anonymous + process.swap for process in self.processes)

    @property
    def shared_bytes(self) -> int:
        """Of the process that has most: others mostly share the same pages with it."""
        return max((process.shared for process in self.processes), default=0)

    @property
    def rss(self) -> int:
        return sum(process.rss for process in self.processes)

    @property
    def private_dirty(self) -> int:
        return sum(process.private_dirty for process in self.processes)

    @property
    def threads(self) -> int:
        return sum(process.threads for process in self.processes)

    @property
    def descriptors(self) -> int:
        return sum(process.descriptors for process in self.processes)


def read(pids: Iterable[int]) -> Reading:
    """The processes that are still there; those that end meanwhile are left out."""
    found = (_process(pid) for pid in pids)
    return Reading(tuple(reading for reading in found if reading is not None))


def read_quickly(pids: Iterable[int], started: Mapping[int, int]) -> Reading:
    """As ``read``, at a tenth of its cost: from the kernel's own counters, not its page tables.

    Without dirty pages, and with the start of each process as ``started`` holds it from an earlier
    reading. Whether the counters are exact depends on the kernel (6.2 to 6.16 keep part of them per
    CPU): compare with ``read`` first.
    """
    found = (_quickly(pid, started.get(pid, 0)) for pid in pids)
    return Reading(tuple(reading for reading in found if reading is not None))


def _quickly(pid: int, started: int) -> ProcessReading | None:
    content, fields = content_of(f"/proc/{pid}/status"), fields_of(pid)
    numbers = dict(_numbers_in(content))
    if not content or not fields or fields[0] in b"ZX":
        return None
    return ProcessReading(
        pid,
        started,
        rss=numbers.get(b"VmRSS", 0) * 1024,
        anonymous=numbers.get(b"RssAnon", 0) * 1024,
        swap=numbers.get(b"VmSwap", 0) * 1024,
        shared=numbers.get(b"RssShmem", 0) * 1024,
        threads=numbers.get(b"Threads", 0),
        descriptors=_descriptor_count(pid),
        ticks=_ticks(fields),
    )


def _numbers_in(status: bytes) -> Iterator[tuple[bytes, int]]:
    """The wanted lines of /proc/PID/status; found without splitting all of it, which costs more."""
    for name in (b"VmRSS", b"RssAnon", b"RssShmem", b"VmSwap", b"Threads"):
        at = status.find(b"\n" + name + b":")
        if at >= 0:
            yield name, int(status[at:].split(None, 2)[1])


def _descriptor_count(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - hundreds of Paths per sample
    except OSError:
        return 0


def unreadable(pids: Iterable[int]) -> tuple[int, ...]:
    """The processes whose descriptors we may not see; a count of 0 would be made up.

    Those are processes of another user, and such as have changed theirs (proc(5), "dumpable").
    """
    hidden = []
    for pid in pids:
        try:
            os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - as the count itself is made
        except PermissionError:
            hidden.append(pid)
        except OSError:
            continue  # it has ended
    return tuple(hidden)


def _process(pid: int) -> ProcessReading | None:
    fields = fields_of(pid)
    if not fields or fields[0] in b"ZX":
        return None
    sizes = dict.fromkeys(_ROLLUP.values(), 0)
    rollup = content_of(f"/proc/{pid}/smaps_rollup")
    for line in rollup.splitlines():
        name, _, value = line.partition(b" ")
        if name in _ROLLUP:
            sizes[_ROLLUP[name]] = int(value.split()[0]) * 1024
    if not rollup:  # kernels before 4.14, or another user's process
        sizes |= _from_status(pid)
    status = dict(_numbers_in(content_of(f"/proc/{pid}/status")))
    return ProcessReading(
        pid,
        int(fields[19]),
        shared=status.get(b"RssShmem", 0) * 1024,
        threads=int(fields[17]),
        descriptors=_descriptor_count(pid),
        ticks=_ticks(fields),
        **sizes,
    )


def _ticks(fields: list[bytes]) -> int:
    return int(fields[11]) + int(fields[12])  # in user mode and in the kernel


def _from_status(pid: int) -> Mapping[str, int]:
    wanted = {b"VmRSS:": "rss", b"RssAnon:": "anonymous", b"VmSwap:": "swap"}
    sizes: dict[str, int] = {}
    for line in content_of(f"/proc/{pid}/status").splitlines():
        words = line.split()
        if words and words[0] in wanted:
            sizes[wanted[words[0]]] = int(words[1]) * 1024
    return sizes
