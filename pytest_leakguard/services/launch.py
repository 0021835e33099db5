"""Starts a service, waits until it answers, and stops it; or looks at one that runs already. Judges nothing."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError, TargetNotStarted, UsageProblem
from pytest_leakguard.core.programs import Launch, RunStatus
from pytest_leakguard.processes import cgroup, mappings, memory, supervisor
from pytest_leakguard.processes import tree as process_tree
from pytest_leakguard.processes.cgroup import MemoryGroup
from pytest_leakguard.services import readiness

_LOOK_S = 0.05
_WATCHED_S = 0.5
"""So long is looked whether it still takes memory."""
_NOTABLE = 256 * 1024
"""Bytes that a service at rest does not take."""
_KILLED_S = 15.0
"""On top of the stop signals' own time: what SIGKILL needs on a loaded machine."""


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
    """``http://…``, ``tcp://HOST:PORT``, ``log:REGULAR EXPRESSION``, a callable; ``None``: its port accepts."""
    port: int = 0
    """0: a free one."""
    cwd: Path | None = None
    env: tuple[tuple[str, str], ...] = ()
    start_timeout_s: float = 30.0
    lifetime_s: float = 3600.0
    memory_limit_bytes: int | None = None
    stop_signals: tuple[tuple[int, float], ...] = ((15, 10.0),)


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

    def pids(self) -> list[int]:
        """Every process of it, workers included."""
        if self.running is None:
            return process_tree.tree(self.pid)
        return process_tree.below(self.running.supervisor_pid)

    def output(self) -> str:
        """What it wrote so far, both streams; head and tail only. Empty for an attached one."""
        return self.running.output().decode("utf-8", "backslashreplace") if self.running else ""

    def trouble(self, pids: list[int] | None = None) -> str:
        """Why it can no longer be measured, as ``pids`` (those alive now) tell; empty while all is well."""
        if (
            killed := self.killed_for_memory()
        ):  # of a server's workers the next one is there at once
            return killed
        pids = self.pids() if pids is None else pids
        if self.pid in pids:
            return ""
        if pids:
            return (
                f"{self.name}: its first process {self.pid} has ended, {len(pids)} other(s) live on"
            )
        return f"{self.name} (process {self.pid}) has ended"

    def stop(self) -> RunStatus | None:
        """End it in order, then by force; nothing of it is left afterwards. An attached one is left alone."""
        if self.running is None:
            return None
        status = self.running.stop(self.stop_s + _KILLED_S)
        if self.memory_group is not None:
            self._memory_kills = self.memory_group.kills() or self._memory_kills
            self.memory_group.close()
        if status.leftover:
            self.notes.append(f"{len(status.leftover)} process(es) outlived it and were stopped")
        return status

    def killed_for_memory(self) -> str:
        """What the kernel has killed at the memory limit; empty while nothing."""
        if self.memory_group is None:
            return ""
        kills = self.memory_group.kills() or self._memory_kills
        if not kills:
            return ""
        return (
            f"{self.name} was killed for memory: {kills} of its processes, by the kernel, at memory_limit "
            f"({self.memory_group.limit_bytes:,} bytes, control group)"
        )

    def silence(self) -> str:
        """Why it does not answer although it runs: it may have closed its port, and may go on growing."""
        pids = self.pids()
        if not self.port or not pids or mappings.listens_on(pids, self.port):
            return ""
        before = memory.read(pids).private_bytes
        time.sleep(_WATCHED_S)
        grown = memory.read(self.pids()).private_bytes - before
        grows = (
            f", and its memory goes on growing: {grown:,} bytes in {_WATCHED_S:g} s"
            if grown > _NOTABLE
            else ""
        )
        return f"{self.name} (process {self.pid}) still runs but no longer listens on port {self.port}{grows}"

    def death(self) -> str:
        """How it ended, once ``trouble`` says that it did; stops what is left."""
        status = self.stop()
        if status is None:
            return f"{self.name} (process {self.pid}) has ended; it was not ours, so how is unknown"
        if killed := self.killed_for_memory():
            return killed
        if status.memory_exceeded_bytes is not None:
            return (
                f"{self.name} was killed for memory: {status.memory_exceeded_bytes:,} bytes resident over all its "
                "processes, more than memory_limit"
            )
        if status.signal == 9 and mappings.oom_kills(os.getpid()) > self.first_oom_kills:
            return f"{self.name} was killed by the kernel's OOM killer (SIGKILL; the control group counts one more)"
        if status.signal is not None:
            return f"{self.name} was killed by signal {status.signal}"
        return f"{self.name} ended by itself with exit status {status.exit_code}"


