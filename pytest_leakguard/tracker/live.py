"""Live memory of other processes: what each request batch allocated and what of it is still alive.

The library ``_preload.so`` is preloaded into each process of a service and counts there, whatever
allocator the program has. The numbers are in a file of its own for each process, readable by the
user alone, so that a reading costs a memory read and stops nobody. What it cannot see is known:
a process without such a file (static programs, Go, setuid programs, whose loader ignores
preloading), or one that brings its own malloc.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from typing import Final

from pytest_leakguard.tracker import library

LIBRARY = Path(__file__).with_name("_preload.so")
"""Where the package's build puts it, on Linux."""
EPOCHS: Final = 4096
"""Epochs that a process can tell apart, epoch 0 included."""

MOST_SEARCHED_BYTES: Final = 1 << 30
"""Upper limit of the writable memory of a process that is searched, in bytes; a gibibyte takes
about a second."""

_PREFIX: Final = "leakguard-live-"
_MOST_LEFT: Final = 64
"""Files of processes that have ended, some pages each, that may be there before they are swept."""
_MAGIC: Final = 0x4C474C56
_VERSION: Final = 2
_HEADER_BYTES: Final = 4096
_STRIPES: Final = 64
_WORDS: Final = 4
"""Numbers of an epoch: bytes and number of blocks, bytes and number of mappings."""
_FILE_BYTES: Final = _HEADER_BYTES + _STRIPES * EPOCHS * _WORDS * 8
_MEMORY_FILES = Path("/dev/shm")
_TRACED: Final = 1 << 31
"""Added to the epoch while the calls are wanted that allocate."""
_SANITIZERS = ("libasan", "liblsan", "libtsan", "libubsan", "libclang_rt")
"""Libraries that have to come before all others."""


@dataclass(frozen=True, slots=True)
class ProcessLive:
    """What one process holds alive; each sequence is by epoch, from epoch 0 on."""

    sees_all: bool
    """False: the program brings its own malloc."""
    has_python: bool
    """Whether the interpreter's own blocks are counted one by one."""
    first_epoch: int
    """Blocks of this epoch and of those before may be copies of the parent's."""
    own_bytes: int
    """Private memory of the tracker's own."""
    lost: int
    """Blocks that could not be entered."""
    peak_bytes: int
    """The most that was ever in blocks at once, to 16 KiB for each thread."""
    cells_root: int
    """Where the process keeps what it knows of its blocks."""
    traces: int
    """Where it keeps which calls have allocated what, once it was asked to."""
    heap_bytes: Sequence[int]
    heap_blocks: Sequence[int]
    mapped_bytes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Held:
    """How blocks are held: by nothing in their process any more, by one another, or otherwise."""

    bytes: int = 0
    """In all the blocks that were asked for."""
    lost_bytes: int = 0
    """In those that nothing leads to."""
    linked_bytes: int = 0
    """In those whose followers were asked for too."""
    chained_bytes: int = 0
    """Of the epochs that nothing leads to but the next ones: the newest block leads to the one
    before, and so on. Whatever has a bound finds its oldest entry in fewer steps."""

    @property
    def lost_share(self) -> float:
        return self.lost_bytes / self.bytes if self.bytes else 0.0

    @property
    def chained_share(self) -> float:
        return self.chained_bytes / self.linked_bytes if self.linked_bytes else 0.0

    def __add__(self, other: Held) -> Held:
        return Held(
            self.bytes + other.bytes,
            self.lost_bytes + other.lost_bytes,
            self.linked_bytes + other.linked_bytes,
            self.chained_bytes + other.chained_bytes,
        )


