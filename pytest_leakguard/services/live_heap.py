"""Live heap of a service, as an agent inside it or its runtime reports it.

Whether it is known decides how small a leak can be seen.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.processes import supervisor, tree
from pytest_leakguard.programs import binary

AGENTS = Path(__file__).parent.parent / "agents"
_ANSWER_S = 10.0
"""Upper limit of the time an agent or ``jcmd`` may take to answer, in seconds."""
_COMPILE_S = 30.0
"""Upper limit of the time the preloaded agent may take to compile, in seconds."""
_OTHER_AGENTS = ("node", "java", "bash", "dash", "busybox")
"""Programs that have an agent of their own, or that are shells."""
_UNSEEN = "small leaks and fragmentation cannot be told from free memory that is kept"


@dataclass(slots=True)
class HeapReader:
    """Asks every process of a tree that has an agent; ``report`` says what that gives."""

    directory: Path | None = None
    """Where the agents' sockets are; private."""
    is_active: bool = True
    """Whether it is worth asking; false for good once nobody answered at the first time."""
    report: str = f"no live heap, as no agent was put inside, so {_UNSEEN}"
    """What the report says of it."""
    _known: frozenset[int] = field(default_factory=frozenset)
    _asked: frozenset[int] = field(default_factory=frozenset)
    _is_jvm: bool = False

    def environment(
        self, argv: tuple[str, ...], given: dict[str, str], cwd: Path | None
    ) -> dict[str, str]:
        """Return the variables that switch the agents on in the service to be started."""
        self.directory = Path(tempfile.mkdtemp(prefix="leakguard-agent-"))

        def earlier(name: str) -> str:
            return given.get(name, os.environ.get(name, ""))

        paths = [str(AGENTS / "python"), earlier("PYTHONPATH")]
        options = [earlier("NODE_OPTIONS"), f"--require={AGENTS / 'node/agent.js'}"]
        added = {
            "LEAKGUARD_AGENT": str(self.directory),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "NODE_OPTIONS": " ".join(filter(None, options)),
        }
        library = self._preload(argv, cwd)
        if library:
            added["LD_PRELOAD"] = f"{library} {earlier('LD_PRELOAD')}".strip()
            # What sits in a thread's own cache counts as in use; without it the reading is exact.
            tunables = f"{earlier('GLIBC_TUNABLES')}:glibc.malloc.tcache_count=0"
            added["GLIBC_TUNABLES"] = tunables.strip(":")
        return added

    def _preload(self, argv: tuple[str, ...], cwd: Path | None) -> str:
        """Return a library for dynamically linked programs of C and the like, compiled now.

        Empty where the program is none, or where there is no compiler.
        """
        assert self.directory is not None
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None or not argv or not _takes_preload(binary.inspect(argv[0], cwd)):
            return ""
        library = self.directory / "agent.so"
        options = ["-shared", "-fPIC", "-O2", "-pthread", "-o", str(library)]
        command = [compiler, *options, str(AGENTS / "glibc/agent.c")]
        try:
            code, _, _ = supervisor.capture(command, _COMPILE_S)
        except LeakguardError:
            return ""
        return str(library) if code == 0 and library.exists() else ""

    def read(self, pids: Iterable[int]) -> dict[int, float]:
        """Return the bytes in use in each process whose agent answers.

        Empty where one that answered before does not: a part would look like a fall.
        """
        if not self.is_active:
            return {}
        pids = list(pids)
        if frozenset(pids) != self._asked:  # which is dear to find out each time
            self._asked, self._is_jvm = frozenset(pids), tree.runtime(pids) == "jvm"
        if self._is_jvm:
            return self._known_of({pid: _ask_jvm(pid) for pid in pids}, pids)
        callers = [(pid, self._call(pid)) for pid in pids]  # all at once: they answer side by side
        return self._known_of({pid: self._hear(caller) for pid, caller in callers}, pids)

    def _known_of(self, answers: dict[int, float | None], pids: list[int]) -> dict[int, float]:
        known: dict[int, float] = {}
        for pid, value in answers.items():
            if value is not None:
                known[pid] = value
        # Who answers at first decides: an agent cannot come later.
        if not self._known:
            self._known = frozenset(known)
            self.is_active = bool(known)
            self.report = self._summary(len(known), len(pids))
        are_silent = self._known & set(pids) - known.keys()
        return {} if are_silent else known

    def _summary(self, known: int, total: int) -> str:
        if known:
            return f"live heap read in {known} of {total} process(es)"
        return (
            "no live heap: no agent answered "
            "(Python, Node, Java and dynamically linked glibc programs can), "
            f"so {_UNSEEN}"
        )

    def _call(self, pid: int) -> socket.socket | None:
        if self.directory is None:
            return None
        caller = socket.socket(socket.AF_UNIX)
        try:
            caller.settimeout(_ANSWER_S)
            caller.connect(f"{self.directory}/{pid}.sock")
            caller.sendall(b"heap\n")
        except OSError:  # no agent inside, or it is gone
            caller.close()
            return None
        return caller

    def _hear(self, caller: socket.socket | None) -> float | None:
        if caller is None:
            return None
        answer = b""
        try:
            with caller:
                while not answer.endswith(b"\n") and (part := caller.recv(256)):
                    answer += part
            return float(answer)
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Remove the sockets."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def _takes_preload(program: binary.Binary) -> bool:
    """Return whether a preloaded library can count what it allocates."""
    if program.path is None or not program.is_elf or program.is_static:
        return False
    if program.sanitizer or program.is_python:
        return False
    return program.path.resolve().name not in _OTHER_AGENTS


def _ask_jvm(pid: int) -> float | None:
    """Return the used heap after a full collection, in bytes, by ``jcmd``."""
    jcmd = shutil.which("jcmd")
    if jcmd is None or tree.runtime([pid]) != "jvm":
        return None
    try:
        supervisor.capture([jcmd, str(pid), "GC.run"], _ANSWER_S)
        code, stdout, _ = supervisor.capture([jcmd, str(pid), "GC.heap_info"], _ANSWER_S)
    except LeakguardError:
        return None
    return _used_heap(stdout.decode("utf-8", "replace")) if code == 0 else None


def _used_heap(answer: str) -> float | None:
    """Read ``garbage-first heap   total 65536K, used 1853K [...]``.

    Other collectors list each generation, so all lines are summed.
    """
    used = 0
    for line in answer.splitlines():
        words = line.replace(",", " ").split()
        if "used" not in words or line.lstrip().startswith(("Metaspace", "class space")):
            continue
        value = words[words.index("used") + 1]
        if value.endswith("K") and value[:-1].isdigit():
            used += int(value[:-1]) * 1024
    return float(used) if used else None
