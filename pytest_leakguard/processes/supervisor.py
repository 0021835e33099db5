"""Starts programs and reports how they ended; the only module that does.

Knows nothing of tools and leaks.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_leakguard.core.errors import LeakguardError, TargetNotStarted
from pytest_leakguard.core.programs import Launch, RunStatus

GRACE_S = 5.0
"""Seconds for descendants that outlive the target to end by themselves."""
KEPT_BYTES = 64 * 1024
"""Bytes kept of each output stream, at its head and again at its tail."""
_KEPT_LAST_WORDS = 2000
"""Characters of the supervisor's own output that an error repeats: a traceback."""
_READ_BYTES = 65536
"""Bytes read from a stream at once: what a pipe holds on Linux."""
_MOST_LAST_READS = 256
"""Reads of one stream after the end, so that somebody who writes for ever does not hold us."""

_GUARD = Path(__file__).with_name("_guard.py")
_GUARD_ENV = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
"""Variables that a Python may need to start.

Not LD_PRELOAD: pytest itself may be running under a sanitizer.
"""
_MARK = "LEAKGUARD_TARGET"
"""A variable with a number of its own in every process of one target.

Nothing else tells which processes those are once the guard is lost and they have left the target's
session.
"""
_KILL_TURNS = 20
"""Times that processes are looked for which a process of the target may have started meanwhile."""
_KILL_PAUSE_S = 0.05
"""Seconds in which a killed process goes away."""
_GUARD_EXIT_S = 15.0
"""Seconds to wait for the guard; it takes fewer to kill everything once it has lost us."""


def run(launch: Launch) -> RunStatus:
    """How the target ended; by then no process of it is left, whatever happens to pytest.

    It starts in a session of its own, without a core file, on an empty standard input unless the
    launch names one. When it ends, its descendants get ``GRACE_S`` seconds to end too; those that
    are still there are stopped and listed as ``leftover`` (where there is no /proc: the number of
    the process group). May be called from any thread; an exception raised meanwhile (Ctrl-C) stops
    the target in order and is then raised further.

    Raises ``TargetNotStarted``, and ``LeakguardError`` when the supervision itself failed: there is
    no status without a known end.
    """
    session = _open(launch)
    try:
        session.begin()
        session.follow()
    except BaseException:
        session.stop()
        raise
    finally:
        session.close()
    return session.status()


class Running:
    """A target that goes on while its starter does something else.

    ``stop`` must be called, whatever happens.
    """

    def __init__(self, launch: Launch) -> None:
        """Starts it; raises as ``run`` does, and has left nothing behind then."""
        self._session = _open(launch)
        self._follower = threading.Thread(
            target=self._follow, name="leakguard-service", daemon=True
        )
        self._status: RunStatus | None = None
        try:
            self._session.begin()
            self.pid = self._session.first_words()
        except BaseException:
            self._session.stop()
            self._session.close()
            raise
        self._follower.start()

    def _follow(self) -> None:
        try:
            self._session.follow()
        except OSError:  # the session was closed under us after it could not be stopped in time
            self._session.give_up()

    @property
    def supervisor_pid(self) -> int:
        """All processes of the target are below this one."""
        return self._session.guard_pid

    @property
    def is_over(self) -> bool:
        """Every process of the target is gone."""
        return not self._follower.is_alive()

    def output(self) -> bytes:
        """What the target wrote so far, both streams; head and tail only."""
        return self._session.output()

    def stop(self, timeout_s: float) -> RunStatus:
        """Ends the target with its stop signals, or notes that it has ended.

        May be called again.
        """
        if self._status is None:
            try:
                self._session.ask_to_stop()
                self._follower.join(timeout_s)
            finally:
                self._session.close()
                self._follower.join(_GUARD_EXIT_S)
            self._status = self._session.status()
        return self._status


def _open(launch: Launch) -> _Session:
    if sys.platform == "win32":
        raise LeakguardError("checking programs needs POSIX (Linux, macOS, WSL); this is Windows")
    mark = os.urandom(8).hex()
    spec = _spec(launch, mark)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            return _Session(launch, _start_guard(theirs), ours, spec, mark)
    except BaseException:
        ours.close()
        raise


