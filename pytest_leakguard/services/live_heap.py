"""Live heap of a service, where an agent inside it or its runtime tells: it sets how small a leak can be seen."""

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
_COMPILE_S = 30.0
_UNSEEN = "small leaks and fragmentation cannot be told from free memory that is kept"


@dataclass(slots=True)
class HeapReader:
    """Asks every process of a tree that has an agent; without any there is no reading, which ``told`` says."""

    directory: Path | None = None
    """Where the agents' sockets are; private."""
    is_active: bool = True
    """Whether it is worth asking; false for good once nobody answered at the first time."""
    told: str = f"no live heap, as no agent was put inside, so {_UNSEEN}"
    """What the report says of it."""
    _known: frozenset[int] = field(default_factory=frozenset)
    _asked: frozenset[int] = field(default_factory=frozenset)
    _is_jvm: bool = False

    def environment(
        self, argv: tuple[str, ...], given: dict[str, str], cwd: Path | None
    ) -> dict[str, str]:
        """Variables that switch the agents on in the service to be started."""
        self.directory = Path(tempfile.mkdtemp(prefix="leakguard-agent-"))
        added = {"LEAKGUARD_AGENT": str(self.directory)}
        paths = [str(AGENTS / "python"), given.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))]
        added["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        options = [
            given.get("NODE_OPTIONS", os.environ.get("NODE_OPTIONS", "")),
            f"--require={AGENTS / 'node/agent.js'}",
        ]
        added["NODE_OPTIONS"] = " ".join(option for option in options if option)
        if preload := self._preload(argv, cwd):
            others = given.get("LD_PRELOAD", os.environ.get("LD_PRELOAD", ""))
            added["LD_PRELOAD"] = f"{preload} {others}".strip()
            tunables = given.get("GLIBC_TUNABLES", os.environ.get("GLIBC_TUNABLES", ""))
            # What sits in a thread's own cache counts as in use; without the cache the reading is exact.
            added["GLIBC_TUNABLES"] = f"{tunables}:glibc.malloc.tcache_count=0".strip(":")
        return added

    def _preload(self, argv: tuple[str, ...], cwd: Path | None) -> str:
        """A library for dynamically linked programs of C and the like; empty where it cannot be had."""
        assert self.directory is not None
        program = binary.inspect(argv[0], cwd) if argv else binary.Binary(None)
        if (
            not program.is_elf
            or program.is_static
            or program.sanitizer
            or program.is_python
            or program.path is None
        ):
            return ""
        if program.path.resolve().name in ("node", "java", "bash", "dash", "busybox"):
            return ""
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        library = self.directory / "agent.so"
        if compiler is None:
            return ""
        options = [
            "-shared",
            "-fPIC",
            "-O2",
            "-pthread",
            "-o",
            str(library),
            str(AGENTS / "glibc/agent.c"),
        ]
        try:
            code, _, _ = supervisor.capture([compiler, *options], _COMPILE_S)
        except LeakguardError:
            return ""
        return str(library) if code == 0 and library.exists() else ""

    def read(self, pids: Iterable[int]) -> dict[int, float]:
        """Bytes in use in each process that can tell; of none where one that answered before does not."""
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
        known = {pid: value for pid, value in answers.items() if value is not None}
        if not self._known:
            self._known = frozenset(known)
            self.is_active = bool(known)
            self.told = self._tell(len(known), len(pids))
        return {} if self._known & set(pids) - known.keys() else known

    def _tell(self, known: int, total: int) -> str:
        if not known:
            return (
                "no live heap: no agent answered (Python, Node, Java and dynamically linked glibc programs can), "
                f"so {_UNSEEN}"
            )
        return f"live heap read in {known} of {total} process(es)"

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
        """Removes the sockets."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def _ask_jvm(pid: int) -> float | None:
    """Used heap after a full collection, in bytes, by ``jcmd``."""
    jcmd = shutil.which("jcmd")
    if jcmd is None or tree.runtime([pid]) != "jvm":
        return None
    try:
        supervisor.capture([jcmd, str(pid), "GC.run"], _ANSWER_S)
        code, stdout, _ = supervisor.capture([jcmd, str(pid), "GC.heap_info"], _ANSWER_S)
    except LeakguardError:
        return None
    return _used_heap(stdout.decode("utf-8", "replace")) if code == 0 else None


def _used_heap(told: str) -> float | None:
    """``garbage-first heap   total 65536K, used 1853K [...]``; other collectors list each generation."""
    used = 0
    for line in told.splitlines():
        words = line.replace(",", " ").split()
        if "used" not in words or line.lstrip().startswith(("Metaspace", "class space")):
            continue
        value = words[words.index("used") + 1]
        if value.endswith("K") and value[:-1].isdigit():
            used += int(value[:-1]) * 1024
    return float(used) if used else None
