"""Starts one target, watches it, and leaves no process of it behind. Never imports this package.

A program of its own, ``python -I -S _guard.py``, so that the target is cleaned up even when pytest
is killed, and so that nothing in the target's environment reaches the one that supervises it. It
talks with ``supervisor.run`` over the socket it gets as standard input: the specification comes in,
the result goes out as lines of JSON, and end of file means that pytest is gone. Every run pays for
its start-up, which is why it does without json, dataclasses and subprocess: each of them costs as
much as all that is here.
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
"""Descriptor over which the guard is told that its parent is alive."""
TICK_S = 0.05
"""Seconds between two readings of the process tree, where there is a reason to read it at all."""
ORPHAN_SIGNALS = ((int(signal.SIGTERM), 1.0),)
"""Signals and seconds when pytest is gone: nobody reads a report then, so nothing is waited for."""
KILL_S = 10.0
"""Seconds of trying SIGKILL, which does nothing to another user's process or a stuck one."""

# What a wait ended with.
OVER, LATE, MEMORY, STOP, ORPHANED = "over", "late", "memory", "stop", "orphaned"
# PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
PDEATHSIG, CHILD_SUBREAPER = 1, 36


class Spec:
    """What to start and when to end it, as ``supervisor`` wrote it.

    The form is ``name=value`` fields between NULs.
    """

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
        self.scratch = fields.get(b"scratch", [b""])[0]
        self.timeout_s = float(fields[b"timeout_s"][0])
        self.grace_s = float(fields[b"grace_s"][0])
        self.memory_limit_bytes = int(fields.get(b"memory_limit_bytes", [b"0"])[0])
        stops = (stop.split() for stop in fields.get(b"stop", []))
        self.stop_signals = tuple((int(number), float(seconds)) for number, seconds in stops)


