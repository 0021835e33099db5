"""Starts a service, waits until it answers, and stops it; or attaches to one that runs already.

Judges nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError, TargetNotStarted, UsageProblem
from pytest_leakguard.core.programs import Launch, RunStatus
from pytest_leakguard.core.text import counted
from pytest_leakguard.processes import cgroup, mappings, memory, supervisor
from pytest_leakguard.processes import tree as process_tree
from pytest_leakguard.processes.cgroup import MemoryGroup
from pytest_leakguard.services import readiness
from pytest_leakguard.services.client import UNIX, Verify

_CHECK_S = 0.05
"""Time between two questions whether it is ready, in seconds."""
_OBSERVED_S = 0.5
"""Time over which a silent service's memory is compared, in seconds."""
_NOTABLE_BYTES = 256 * 1024
"""Least growth over that time that is worth a word, in bytes; a service at rest takes less."""
_KILLED_S = 15.0
"""Time that a stop may take besides the stop signals' own, in seconds; SIGKILL needs it on a
loaded machine."""
_SIGKILL = 9
"""Number of the signal on Linux; the module has to load where there is none (signal(7))."""
_MOST_NAMED = 3
"""Upper limit of the processes that a message names."""


class ServiceNotReady(LeakguardError):
    """The service did not come up; ``output`` is what it wrote."""

    def __init__(self, message: str, output: str = "", has_ended: bool = False) -> None:
        super().__init__(message)
        self.output = output
        self.has_ended = has_ended
        """By itself, rather than that it took too long."""


@dataclass(frozen=True, slots=True)
class ServiceTarget:
    """A service to start. ``{port}`` in arguments, environment and ``ready`` becomes its port."""

    argv: tuple[str, ...]
    ready: readiness.Ready = None
    """``http://…``, ``tcp://HOST:PORT``, ``log:REGULAR EXPRESSION``, or a callable.

    ``None``: its port accepts.
    """
    port: int = 0
    """0: a free one."""
    cwd: Path | None = None
    env: tuple[tuple[str, str], ...] = ()
    start_timeout_s: float = 30.0
    lifetime_s: float = 3600.0
    memory_limit_bytes: int | None = None
    stop_signals: tuple[tuple[int, float], ...] = ((15, 10.0),)
    verify: Verify = True
    """Whose certificates to trust over HTTPS: the system's, those of a file, or any."""