def capture(
    argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of a short-lived trusted command.

    A signal gives its number, negated, as the exit code. ``env`` replaces the environment. Raises
    ``TargetNotStarted``, and ``LeakguardError`` after ``timeout_s``.
    """
    try:
        command = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise TargetNotStarted(f"{argv[0]}: not started: {error}") from error
    with command:
        try:
            stdout, stderr = command.communicate(timeout=timeout_s)
        except BaseException as error:
            _kill_group(command.pid)
            command.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise LeakguardError(f"{argv[0]}: no answer within {timeout_s:g} s") from error
            raise
    return command.returncode, stdout, stderr


class _Session:
    """One target with its guard: follows the output and the guard's reports until the end."""

    def __init__(
        self,
        launch: Launch,
        guard: subprocess.Popen[bytes],
        control: socket.socket,
        spec: bytes,
        mark: str,
    ) -> None:
        self._mark = mark
        self._launch = launch
        self._guard = guard
        self._control = control
        self._spec = spec
        self._words = b""
        self._is_over = False
        self._stdout, self._stderr = _Kept(), _Kept()
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        for stream, kept in ((guard.stdout, self._stdout), (guard.stderr, self._stderr)):
            if stream:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream, selectors.EVENT_READ, kept)

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    def begin(self) -> None:
        """Say what to start."""
        with suppress(BrokenPipeError, ConnectionResetError):  # the guard died; ``status`` says so
            self._control.sendall(b"%d\n%s" % (len(self._spec), self._spec))

    def first_words(self) -> int:
        """Process id of the target, as soon as the guard has reported it."""
        while b"\n" not in self._words and not self._is_over:
            self._turn()
        if b"\n" not in self._words:
            self.status()
        return int(json.loads(self._words.splitlines()[0])["pid"])

    def output(self) -> bytes:
        """Standard output, then standard error, as far as they were read."""
        return self._stdout.value() + self._stderr.value()

    def give_up(self) -> None:
        """Nothing more will be read."""
        self._is_over = True

    def _turn(self) -> None:
        ready = self._selector.select(1.0)
        for key, _ in ready:
            self._read(key)
        # Nothing else tells us when a fork of pytest holds the other end of the socket.
        self._is_over |= not ready and self._guard.poll() is not None

    def follow(self) -> None:
        """Reads until the guard has ended.

        One loop, no threads: it is safe to fork in pytest meanwhile.
        """
        while not self._is_over:
            self._turn()
        # All processes are gone, so what they wrote is in the pipes. Their end of file is not
        # waited for: somebody else may hold them open, and write for ever.
        for key in tuple(self._selector.get_map().values()):
            for _ in range(_MOST_LAST_READS):
                if not self._read(key):
                    break

    def _read(self, key: selectors.SelectorKey) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(key.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # the guard died before it had read everything
            data = b""
        if not data:
            self._selector.unregister(key.fileobj)
            self._is_over |= key.data is None
        elif key.data is None:
            self._words += data
        else:
            key.data.add(data)
        return bool(data)

    def stop(self) -> None:
        """End the target in order, with its stop signals."""
        self.ask_to_stop()
        self.follow()

    def ask_to_stop(self) -> None:
        """Only ask; from any thread."""
        with suppress(OSError):  # it may have ended by now
            self._control.send(b"stop")

    def close(self) -> None:
        """Let the guard go; it kills at once what still lives.

        So it does when a second Ctrl-C has ended ``stop``.
        """
        self._control.close()
        self._selector.close()
        for stream in (self._guard.stdout, self._guard.stderr):
            if stream:
                stream.close()
        try:
            self._guard.wait(_GUARD_EXIT_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def status(self) -> RunStatus:
        """What the guard reported; raises when it has not reported all."""
        reported: dict[str, Any] = {}
        for line in self._words.splitlines():
            reported |= json.loads(line)
        if "failed_step" in reported:
            raise _not_started(self._launch, reported["failed_step"], reported["errno"])
        if "duration_s" not in reported:
            if "pid" in reported:
                _kill_group(reported["pid"])
            _kill_marked(self._mark)
            last_words = self._stderr.value().decode(errors="replace")[-_KEPT_LAST_WORDS:]
            raise LeakguardError(
                f"{self._launch.argv[0]}: how it ended is unknown, as its supervisor {_GUARD.name} "
                f"was lost (exit status {self._guard.returncode}); last output:\n{last_words}"
            )
        return self._from(reported)

    def _from(self, reported: dict[str, Any]) -> RunStatus:
        if survivors := reported["survivors"]:
            raise LeakguardError(
                f"{self._launch.argv[0]}: processes {survivors} cannot be stopped (they run as "
                "another user, or are stuck in the kernel); end them by hand"
            )
        return RunStatus(
            pid=reported["pid"],
            exit_code=reported.get("exit_code"),
            signal=reported.get("signal"),
            timed_out=bool(reported["timed_out"]),
            memory_exceeded_bytes=reported.get("memory_exceeded_bytes"),
            duration_s=reported["duration_s"],
            stdout=self._stdout.value(),
            stderr=self._stderr.value(),
            leftover=tuple(reported["leftover"]),
        )


class _Kept:
    """Head and tail of a stream, however long it gets."""

    def __init__(self) -> None:
        self._head, self._tail, self._total_bytes = bytearray(), bytearray(), 0

    def add(self, data: bytes) -> None:
        self._total_bytes += len(data)
        room = KEPT_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        del self._tail[:-KEPT_BYTES]

    def value(self) -> bytes:
        left_out = self._total_bytes - len(self._head) - len(self._tail)
        marker = b"\n[... %d bytes left out ...]\n" % left_out if left_out else b""
        return bytes(self._head) + marker + bytes(self._tail)


def _start_guard(control: socket.socket) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=control.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _GUARD_ENV if name in os.environ},
            # A Ctrl-C at the terminal is for us; we then ask the guard to stop.
            start_new_session=True,
            bufsize=0,
        )
    except OSError as error:
        raise LeakguardError(
            f"cannot start a supervisor with {sys.executable!r}: {error}"
        ) from error