def _forked_away(name: str, pid: int, left: list[int]) -> str:
    commands = ", ".join(f"{one} ({process_tree.command(one)})" for one in left[:3])
    return (
        f"{name} went into the background: its first process {pid} has ended, {commands} live on. "
        "Run it in the foreground (nginx: -g 'daemon off;', redis: --daemonize no)"
    )


def start(target: ServiceTarget, launch: Launch | None = None) -> Service:
    """Start it and wait until it is ready; raises ``ServiceNotReady``, ``TargetNotStarted`` or ``UsageProblem``.

    ``launch`` is how a tool wants it started; its arguments may hold ``{port}`` too.
    """
    if sys.platform != "linux":
        raise LeakguardError("measuring services needs Linux with /proc")
    if not target.argv:
        raise UsageProblem(
            "serve needs a command line such as ['gunicorn', 'shop:app', '-b', '127.0.0.1:{port}']"
        )
    port = target.port or readiness.port_in(target.ready) or readiness.free_port()
    if readiness.is_port_taken(port):
        raise TargetNotStarted(
            f"{target.argv[0]}: not started: port {port} on {readiness.HOST} is already in use, so another "
            "service would be measured; stop that one, or let leakguard pick a port with {port}"
        )
    plain = launch or Launch(
        target.argv, target.env, cwd=target.cwd, stop_signals=target.stop_signals
    )
    group = cgroup.create(target.memory_limit_bytes) if target.memory_limit_bytes else None
    placed = replace(
        plain,
        argv=tuple(readiness.with_port(word, port) for word in plain.argv),
        env=tuple((name, readiness.with_port(value, port)) for name, value in plain.env),
        timeout_s=target.lifetime_s,
        memory_limit_bytes=None if group else target.memory_limit_bytes,
        control_group=group.path if group else None,
    )
    name = _name(target.argv)
    oom_kills = mappings.oom_kills(os.getpid())
    try:
        running = supervisor.Running(placed)
    except BaseException:
        if group:
            group.close()
        raise
    stop_s = sum(seconds for _, seconds in placed.stop_signals)
    service = Service(
        running.pid,
        port,
        name,
        f"http://{readiness.HOST}:{port}",
        running,
        stop_s,
        oom_kills,
        group,
    )
    try:
        _wait(service, target)
    except BaseException:
        service.stop()
        raise
    return service


def attach(pid: int, port: int = 0) -> Service:
    """A service that somebody else has started; it is measured with all its children and never stopped."""
    if sys.platform != "linux":
        raise LeakguardError("measuring services needs Linux with /proc")
    if pid not in process_tree.tree(pid):
        raise UsageProblem(f"attach: there is no process {pid}")
    url = f"http://{readiness.HOST}:{port}" if port else ""
    return Service(
        pid, port, (process_tree.command(pid).split() or [str(pid)])[0].rpartition("/")[2], url
    )


def _name(argv: tuple[str, ...]) -> str:
    """What a reader calls it: of ``python -m gunicorn ...`` the module, of ``python shop.py`` the script."""
    program = Path(argv[0]).name
    if not program.startswith(("python", "node")):
        return program
    following = [word for word in argv[1:] if not word.startswith("-")]
    return Path(following[0]).name if following and argv[1] != "-c" else program


def _wait(service: Service, target: ServiceTarget) -> None:
    words = (*target.argv, *(value for _, value in target.env))
    uses_port = bool(target.port) or any("{port}" in word for word in words)
    ask = readiness.question(target.ready, service.port, uses_port, service.output)
    service.url = readiness.base_in(target.ready, service.port) or service.url
    deadline = time.monotonic() + target.start_timeout_s
    last = "nothing was asked yet"
    while time.monotonic() < deadline:
        assert service.running is not None
        if service.running.is_over or service.trouble():
            # Give the supervisor the moment it needs to say how the first process ended.
            time.sleep(_LOOK_S)
            raise _not_ready(service, _early_end(service), has_ended=True)
        answer = ask()
        if not answer:
            time.sleep(
                2 * _LOOK_S
            )  # one that goes into the background may answer before its first process is gone
            if not service.trouble():
                return
            raise _not_ready(service, _early_end(service), has_ended=True)
        last = answer
        time.sleep(_LOOK_S)
    raise _not_ready(
        service, f"{service.name} was not ready within {target.start_timeout_s:g} s: {last}"
    )


def _early_end(service: Service) -> str:
    left = service.pids()
    said = _forked_away(service.name, service.pid, left)
    status = service.stop()
    if left and status is not None and status.exit_code == 0:
        return said
    return f"{service.death()}, before it was ready"


def _not_ready(service: Service, message: str, has_ended: bool = False) -> ServiceNotReady:
    service.stop()
    return ServiceNotReady(message, service.output(), has_ended)
