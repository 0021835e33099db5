"""Live heap of a service, as an agent inside it or its runtime reports it.

Whether it is known decides how small a leak can be seen.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.growth.filling import Grown
from pytest_leakguard.processes import memory, tree
from pytest_leakguard.programs import binary
from pytest_leakguard.services import jvm
from pytest_leakguard.tracker.live import (
    Held,
    LiveMemory,
    ProcessLive,
    can_be_preloaded,
    find_held,
)
from pytest_leakguard.tracker.traces import Traced, read_traces

AGENTS = Path(__file__).parent.parent / "agents"
_ANSWER_S = 10.0
"""Upper limit of the time an agent or ``jcmd`` may take to answer, in seconds."""
_OTHER_RUNTIMES = ("node", "nodejs", "deno", "java", "go")
"""Programs whose heap is collected, or mapped without C's help: an agent or ``jcmd`` tells it, or
nobody, and blocks say little."""
_UNSEEN = "small leaks and fragmentation cannot be told from free memory that is kept"


@dataclass(slots=True)
class HeapReader:
    """Counts or asks every process of a tree; ``report`` says what that gives."""

    directory: Path | None = None
    """Where the agents' sockets are; private."""
    is_active: bool = True
    """Whether it is worth asking; false for good once nobody answered at the first time."""
    report: str = f"no live heap, as no agent was put inside, so {_UNSEEN}"
    """What the report says of it."""
    epoch: int = 0
    """Number of the request batch that is running."""
    counted: dict[int, ProcessLive] = field(default_factory=dict)
    """What the last reading has found in each process whose blocks are all counted."""
    is_whole: bool = True
    """Whether all processes tell their live heap."""
    _own: dict[int, int] = field(default_factory=dict)
    _loaded: dict[int, int] = field(default_factory=dict)
    """Pages that an agent took for what it needs to look at containers."""
    _live: LiveMemory | None = None
    _known: frozenset[int] = field(default_factory=frozenset)
    _asked: frozenset[int] = field(default_factory=frozenset)
    _mute: set[int] = field(default_factory=set)
    """Whose agent took a question and did not answer: one without a descriptor left."""
    _programs: dict[int, str] = field(default_factory=dict)
    _is_jvm: bool = False

    def environment(
        self, argv: tuple[str, ...], given: dict[str, str], cwd: Path | None
    ) -> dict[str, str]:
        """Return the variables that switch the agents on in the service to be started."""
        self.directory = Path(tempfile.mkdtemp(prefix="leakguard-agent-"))
        merged = {**os.environ, **given}
        paths = [str(AGENTS / "python"), merged.get("PYTHONPATH", "")]
        options = [merged.get("NODE_OPTIONS", ""), f"--require={AGENTS / 'node/agent.js'}"]
        added = {
            "LEAKGUARD_AGENT": str(self.directory),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "NODE_OPTIONS": " ".join(filter(None, options)),
        }
        if argv and can_be_preloaded(merged) and _takes_preload(binary.inspect(argv[0], cwd)):
            with suppress(OSError):  # no room for a folder: agents alone
                self._live = LiveMemory.create()
                added |= self._live.environment(merged)
        return added

    @property
    def is_exact(self) -> bool:
        """Whether every process that is asked counts all of its blocks."""
        return bool(self.counted) and self.counted.keys() >= self._asked

    @property
    def uncounted(self) -> frozenset[int]:
        """Which of those that are asked are not counted."""
        return self._asked - self.counted.keys()

    def own_bytes_of(self, pid: int) -> int:
        """Return the private memory that the tracker and the agent have in a process."""
        return self._own.get(pid, 0) + self._loaded.get(pid, 0)

    def held(self, first: int, last: int) -> Held:
        """Return how what is alive of these epochs is held.

        Nothing where a process that has some of it cannot be searched.
        """
        total = Held()
        for pid, counted in self.counted.items():
            if not any(counted.heap_bytes[first : last + 1]):
                continue
            found = find_held(pid, counted, first, last)
            if found is None:
                return Held()
            # An interpreter has memory that is not counted: what it made before it could be.
            total += replace(found, chained_bytes=0) if counted.has_python else found
        return total

    def trace(self, is_wanted: bool) -> None:
        """Have each process note which calls allocate, from now on; or no longer."""
        if self._live is not None:
            self._live.trace(is_wanted)

    def traced(self, pid: int) -> Traced | None:
        """Return what was allocated in a process since then and is alive; ``None``: not known."""
        counted = self.counted.get(pid)
        return read_traces(pid, counted) if counted else None

    def begin_batch(self) -> None:
        """What is allocated from now on belongs to the next request batch."""
        if self._live is not None:
            self.epoch += 1
            self._live.begin_epoch(self.epoch)

    def read(self, pids: Iterable[int]) -> dict[int, float]:
        """Return the bytes in use in each process that is counted or whose agent answers.

        Empty where one that answered before does not: a part would look like a fall.
        """
        if not self.is_active:
            return {}
        pids = list(pids)
        if frozenset(pids) != self._asked:  # which is dear to find out each time
            self._asked, self._is_jvm = frozenset(pids), tree.runtime(pids) == "jvm"
            self._look_at(pids)
        if self._is_jvm:
            return self._known_of({pid: _ask_jvm(pid) for pid in pids}, pids)
        # All at once: they answer side by side. Who did not answer once is not waited for again.
        asked = [pid for pid in pids if pid not in self._mute]
        callers = [(pid, self._call(pid)) for pid in asked]
        answers = {pid: self._hear(caller) for pid, caller in callers}
        self._mute |= {pid for pid, caller in callers if caller and answers[pid] is None}
        self._count(pids)
        for pid, counted in self.counted.items():
            answers[pid] = float(sum(counted.heap_bytes))
        return self._known_of(answers, pids)

    def _look_at(self, pids: list[int]) -> None:
        for pid in pids:
            if pid not in self._programs:
                self._programs[pid] = "go" if tree.is_go(pid) else tree.executable(pid)
        if self._live is not None:
            self._live.sweep(pids)

    def _count(self, pids: list[int]) -> None:
        if self._live is None:
            return
        self._live.sweep_when_crowded(pids)
        found = self._live.read(pids, self.epoch)
        self._own = {pid: one.own_bytes for pid, one in found.items()}
        self.counted = {pid: one for pid, one in found.items() if self._sees(pid, one)}

    def _sees(self, pid: int, counted: ProcessLive) -> bool:
        """Return whether all that the process holds is counted, block by block."""
        program = self._programs.get(pid, "")
        if not counted.sees_all or counted.lost or program in _OTHER_RUNTIMES:
            return False
        # An interpreter that was told to load nothing has no agent that counts its blocks.
        return counted.has_python or not program.startswith("python")

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
        self.is_whole = not known or known.keys() >= self._asked
        are_silent = self._known & set(pids) - known.keys()
        return {} if are_silent else known

    def _summary(self, known: int, total: int) -> str:
        if known:
            counted = len(self.counted)
            exact = f", in {counted} of them to the byte" if counted else ""
            unseen = total - known
            rest = f"; what the other {unseen} hold is judged by their pages" if unseen else ""
            return f"live heap read in {known} of {total} process(es){exact}{rest}"
        return (
            "no live heap: nothing is counted inside, and no agent answered "
            "(Python, Node, Java and dynamically linked programs can), "
            f"so {_UNSEEN}"
        )

    def settle(self) -> None:
        """Have each interpreter collect all that is garbage after a rest."""
        callers = [self._call(pid, b"settle\n") for pid in self._python()]
        for caller in callers:
            self._hear(caller)

    def _python(self) -> list[int]:
        python = {pid for pid, counted in self.counted.items() if counted.has_python}
        return sorted(python - self._mute)

    def grown(self) -> list[list[Grown]]:
        """Return by interpreter which containers grew most since the last question."""
        pids = self._python()
        before = _private_bytes(pids)
        callers = [self._call(pid, b"growing\n") for pid in pids]
        found = [_grown(_text(caller)) for caller in callers]
        for pid, size in _private_bytes(pids).items():
            grown = max(0, size - before.get(pid, size))
            self._loaded[pid] = self._loaded.get(pid, 0) + grown
        return found

    def _call(self, pid: int, question: bytes = b"") -> socket.socket | None:
        if self.directory is None:
            return None
        caller = socket.socket(socket.AF_UNIX)
        try:
            caller.settimeout(_ANSWER_S)
            caller.connect(f"{self.directory}/{pid}.sock")
            counted = self.counted.get(pid)
            usual = b"collect\n" if counted and counted.has_python else b"heap\n"
            caller.sendall(question or usual)
        except OSError:  # no agent inside, or it is gone
            caller.close()
            return None
        return caller

    @staticmethod
    def _hear(caller: socket.socket | None) -> float | None:
        try:
            return float(_text(caller))
        except ValueError:
            return None

    def close(self) -> None:
        """Remove the sockets and the counts."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._live is not None:
            self._live.close()
            self._live = None


def _private_bytes(pids: list[int]) -> dict[int, int]:
    processes = memory.read(pids).processes
    return {process.pid: process.anonymous + process.swap for process in processes}


def _text(caller: socket.socket | None) -> str:
    """Return an agent's answer, a line; empty where there is none."""
    answer = b""
    if caller is None:
        return ""
    with suppress(OSError), caller:
        while not answer.endswith(b"\n") and (part := caller.recv(1 << 12)):
            answer += part
    return answer.decode("utf-8", "replace")


def _grown(text: str) -> list[Grown]:
    """Read what grew; it is somebody else's process, so nothing in it is taken on trust."""
    found: list[Grown] = []
    try:
        for one in json.loads(text):
            found.append(
                Grown(
                    growth=max(1, int(one["growth"])),
                    length=int(one["length"]),
                    most=int(one["most"]),
                    is_open=bool(one["is_open"]),
                    is_list=bool(one["is_list"]),
                    held_by=tuple(map(str, one["held_by"])),
                    why=str(one["why"]),
                )
            )
    except (KeyError, TypeError, ValueError):
        return []
    return found


def _takes_preload(program: binary.Binary) -> bool:
    """Return whether a preloaded library can count what it allocates."""
    if program.sanitizer:
        return False
    return program.path is None or program.path.resolve().name not in _OTHER_RUNTIMES


def _ask_jvm(pid: int) -> float | None:
    """Return the used heap after a full collection, in bytes, as ``jcmd`` tells it."""
    if jvm.ask(pid, _ANSWER_S, "GC.run") is None:
        return None
    answer = jvm.ask(pid, _ANSWER_S, "GC.heap_info")
    return used_heap(answer) if answer is not None else None


def used_heap(answer: str) -> float | None:
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
