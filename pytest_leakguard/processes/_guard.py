"""Starts one target, watches it, and leaves no process of it behind. Must never import this package.

A program of its own, ``python -I -S guard.py``, so that the target is cleaned up even when pytest is killed,
and so that nothing in the target's environment reaches the one that supervises it. It talks with
``process.run`` over the socket it gets as standard input: the specification comes in, the result goes out as
lines of JSON, and end of file means that pytest is gone. Every run pays for its start-up, which is why it
does without json, dataclasses and subprocess: each of them costs as much as all that is here.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable

CONTROL_FD = 0
TICK_S = 0.05
"""Between two looks at the process tree, where there is a reason to look at all."""
ORPHAN_SIGNALS = ((int(signal.SIGTERM), 1.0),)
"""When pytest is gone nobody reads a report any more, so there is nothing to wait for."""
KILL_S = 10.0
"""SIGKILL does nothing to another user's process, nor to one that is stuck in the kernel."""

# What a wait ended with.
OVER, LATE, MEMORY, STOP, ORPHANED = "over", "late", "memory", "stop", "orphaned"
# PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
PDEATHSIG, CHILD_SUBREAPER = 1, 36


class Spec:
    """What to start and when to end it, as ``process`` wrote it: ``name=value`` fields between NULs."""

    def __init__(self, payload: bytes) -> None:
        fields: dict[bytes, list[bytes]] = {}
        for field in payload.split(b"\0"):  # neither arguments nor the environment can hold a NUL
            name, _, value = field.partition(b"=")
            fields.setdefault(name, []).append(value)
        self.argv = fields[b"arg"]
        self.env: dict[bytes, bytes] = {}
        for variable in fields.get(b"env", []):
            name, _, value = variable.partition(b"=")
            self.env[name] = value
        self.cwd = fields.get(b"cwd", [b""])[0]
        self.control_group = fields.get(b"control_group", [b""])[0]
        self.stdin = fields.get(b"stdin", [b""])[0]
        self.timeout_s = float(fields[b"timeout_s"][0])
        self.grace_s = float(fields[b"grace_s"][0])
        self.memory_limit_bytes = int(fields.get(b"memory_limit_bytes", [b"0"])[0])
        stops = (stop.split() for stop in fields.get(b"stop", []))
        self.stop_signals = tuple((int(number), float(seconds)) for number, seconds in stops)