class Tree:
    """The target and every process below it, whatever session they moved to."""

    def __init__(self, spec: Spec, sees_descendants: bool) -> None:
        self.spec = spec
        self.sees_descendants = sees_descendants
        """Orphans come to us and /proc can be read; otherwise only the process group is known."""
        self.wait_status: int | None = None
        """The target's own, as ``waitpid`` gave it; ``None`` while it lives."""
        self.memory_exceeded_bytes = 0
        self.last_reaped_pid = 0
        self.is_orphaned = False
        """pytest is gone."""
        self.started = self.ended = time.monotonic()
        self._has_children = True
        self._wakeup_fd = _wakeup_on((signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        self._poll = select.poll()
        self._poll.register(CONTROL_FD, select.POLLIN)
        self._poll.register(self._wakeup_fd, select.POLLIN)
        # Closed by a successful exec, so that it reads empty then.
        self._failure_fd, child_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become_target(spec, child_fd)
        os.close(child_fd)

    def has_target_ended(self) -> bool:
        return self.wait_status is not None

    def is_empty(self) -> bool:
        """Nothing lives any more.

        Exact where orphans come to us: then the last process alive is our child.
        """
        return not self._has_children and (self.sees_descendants or not self.alive())

    def alive(self) -> list[int]:
        """Process ids, the target's first.

        Where only its process group is known, that as a negative number.
        """
        if self.sees_descendants:
            return sorted(_descendants(), key=lambda pid: pid != self.pid)
        return [-self.pid] if _send(-self.pid, 0) else []

    def failure(self) -> tuple[str, int] | None:
        """The step at which the target could not be started, and the error number.

        ``None`` when it was started.
        """
        os.set_blocking(self._failure_fd, False)
        try:
            step, _, number = os.read(self._failure_fd, 64).partition(b" ")
        except BlockingIOError:  # stopped before it got as far as its exec
            return None
        return (step.decode(), int(number)) if step else None

    def wait(self, seconds: float, is_over: Callable[[], bool], stop_signal: int = 0) -> str:
        """Waits until ``is_over``; what the wait ended with.

        Sends ``stop_signal`` to all processes, once to each.
        """
        deadline = time.monotonic() + seconds
        signalled: set[int] = set()
        while True:
            self._reap()
            if is_over():
                return OVER
            if stop_signal:  # again on every turn: a process may have forked meanwhile
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
            pause_s = left
            if stop_signal or self.spec.memory_limit_bytes or self.has_target_ended():
                # Never more than a fifth of one core, on machines with thousands of processes.
                pause_s = min(left, max(TICK_S, 4 * cost_s))
            if event := self._sleep(pause_s):
                return event

    def stop(self, signals: tuple[tuple[int, float], ...]) -> None:
        """Ends every process: the signals in turn, each with its time to act, then SIGKILL."""
        for number, seconds in signals:
            event = self.wait(seconds, self.is_empty, number)
            if event == ORPHANED and signals is not ORPHAN_SIGNALS:
                return self.stop(ORPHAN_SIGNALS)
            if event == OVER:
                return None
        return self.kill()

    def kill(self) -> None:
        """SIGKILL to every process, until none is left or it has had no effect for long enough."""
        give_up = time.monotonic() + KILL_S
        self._reap()
        while not self.is_empty() and time.monotonic() < give_up:
            if self.sees_descendants:
                groups = _descendants(dead_too=True)
            else:
                groups = dict.fromkeys(self.alive(), 0)
            # By group first, that of the dead too: it takes all members at once, so that a chain of
            # quick forks cannot run ahead of us. Between fork and setsid the target is in our own
            # group.
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
        """Compares the resident bytes of the tree with the limit; the seconds that this took."""
        if not self.spec.memory_limit_bytes or self.memory_exceeded_bytes:
            return 0.0
        before = time.monotonic()
        resident_bytes = sum(_resident_bytes(pid) for pid in _descendants())
        if resident_bytes > self.spec.memory_limit_bytes:
            self.memory_exceeded_bytes = resident_bytes
        return time.monotonic() - before

    def _sleep(self, seconds: float) -> str:
        """Until a child ends, a message or a signal comes (then which), or the time is up."""
        event = ""
        for ready_fd, _ in self._poll.poll(int(min(seconds, 3600.0) * 1000) + 1):
            if ready_fd == self._wakeup_fd:
                numbers = os.read(self._wakeup_fd, 4096)  # one byte per signal
                if signal.SIGHUP in numbers:  # from the kernel: pytest died; see ``main``
                    event = ORPHANED
                elif signal.SIGTERM in numbers or signal.SIGINT in numbers:
                    event = event or STOP
            elif _read(CONTROL_FD, 64):
                event = event or STOP
            else:
                self._poll.unregister(CONTROL_FD)
                event = ORPHANED
        self.is_orphaned = self.is_orphaned or event == ORPHANED
        return event


def _wakeup_on(numbers: tuple[int, ...]) -> int:
    """A descriptor that gets readable on these signals.

    They can arrive at any moment, and none is missed.
    """
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return read_fd


def _become_target(spec: Spec, failure_fd: int) -> None:
    """In the forked child: never returns; what goes wrong is written to ``failure_fd``."""
    step = b"session"
    try:
        # A Ctrl-C at the terminal is for pytest, which then has us stop the target in order.
        os.setsid()
        _prctl(PDEATHSIG, signal.SIGKILL)
        _default_signals()
        # The soft limit only: a target that asks for its core shall get it. valgrind reads it too.
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
    """The target begins as from a fresh shell, also when pytest runs under nohup."""
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
        # pid (command, which may hold anything) state ppid pgrp ...; field 20 counts the threads.
        if name.isdigit() and (stat := _read_file(f"/proc/{name}/stat")):
            pid, fields = int(name), stat[stat.rindex(b")") + 2 :].split()
            children.setdefault(int(fields[1]), []).append(pid)
            groups[pid] = int(fields[2])
            # A process whose first thread has ended looks like a zombie while the others go on.
            if fields[0] in b"ZX" and int(fields[17]) < 2:
                dead.add(pid)
    found = [os.getpid()]
    for pid in found:  # the list grows meanwhile
        found.extend(children.pop(pid, ()))
    return {pid: groups[pid] for pid in found[1:] if dead_too or pid not in dead}


def _resident_bytes(pid: int) -> int:
    """Resident bytes of one process, what was swapped out included.

    Shared pages count in each process that maps them.
    """
    total = 0
    for line in _read_file(f"/proc/{pid}/status").splitlines():
        if line.startswith((b"VmRSS:", b"VmSwap:")):
            total += int(line.split()[1]) * 1024
    return total


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


def _remove(path: bytes) -> None:
    """Removes what is at ``path``, as far as it lets itself be removed."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114  # pathlib is slow to import
            for name in os.listdir(path):  # noqa: PTH208  # likewise
                _remove(os.path.join(path, name))  # noqa: PTH118  # likewise
            os.rmdir(path)  # noqa: PTH106  # likewise
        else:
            os.unlink(path)
    except OSError:  # nobody is left who could be told
        pass


def _receive_spec() -> Spec:
    """``LENGTH`` and a newline, then that many bytes; exits when pytest is gone before."""
    length, payload = b"", b""
    while not length or len(payload) < int(length):
        received = _read(CONTROL_FD, 65536)
        if not received:
            sys.exit(1)
        payload += received
        if not length and b"\n" in payload:
            length, _, payload = payload.partition(b"\n")
    return Spec(payload)


def _report(result: dict[str, object]) -> None:
    """Sends one line of JSON.

    As keys and values are plain words and numbers, ``str`` differs in the quotes only.
    """
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
        "leftover": [abs(pid) for pid in leftover],
    }


def _outcome(tree: Tree) -> dict[str, object]:
    """What the kernel says of the processes that are now gone."""
    status = -int(signal.SIGKILL)
    if tree.wait_status is not None:
        status = os.waitstatus_to_exitcode(tree.wait_status)
    survivors = [] if tree.is_empty() else tree.alive()
    outcome: dict[str, object] = {
        "duration_s": tree.ended - tree.started,
        "survivors": [abs(pid) for pid in survivors],
    }
    outcome["exit_code" if status >= 0 else "signal"] = abs(status)
    if tree.memory_exceeded_bytes:
        outcome["memory_exceeded_bytes"] = tree.memory_exceeded_bytes
    if failure := tree.failure():
        outcome["failed_step"], outcome["errno"] = failure
    return outcome


def main() -> None:
    """Carries out one specification."""
    spec = _receive_spec()
    # Besides end of file: a fork of pytest may hold its socket open.
    _prctl(PDEATHSIG, signal.SIGHUP)
    sees_descendants = _prctl(CHILD_SUBREAPER, 1) and os.access("/proc/self/stat", os.R_OK)
    if spec.memory_limit_bytes and not sees_descendants:
        return _report({"failed_step": "memory_limit", "errno": errno.ENOTSUP})
    tree = Tree(spec, sees_descendants)
    _report({"pid": tree.pid})
    try:
        result = _supervise(tree)
    finally:
        tree.kill()  # a mistake of ours must not leave processes behind either
    _report(result | _outcome(tree))
    if tree.is_orphaned and spec.scratch:
        _remove(spec.scratch)
    return None


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is left to tidy up, and that takes the interpreter some milliseconds