def _spec(launch: Launch, mark: str) -> bytes:
    """The launch in the form that ``_guard.Spec`` reads."""
    if not launch.argv:
        raise TargetNotStarted("no program given: the command line is empty")
    fields = [b"arg=" + os.fsencode(argument) for argument in launch.argv]
    fields += [b"env=%s=%s" % variable for variable in _environment(launch, mark).items()]
    fields += [b"stop=%d %r" % (number, seconds) for number, seconds in launch.stop_signals]
    fields += [b"timeout_s=%r" % launch.timeout_s, b"grace_s=%r" % GRACE_S]
    if launch.cwd:
        fields.append(b"cwd=" + os.fsencode(launch.cwd))
    if launch.stdin:
        fields.append(b"stdin=" + os.fsencode(launch.stdin))
    if launch.scratch:
        fields.append(b"scratch=" + os.fsencode(launch.scratch))
    if launch.control_group:
        fields.append(b"control_group=" + os.fsencode(launch.control_group))
    if launch.memory_limit_bytes:
        fields.append(b"memory_limit_bytes=%d" % launch.memory_limit_bytes)
    if any(b"\0" in field for field in fields):
        raise TargetNotStarted(
            f"{launch.argv[0]!r}: not started: a NUL in its arguments or environment"
        )
    return b"\0".join(fields)


def _environment(launch: Launch, mark: str) -> dict[bytes, bytes]:
    removed = {os.fsencode(name) for name in launch.unset}
    inherited = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    given = (*launch.env, (_MARK, mark))
    added = {os.fsencode(name): os.fsencode(value) for name, value in given}
    return {name: value for name, value in inherited.items() if name not in removed} | added


def _not_started(launch: Launch, step: str, number: int) -> LeakguardError:
    why = os.strerror(number)
    match step, number:
        case "memory_limit", _:
            return LeakguardError(
                "a memory limit needs Linux with /proc; take memory_limit away here"
            )
        case "control_group", _:
            why = f"control group {launch.control_group}: {why}"
        case "cwd", _:
            why = f"working directory {launch.cwd}: {why}"
        case "stdin", _:
            why = f"standard input {launch.stdin}: {why}"
        case "exec", errno.ENOENT:
            why += (
                " (neither on PATH nor a file there, or the interpreter in its #! line is missing)"
            )
        case "exec", errno.EACCES:
            why += " (a file that is not executable, or a directory)"
        case "exec", errno.ENOEXEC:
            why += " (a script needs a #! line; a binary must be built for this machine)"
    return TargetNotStarted(f"{launch.argv[0]}: not started: {why}")


def _kill_group(pid: int) -> None:
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _kill_marked(mark: str) -> None:
    """SIGKILL to every process of one target, until none is found; does nothing without /proc."""
    variable = f"{_MARK}={mark}".encode()
    for _ in range(_KILL_TURNS):
        found = [pid for pid in _process_ids() if variable in _environment_of(pid)]
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_KILL_PAUSE_S)


def _process_ids() -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208  # a Path for each would be dear
    return []


def _environment_of(pid: int) -> tuple[bytes, ...]:
    """The variables that a process began with; none of a zombie and of another user's."""
    with suppress(OSError):
        return tuple(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return ()