@dataclass(slots=True)
class Service:
    """A service that runs; what it was started from is not known for one that was attached to."""

    pid: int
    port: int
    name: str
    url: str = ""
    running: supervisor.Running | None = None
    stop_s: float = 0.0
    first_oom_kills: int = 0
    memory_group: MemoryGroup | None = None
    """Holds the memory limit, where there is one and a control group may be made."""
    notes: list[str] = field(default_factory=list)
    _memory_kills: int = 0

    def pids(self, ended: Collection[int] = ()) -> list[int]:
        """Every process of it, workers included; without those that are known to have ended."""
        if self.running is None:
            return process_tree.tree(self.pid, ended)
        return process_tree.below(self.running.supervisor_pid, ended)

    def output(self) -> str:
        """What it wrote so far, both streams; head and tail only. Empty for an attached one."""
        return self.running.output().decode("utf-8", "backslashreplace") if self.running else ""

    def trouble(self, pids: list[int] | None = None) -> str:
        """Say why it can no longer be measured; empty while all is well.

        ``pids`` are those alive now, where the caller knows.
        """
        # First: of a server's workers the next one is there at once.
        killed = self.killed_for_memory()
        if killed:
            return killed
        pids = self.pids() if pids is None else pids
        if self.pid in pids:
            return ""
        if not pids:
            return f"{self.name} (process {self.pid}) has ended"
        first = f"its first process {self.pid} has ended"
        return f"{self.name}: {first}, {len(pids)} other(s) live on"

    def stop(self) -> RunStatus | None:
        """End it in order, then by force; nothing of it is left afterwards.

        An attached one is left alone.
        """
        if self.running is None:
            return None
        status = self.running.stop(self.stop_s + _KILLED_S)
        if self.memory_group is not None:
            self._memory_kills = self.memory_group.kills() or self._memory_kills
            self.memory_group.close()
        if status.leftover:
            self.notes.append(
                f"{counted(len(status.leftover), 'process')} outlived it and had to be stopped"
            )
        return status

    def killed_for_memory(self) -> str:
        """Say what the kernel has killed at the memory limit; empty while nothing."""
        if self.memory_group is None:
            return ""
        kills = self.memory_group.kills() or self._memory_kills
        if not kills:
            return ""
        limit = f"{self.memory_group.limit_bytes:,} bytes, control group"
        return (
            f"{self.name} was killed for memory: {kills} of its processes, by the kernel, "
            f"at memory_limit ({limit})"
        )

    def silence(self) -> str:
        """Say why it does not answer although it runs; empty where its port still listens.

        It may have closed its port, and may go on growing.
        """
        pids = self.pids()
        is_on_port = self.port and not self.url.startswith(UNIX)
        if not is_on_port or not pids or mappings.listens_on(pids, self.port):
            return ""
        before = memory.read(pids).private_bytes
        time.sleep(_OBSERVED_S)
        grown = memory.read(self.pids()).private_bytes - before
        silent = (
            f"{self.name} (process {self.pid}) still runs but no longer listens on port {self.port}"
        )
        if grown <= _NOTABLE_BYTES:
            return silent
        return f"{silent}, and its memory goes on growing: {grown:,} bytes in {_OBSERVED_S:g} s"

    def death(self) -> str:
        """Say how it ended, once ``trouble`` says that it did; stops what is left."""
        status = self.stop()
        if status is None:
            return f"{self.name} (process {self.pid}) has ended; it was not ours, so how is unknown"
        killed = self.killed_for_memory()
        if killed:
            return killed
        if status.memory_exceeded_bytes is not None:
            return (
                f"{self.name} was killed for memory: {status.memory_exceeded_bytes:,} bytes "
                "resident over all its processes, more than memory_limit"
            )
        if status.signal == _SIGKILL and mappings.oom_kills(os.getpid()) > self.first_oom_kills:
            return (
                f"{self.name} was killed by the kernel's OOM killer "
                "(SIGKILL; the control group counts one more)"
            )
        if status.signal is not None:
            return f"{self.name} was killed by signal {status.signal}"
        return f"{self.name} ended by itself with exit status {status.exit_code}"


def _forked_away(name: str, pid: int, left: list[int]) -> str:
    commands = ", ".join(f"{pid} ({process_tree.command(pid)})" for pid in left[:_MOST_NAMED])
    return (
        f"{name} went into the background: its first process {pid} has ended, {commands} live on. "
        "Run it in the foreground (nginx: -g 'daemon off;', redis: --daemonize no)"
    )


def start(target: ServiceTarget, launch: Launch | None = None) -> Service:
    """Start it and wait until it is ready.

    ``launch`` is how a tool wants it started; its arguments may hold ``{port}`` too. Raises
    ``ServiceNotReady``, ``TargetNotStarted`` or ``UsageProblem``.
    """
    _require_linux()
    if not target.argv:
        raise UsageProblem(
            "serve needs a command line such as ['gunicorn', 'shop:app', '-b', '127.0.0.1:{port}']"
        )
    port = _port_of(target)
    # A control group counts what all processes hold; without one the supervisor adds it up.
    group = cgroup.create(target.memory_limit_bytes) if target.memory_limit_bytes else None
    placed = _placed(target, launch, port, group)
    oom_kills = mappings.oom_kills(os.getpid())
    try:
        running = supervisor.Running(placed)
    except BaseException:
        if group:
            group.close()
        raise
    service = Service(
        running.pid,
        port,
        _name(target.argv),
        f"http://{readiness.HOST}:{port}",
        running,
        sum(seconds for _, seconds in placed.stop_signals),
        oom_kills,
        group,
    )
    try:
        _wait(service, target)
    except BaseException:
        service.stop()
        raise
    return service