class Tree:
    """The target and every process below it, whatever session they moved to and whoever started them."""

    def __init__(self, spec: Spec, sees_descendants: bool) -> None:
        self.spec = spec
        self.sees_descendants = sees_descendants
        """Orphans come to us and /proc can be read; otherwise only the target's process group is known."""
        self.wait_status: int | None = None
        """The target's own, as ``waitpid`` gave it; ``None`` while it lives."""
        self.memory_exceeded_bytes = 0
        self.last_reaped_pid = 0
        self.started = self.ended = time.monotonic()
        self._has_children = True
        self._wakeup_fd = _wakeup_on((signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        self._poll = select.poll()
        self._poll.register(CONTROL_FD, select.POLLIN)
        self._poll.register(self._wakeup_fd, select.POLLIN)
        self._failure_fd, child_fd = (
            os.pipe()
        )  # closed by a successful exec, so it then reads empty
        self.pid = os.fork()
        if self.pid == 0:
            _become_target(spec, child_fd)
        os.close(child_fd)

    def has_target_ended(self) -> bool:
        return self.wait_status is not None

    def is_empty(self) -> bool:
        """Nothing lives any more. Exact where orphans come to us: then the last one alive is our child."""
        return not self._has_children and (self.sees_descendants or not self.alive())

    def alive(self) -> list[int]:
        """Process ids, the target's first; its process group as a negative number where that is all we know."""
        if self.sees_descendants:
            return sorted(_descendants(), key=lambda pid: pid != self.pid)
        return [-self.pid] if _send(-self.pid, 0) else []

    def failure(self) -> tuple[str, int] | None:
        """The step at which the target could not be started, and the error number; ``None`` when it was."""
        os.set_blocking(self._failure_fd, False)
        try:
            step, _, number = os.read(self._failure_fd, 64).partition(b" ")
        except BlockingIOError:  # stopped before it got as far as its exec
            return None
        return (step.decode(), int(number)) if step else None

    def wait(self, seconds: float, is_over: Callable[[], bool], stop_signal: int = 0) -> str:
        """Until ``is_over``, or the reason to wait no longer. Sends ``stop_signal`` to all, once to each."""
        deadline = time.monotonic() + seconds
        signalled: set[int] = set()
        while True:
            self._reap()
            if is_over():
                return OVER
            if stop_signal:  # again on every turn: a process may have forked while we looked
                for pid in self.alive():
                    if pid not in signalled:
                        signalled.add(pid)
                        _send(pid, stop_signal)
            cost_s = self._measure_memory()
            if self.memory_exceeded_bytes:
                return MEMORY
            left = deadline - time.monotonic()
            if left <= 0:
                return LATE
            needs_look = stop_signal or self.spec.memory_limit_bytes or self.has_target_ended()
            # Never more than a fifth of one core, on machines with thousands of processes.
            event = self._sleep(min(left, max(TICK_S, 4 * cost_s)) if needs_look else left)
            if event:
                return event

    def stop(self, signals: tuple[tuple[int, float], ...]) -> None:
        """End every process: the signals in turn, each with its time to act, then SIGKILL."""
        for number, seconds in signals:
            event = self.wait(seconds, self.is_empty, number)
            if event == ORPHANED and signals is not ORPHAN_SIGNALS:
                return self.stop(ORPHAN_SIGNALS)
            if event == OVER:
                return None
        return self.kill()

    def kill(self) -> None:
        """SIGKILL to every process, until there is none left or it is plain that it has no effect."""
        give_up = time.monotonic() + KILL_S
        self._reap()
        while not self.is_empty() and time.monotonic() < give_up:
            groups = (
                _descendants(dead_too=True)
                if self.sees_descendants
                else dict.fromkeys(self.alive(), 0)
            )
            # By group first, that of the dead too: it takes all members at once, so that a chain of quick
            # forks cannot run ahead of us. Between fork and setsid the target is in our own group.
            for group in set(groups.values()) - {0, os.getpgrp()}:
                _send(-group, signal.SIGKILL)
            for pid in groups:
                _send(pid, signal.SIGKILL)
            self._sleep(0.01)
            self._reap()

    def _reap(self) -> None:
        while self._has_children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._has_children = False
                return
            if pid == 0:
                return
            self.last_reaped_pid = pid
            if pid == self.pid:
                self.wait_status = status
                self.ended = time.monotonic()

    def _measure_memory(self) -> float:
        """Compare the resident bytes of the tree with the limit; return the seconds that took."""
        if not self.spec.memory_limit_bytes or self.memory_exceeded_bytes:
            return 0.0
        before = time.monotonic()
        resident_bytes = sum(_resident_bytes(pid) for pid in _descendants())
        if resident_bytes > self.spec.memory_limit_bytes:
            self.memory_exceeded_bytes = resident_bytes
        return time.monotonic() - before

    def _sleep(self, seconds: float) -> str:
        """Until a child ends, somebody tells us something (then what), or the time is up."""
        event = ""
        for ready_fd, _ in self._poll.poll(int(min(seconds, 3600.0) * 1000) + 1):
            if ready_fd == self._wakeup_fd:
                numbers = os.read(self._wakeup_fd, 4096)  # one byte per signal
                if signal.SIGHUP in numbers:  # the kernel's word that pytest died; see ``main``
                    event = ORPHANED
                elif signal.SIGTERM in numbers or signal.SIGINT in numbers:
                    event = event or STOP
            elif _read(CONTROL_FD, 64):
                event = event or STOP
            else:
                self._poll.unregister(CONTROL_FD)
                event = ORPHANED
        return event


def _wakeup_on(numbers: tuple[int, ...]) -> int:
    """A descriptor that gets readable on these signals: they can arrive at any moment and none is missed."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return read_fd


def _become_target(spec: Spec, failure_fd: int) -> None:
    """In the forked child: never returns; what goes wrong is told through ``failure_fd``."""
    step = b"session"
    try:
        os.setsid()  # a Ctrl-C at the terminal is for pytest, which then has us stop the target in order
        _prctl(PDEATHSIG, signal.SIGKILL)
        _default_signals()
        # The soft limit only: a target that asks for its core shall get it. valgrind looks at it as well.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        step = b"control_group"
        if spec.control_group:
            membership = os.open(spec.control_group + b"/cgroup.procs", os.O_WRONLY)
            os.write(membership, b"0")  # 0: whoever writes it
            os.close(membership)
        step = b"stdin"
        os.dup2(os.open(spec.stdin or os.devnull, os.O_RDONLY), 0)
        step = b"cwd"
        if spec.cwd:
            os.chdir(spec.cwd)
        step = b"exec"
        os.execvpe(spec.argv[0], spec.argv, spec.env)
    except Exception as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        os.write(failure_fd, b"%s %d" % (step, number))
    finally:
        os._exit(127)


def _default_signals() -> None:
    """However pytest was started (nohup, in the background), the target begins as from a fresh shell."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _prctl(option: int, argument: int) -> bool:
    """Whether the kernel did it; never on anything but Linux."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes  # a Python built without libffi has none
    except ImportError:
        return False
    return bool(ctypes.CDLL(None).prctl(option, argument, 0, 0, 0) == 0)


def _send(pid: int, number: int) -> bool:
    """Whether there was somebody to signal; ``pid`` below zero is a process group."""
    try:
        os.kill(pid, number)
    except OSError:  # gone, or (macOS) a group of nothing but zombies, or not ours to signal
        return False
    return True


def _descendants(dead_too: bool = False) -> dict[int, int]:
    """All processes below this one, with their process groups; zombies only when asked for."""
    children: dict[int, list[int]] = {}
    groups: dict[int, int] = {}
    dead: set[int] = set()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is slow to import
        # pid (command, which may hold anything) state ppid pgrp ...; field 20 is the count of threads
        if name.isdigit() and (stat := _read_file(f"/proc/{name}/stat")):
            pid, fields = int(name), stat[stat.rindex(b")") + 2 :].split()
            children.setdefault(int(fields[1]), []).append(pid)
            groups[pid] = int(fields[2])
            # A process whose first thread has ended looks like a zombie while the others go on.
            if fields[0] in b"ZX" and int(fields[17]) < 2:
                dead.add(pid)
    found = [os.getpid()]
    for pid in found:  # grows while we walk it
        found.extend(children.pop(pid, ()))
    return {pid: groups[pid] for pid in found[1:] if dead_too or pid not in dead}


def _resident_bytes(pid: int) -> int:
    """Of one process, what was swapped out included; shared pages count in each process that maps them."""
    lines = _read_file(f"/proc/{pid}/status").splitlines()
    return sum(
        int(line.split()[1]) * 1024 for line in lines if line.startswith((b"VmRSS:", b"VmSwap:"))
    )


def _read_file(path: str) -> bytes:
    """Empty when the process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return _read(fd, 16384)
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> bytes:
    """Empty at the end, and when the other side is gone."""
    try:
        return os.read(fd, size)
    except OSError:
        return b""


def _receive_spec() -> Spec:
    """``LENGTH`` and a newline, then that many bytes. Exits when pytest is gone before it said all."""
    length, payload = b"", b""
    while not length or len(payload) < int(length):
        received = _read(CONTROL_FD, 65536)
        if not received:
            sys.exit(1)
        payload += received
        if not length and b"\n" in payload:
            length, _, payload = payload.partition(b"\n")
    return Spec(payload)


def _tell(result: dict[str, object]) -> None:
    """One line of JSON; as keys and values are plain words and numbers, ``str`` differs in the quotes only."""
    try:  # noqa: SIM105 - contextlib would be one import more
        os.write(CONTROL_FD, str(result).replace("'", '"').encode() + b"\n")
    except OSError:  # pytest is gone
        pass


def _supervise(tree: Tree) -> dict[str, object]:
    """From the start of the target to the end of its last descendant; how it went."""
    spec = tree.spec
    leftover: list[int] = []
    event = ended_by = tree.wait(spec.timeout_s, tree.has_target_ended)
    if event == OVER:
        event = tree.wait(spec.grace_s, tree.is_empty)
        if event == LATE:
            leftover = tree.alive()
    if event == ORPHANED:
        tree.stop(ORPHAN_SIGNALS)
    elif event == MEMORY:
        tree.kill()
    elif event != OVER:
        tree.stop(spec.stop_signals)
    if ended_by == OVER and event == LATE and not leftover:
        leftover = [tree.last_reaped_pid]  # a chain of quick forks: the link that it was stopped at
    return {
        "timed_out": int(ended_by == LATE),
        "interrupted": int(event in (STOP, ORPHANED)),
        "leftover": [abs(pid) for pid in leftover],
    }


def _outcome(tree: Tree) -> dict[str, object]:
    """What the kernel says of the processes that are now gone."""
    status = (
        os.waitstatus_to_exitcode(tree.wait_status)
        if tree.wait_status is not None
        else -signal.SIGKILL
    )
    maxrss_unit_bytes = 1 if sys.platform == "darwin" else 1024
    outcome: dict[str, object] = {
        "duration_s": tree.ended - tree.started,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        * maxrss_unit_bytes,
        "survivors": [] if tree.is_empty() else [abs(pid) for pid in tree.alive()],
    }
    outcome["exit_code" if status >= 0 else "signal"] = abs(status)
    if tree.memory_exceeded_bytes:
        outcome["memory_exceeded_bytes"] = tree.memory_exceeded_bytes
    if failure := tree.failure():
        outcome["failed_step"], outcome["errno"] = failure
    return outcome


def main() -> None:
    """Carry out one specification."""
    spec = _receive_spec()
    _prctl(
        PDEATHSIG, signal.SIGHUP
    )  # besides end of file: a fork of pytest may hold its socket open
    sees_descendants = _prctl(CHILD_SUBREAPER, 1) and os.access("/proc/self/stat", os.R_OK)
    if spec.memory_limit_bytes and not sees_descendants:
        return _tell({"failed_step": "memory_limit", "errno": errno.ENOTSUP})
    tree = Tree(spec, sees_descendants)
    _tell({"pid": tree.pid})
    try:
        result = _supervise(tree)
    finally:
        tree.kill()  # a mistake of ours must not leave processes behind either
    return _tell(result | _outcome(tree))


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is left to tidy up, and that takes the interpreter some milliseconds