class _Lost(ctypes.Structure):
    _fields_ = (
        ("blocks", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("lost_blocks", ctypes.c_uint64),
        ("lost_bytes", ctypes.c_uint64),
        ("linked_bytes", ctypes.c_uint64),
        ("chained_bytes", ctypes.c_uint64),
    )


def find_held(pid: int, counted: ProcessLive, first: int, last: int) -> Held | None:
    """Search the process for what leads to its blocks of the epochs ``first`` to ``last``.

    ``None`` where it cannot be searched: not permitted, or too large. It is not stopped.
    """
    try:
        search = ctypes.CDLL(str(library.LIBRARY)).tracker_lost_blocks
    except (OSError, AttributeError):
        return None
    search.argtypes = (
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_uint64,
        ctypes.POINTER(_Lost),
    )
    found = _Lost()
    error = search(pid, counted.cells_root, first, last, MOST_SEARCHED_BYTES, ctypes.byref(found))
    if error:
        return None
    return Held(found.bytes, found.lost_bytes, found.linked_bytes, found.chained_bytes)


def remove_abandoned(parent: Path) -> None:
    """Remove folders of runs of this user that were killed: nobody holds their lock any more."""
    import fcntl

    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            with (folder / "control").open("rb") as control:
                fcntl.flock(control, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def can_be_preloaded(environment: Mapping[str, str]) -> bool:
    """Whether there is a library that the loader of a program in this environment would take."""
    given = environment.get("LD_PRELOAD", "")
    has_sanitizer = any(name in given for name in _SANITIZERS)
    return sys.platform == "linux" and LIBRARY.is_file() and not has_sanitizer


@dataclass(slots=True)
class LiveMemory:
    """The folder in which processes count, and its readings."""

    folder: Path
    _control: mmap.mmap
    _files: dict[int, _File] = field(default_factory=dict)
    _epoch: int = 0
    _tracings: int = 0
    _is_traced: bool = False

    @classmethod
    def create(cls) -> LiveMemory:
        """Make the folder, and the file with the current epoch; raises ``OSError``."""
        import fcntl  # not on Windows, where nothing is preloaded

        # Files on a disk would be written back again and again.
        parent = _MEMORY_FILES if os.access(_MEMORY_FILES, os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        remove_abandoned(folder.parent)
        unnamed = folder / "new"
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # as long as it is mapped
            os.ftruncate(descriptor, mmap.PAGESIZE)
            control = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        unnamed.rename(folder / "control")
        return cls(folder, control)

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the variables for the processes to be counted; ``given`` is what they have.

        Before what the service preloads itself: what is called first counts.
        """
        preloaded = f"{LIBRARY} {given.get('LD_PRELOAD', '')}".strip()
        return {"LD_PRELOAD": preloaded, "LEAKGUARD_LIVE": str(self.folder)}

    def begin_epoch(self, epoch: int) -> None:
        """What is allocated from now on belongs to ``epoch``; beyond the last one, to that."""
        self._epoch = min(epoch, EPOCHS - 1)
        self._write_control()

    def trace(self, is_wanted: bool) -> None:
        """Have each process note which calls allocate, from nothing on; or no longer."""
        self._tracings += is_wanted
        self._is_traced = is_wanted
        self._write_control()

    def _write_control(self) -> None:
        # The number first: whoever sees that it is traced has to know by which tracing.
        self._control[4:8] = self._tracings.to_bytes(4, sys.byteorder)
        raw = self._epoch | (_TRACED if self._is_traced else 0)
        self._control[:4] = raw.to_bytes(4, sys.byteorder)

    def read(self, pids: Iterable[int], epochs: int) -> dict[int, ProcessLive]:
        """Return what is known of each process, up to epoch ``epochs`` and with it."""
        wanted = list(pids)
        found: dict[int, ProcessLive] = {}
        for pid in wanted:
            file = self._file(pid)
            reading = file.read(min(epochs, EPOCHS - 1) + 1) if file else None
            if reading is not None:
                found[pid] = reading
        return found

    def _file(self, pid: int) -> _File | None:
        path = self.folder / str(pid)
        try:
            status = path.stat()
        except OSError:
            self._drop(pid)
            return None
        known = self._files.get(pid)
        # A process that replaced itself (exec) has made a new file.
        if known is not None and known.inode == status.st_ino:
            return known
        self._drop(pid)
        if status.st_size != _FILE_BYTES:
            return None
        with path.open("rb") as opened:
            memory = mmap.mmap(opened.fileno(), _FILE_BYTES, prot=mmap.PROT_READ)
        self._files[pid] = _File(status.st_ino, memory)
        return self._files[pid]

    def _drop(self, pid: int) -> None:
        known = self._files.pop(pid, None)
        if known is not None:
            known.memory.close()

    def sweep_when_crowded(self, alive: Sequence[int]) -> None:
        """Remove files of processes that have ended without it, as by ``_exit``, where many did.

        A service with a child for each request would fill the memory with them.
        """
        if len(list(self.folder.iterdir())) > len(alive) + _MOST_LEFT:
            self.sweep(alive)

    def sweep(self, alive: Iterable[int]) -> None:
        """Remove the files of processes that were killed; others do it themselves."""
        kept = {str(pid) for pid in alive} | {"control"}
        for path in self.folder.iterdir():
            if path.name not in kept and not Path(f"/proc/{path.name}").exists():
                path.unlink(missing_ok=True)
                self._drop(int(path.name))

    def close(self) -> None:
        """Remove the folder; processes that still run go on counting in files without a name."""
        for pid in list(self._files):
            self._drop(pid)
        self._control.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _File:
    """The counts of one process. The layout is that of ``native/preload/live.h``."""

    inode: int
    memory: mmap.mmap

    def read(self, epochs: int) -> ProcessLive | None:
        with memoryview(self.memory) as view, view.cast("I") as words, view.cast("q") as numbers:
            if (words[0], words[1]) != (_MAGIC, _VERSION):
                return None  # not filled in yet
            stripes = max(1, words[5])
            return ProcessLive(
                sees_all=words[4] == 0,
                has_python=bool(words[6]),
                first_epoch=words[3],
                own_bytes=numbers[4],
                lost=numbers[5],
                peak_bytes=numbers[7],
                cells_root=numbers[8],
                traces=numbers[9],
                heap_bytes=_summed(numbers, 0, stripes, epochs),
                heap_blocks=_summed(numbers, 1, stripes, epochs),
                mapped_bytes=_summed(numbers, 2, stripes, epochs),
            )


def _summed(numbers: memoryview, word: int, stripes: int, epochs: int) -> list[int]:
    """Return the sums over the threads, by epoch."""
    total = [0] * epochs
    for stripe in range(stripes):
        first = _HEADER_BYTES // 8 + stripe * EPOCHS * _WORDS + word
        part = numbers[first : first + epochs * _WORDS : _WORDS]
        total = list(map(add, total, part.tolist()))
    return total