def _require_linux() -> None:
    if sys.platform != "linux":
        raise LeakguardError("measuring services needs Linux with /proc")


def _port_of(target: ServiceTarget) -> int:
    """Return the port it is to listen on; raises ``TargetNotStarted`` where somebody else does."""
    port = target.port or readiness.port_in(target.ready) or readiness.free_port()
    if readiness.is_port_taken(port):
        raise TargetNotStarted(
            f"{target.argv[0]}: not started: port {port} on {readiness.HOST} is already in use, "
            "so another service would be measured; "
            "stop that one, or let leakguard pick a port with {port}"
        )
    return port


def _placed(
    target: ServiceTarget, launch: Launch | None, port: int, group: MemoryGroup | None
) -> Launch:
    """Return how to start it, with the port filled in and the memory limit in one place."""
    signals = target.stop_signals
    plain = launch or Launch(target.argv, target.env, cwd=target.cwd, stop_signals=signals)
    return replace(
        plain,
        argv=tuple(readiness.with_port(word, port) for word in plain.argv),
        env=tuple((name, readiness.with_port(value, port)) for name, value in plain.env),
        timeout_s=target.lifetime_s,
        memory_limit_bytes=None if group else target.memory_limit_bytes,
        control_group=group.path if group else None,
    )


def attach(pid: int, port: int = 0) -> Service:
    """Return a service that somebody else has started.

    It is measured with all its children and never stopped.
    """
    _require_linux()
    if pid not in process_tree.tree(pid):
        raise UsageProblem(f"attach: there is no process {pid}")
    url = f"http://{readiness.HOST}:{port}" if port else ""
    words = process_tree.command(pid).split() or [str(pid)]
    return Service(pid, port, words[0].rpartition("/")[2], url)


def _name(argv: tuple[str, ...]) -> str:
    """Return what a reader calls it.

    Of ``python -m gunicorn ...`` the module, of ``python shop.py`` the script.
    """
    program = Path(argv[0]).name
    if not program.startswith(("python", "node")):
        return program
    # Options of the interpreter come before what it runs.
    following = [word for word in argv[1:] if not word.startswith("-")]
    return Path(following[0]).name if following and argv[1] != "-c" else program


def _wait(service: Service, target: ServiceTarget) -> None:
    words = (*target.argv, *(value for _, value in target.env))
    uses_port = bool(target.port) or any("{port}" in word for word in words)
    ask = readiness.question(target.ready, service.port, uses_port, service.output, target.verify)
    service.url = readiness.base_in(target.ready, service.port) or service.url
    deadline = time.monotonic() + target.start_timeout_s
    last = "nothing was asked yet"
    while time.monotonic() < deadline:
        assert service.running is not None
        if service.running.is_over or service.trouble():
            # Give the supervisor the moment it needs to say how the first process ended.
            time.sleep(_CHECK_S)
            raise _not_ready(service, _early_end(service), has_ended=True)
        try:
            last = ask()
        except readiness.NeverReady as never:
            raise _not_ready(service, f"{service.name} cannot be asked: {never}") from None
        if not last:
            # One that forks into the background may answer before its first process is gone.
            time.sleep(2 * _CHECK_S)
            if not service.trouble():
                return
            raise _not_ready(service, _early_end(service), has_ended=True)
        time.sleep(_CHECK_S)
    waited = f"{service.name} was not ready within {target.start_timeout_s:g} s"
    raise _not_ready(service, f"{waited}: {last}")


def _early_end(service: Service) -> str:
    left = service.pids()
    forked_away = _forked_away(service.name, service.pid, left)  # names them while they live
    status = service.stop()
    if left and status is not None and status.exit_code == 0:
        return forked_away
    return f"{service.death()}, before it was ready"


def _not_ready(service: Service, message: str, has_ended: bool = False) -> ServiceNotReady:
    service.stop()
    return ServiceNotReady(message, service.output(), has_ended)
