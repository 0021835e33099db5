"""Which temporary files and shared memory segments are this process's own.

A listing of their directories has those of others as well.
"""

from __future__ import annotations

import os
import stat
import tempfile
from typing import Any

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.counters.audit import listen
from pytest_leakguard.counters.originals import Original

NO_DIRECTORY = ("\0",)
"""A prefix that no path has, since none can contain the byte."""


SHARED = "/dev/shm/"
"""Where Linux keeps POSIX shared memory (``shm_open``) and named semaphores (``sem_open``)."""
_PYTHONS_OWN = ("psm_", "sem.mp-")
"""How ``multiprocessing`` begins its names there; events tell which are of this process."""


class TemporaryFiles:
    """Names created below the temporary directory, as audit events of the interpreter say.

    And those of segments in ``SHARED``, of which C code makes some that no event tells of.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._noted: list[str] = []
        """Since the last count; the strings are those of whoever has created the files."""
        self._root = ""
        self._ignored: tuple[str, ...] = ()
        self._listed: frozenset[str] = frozenset()
        """All that was in ``SHARED`` at the last count."""
        self._state: tuple[int, ...] | None = None
        """What tells whether anything has been made or removed there since."""
        self.is_watching = False

    def watch(self, ignored: tuple[str, ...] = ()) -> None:
        """Starts noting names.

        None below ``ignored``, whose owner removes them, as ``tmp_path``'s.
        """
        self._root = os.path.realpath(tempfile.gettempdir()) + os.sep
        self._ignored = ignored or NO_DIRECTORY
        self._forget()
        self._state = _state_of_directory()
        self._listed = _listing()
        self.is_watching = True

    def stop(self) -> None:
        """Notes nothing more and forgets what it noted."""
        self.is_watching = False
        self._forget()

    def _forget(self) -> None:
        self._names.clear()
        self._noted.clear()

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Takes one audit event; must never raise, since that would make the audited call fail."""
        path = args[0]
        if event == "os.truncate":  # what gives a new segment its size
            path = _segment_of(path)
        elif event == "open":
            flags = args[2]
            if not isinstance(flags, int) or not flags & os.O_CREAT:
                return
        if not isinstance(path, str) or not path.startswith((self._root, SHARED)):
            return
        if not path.startswith(self._ignored):
            self._noted.append(path)

    def count(self) -> int:
        """How many of them still exist; the others are forgotten."""
        self._take_noted()
        if self.is_watching:
            self._look_for_segments()
        if not self._names:
            return 0
        gone = [name for name in self._names if not Original.lexists(name)]
        self._names.difference_update(gone)
        return len(self._names)

    def _take_noted(self) -> None:
        """Keeps copies: a string of the test's own would be counted as what the test has kept."""
        while self._noted:
            self._names.add(_copied(self._noted.pop()))

    def _look_for_segments(self) -> None:
        """Those that C code of this process has made since the last look."""
        state = _state_of_directory()
        if state is not None and state == self._state:
            return
        listed = _listing()
        self._state = state
        if listed == self._listed:
            return
        for name in listed - self._listed:
            if not name.startswith(_PYTHONS_OWN) and _is_own(SHARED + name):
                self._names.add(SHARED + name)
        self._listed = listed

    def names(self) -> frozenset[str]:
        """Those that existed at the last count."""
        return frozenset(self._names)


SETTLED_NS = 1_000_000_000
"""A directory that has changed less than so many nanoseconds ago may change again without another
time: the kernel's clock for them moves on every 1 to 10 ms."""


def _state_of_directory() -> tuple[int, ...] | None:
    """Another one after each change in ``SHARED``; ``None`` while it is too fresh to tell."""
    try:
        found = Original.stat(SHARED)
    except OSError:
        return None
    if Clock.wall_ns() - found.st_mtime_ns < SETTLED_NS:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_dev


def _copied(path: str) -> str:
    return path.encode(errors="surrogatepass").decode(errors="surrogatepass")


def _listing() -> frozenset[str]:
    try:
        return frozenset(Original.listdir(SHARED))
    except OSError:  # no such directory on this platform
        return frozenset()


def _segment_of(descriptor: object) -> str:
    """The path behind a descriptor; empty where the argument is none."""
    if not isinstance(descriptor, int):
        return ""
    try:
        return Original.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def _is_own(path: str) -> bool:
    """Whether a new segment is of this user, and mapped by no other process as far as one sees.

    Looking through all processes takes long on a busy machine: first come the cheap questions.
    """
    try:
        found = Original.lstat(path)
    except OSError:  # it is gone already
        return False
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        return False
    if _maps("self", path):
        return True
    own = str(Original.getpid())
    processes = (name for name in Original.listdir("/proc") if name.isdecimal() and name != own)
    return not any(_maps(process, path) for process in processes)


def _maps(process: str, path: str) -> bool:
    try:
        with Original.open(f"/proc/{process}/maps", "rb") as maps:
            return path.encode(errors="surrogateescape") in maps.read()
    except OSError:  # it has ended, or is another user's
        return False


_FILES = TemporaryFiles()
"""The ones of this process."""
_EVENTS = ("open", "tempfile.mkstemp", "tempfile.mkdtemp", "os.mkdir", "os.truncate")


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if _FILES.is_watching:
        _FILES.note(event, args)


def temporary_files() -> TemporaryFiles:
    """The watcher of this process, installed on first use."""
    listen(_EVENTS, _on_event)
    return _FILES
