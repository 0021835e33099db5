"""What the heap of a Java service gains: which calls allocate it, and by which fields it is held.

``jcmd`` loads the sampler into the JVM once a leak is confirmed, and writes two heap dumps, which
Java compares in a process of its own. Where the JVM takes no sampler, its class histogram says of
which class there are more.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.explain.in_service import PACE
from pytest_leakguard.processes import supervisor, tree
from pytest_leakguard.services import jvm
from pytest_leakguard.services.causes import Explanation, of_process
from pytest_leakguard.services.java_sources import Sources
from pytest_leakguard.services.live_heap import used_heap
from pytest_leakguard.tracker.library import JAVA_LIBRARY

_ANALYSIS = Path(__file__).parent.parent / "agents" / "java" / "HeapGrowth.java"
_ANSWER_S = 60.0
"""Upper limit of the time that one answer of ``jcmd`` or the comparison takes, in seconds."""
_LARGEST_DUMP = 1 << 30
"""Upper limit of a heap dump that is compared, in bytes."""
_EVEN_SHARE = 0.4
"""Least part of what one window leaves that the other has to leave too; what is made once, as a
cache that starts, does not come again."""
_HOLDING_SHARE = 0.25
"""Least part of what a stack leaves that has to hang on a field that is told as its holder."""
_SETTLING = 2
"""Windows before the first reading: what is made once is made in them."""
_RUNTIME = re.compile(r"(java|javax|jdk|sun|com\.sun|kotlin|scala)\.")
_LAMBDA_CLASS = re.compile(r"\$\$Lambda[\w$+./]*")
"""The class that the JVM makes for a lambda, with a number and an address."""
_THREAD_LOCAL = re.compile(r"^\(thread\)\.threadLocals\.table\[([^]]+)\]\.value")
_LAMBDA = re.compile(r"lambda\$(\w+)\$\d+")
_HISTOGRAM = re.compile(r"^\s*\d+:\s+(\d+)\s+(\d+)\s+(\S+)", re.MULTILINE)
_PRIMITIVES = {
    "B": "byte",
    "C": "char",
    "D": "double",
    "F": "float",
    "I": "int",
    "J": "long",
    "S": "short",
    "Z": "boolean",
}
"""Types in a signature; Java Virtual Machine Specification, 4.3.2."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call, as the JVM names it."""

    kind: str
    method: str
    source: str
    """Name of the file, without a folder."""
    line: int


@dataclass(frozen=True, slots=True)
class _Amount:
    size_bytes: int
    objects: int
    kind: str
    """Class of the objects."""


_Note = dict[tuple[_Call, ...], _Amount]


@dataclass(slots=True)
class JavaHeap:
    """What one JVM says."""

    pid: int
    jcmd: str
    folder: Path
    is_sampled: bool
    notes: list[_Note] = field(default_factory=list)
    windows: int = 0
    dumps: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, pids: Iterable[int]) -> Iterator[JavaHeap]:
        """Have allocations noted from now on in each JVM that ``jcmd`` reaches."""
        for pid in pids:
            jcmd = jvm.jcmd_of(pid)
            if jcmd is None:
                continue
            folder = Path(tempfile.mkdtemp(prefix="leakguard-java-"))
            heap = cls(pid, jcmd, folder, is_sampled=False)
            heap.is_sampled = JAVA_LIBRARY.is_file() and heap.ask_sampler("begin")
            yield heap

    def waits(self) -> bool:
        """Return whether it still runs."""
        return tree.exists(self.pid)

    def note(self) -> None:
        """Keep what is alive after a window, once what is made once has been made."""
        self.windows += 1
        if self.windows < _SETTLING:
            return
        self.notes.append(self._sampled() if self.is_sampled else self._histogram())
        if self.windows in (_SETTLING, 2 * _SETTLING):
            self._dump()

    def explanations(self, requests: int) -> Iterable[Explanation]:
        """Return what windows of so many requests each have left, most first."""
        holders = self._holders(requests)
        sources = Sources.of(self.pid)
        left = _steady(self.notes)
        found: dict[tuple[str, ...], Explanation] = {}
        for stack in sorted(left, key=lambda stack: -left[stack].size_bytes):
            one = _explanation(stack, left[stack], sources, self.pid, requests)
            before = found.get(one.names, replace(one, bytes_per_request=0.0))
            both = before.bytes_per_request + one.bytes_per_request
            found[one.names] = replace(before, bytes_per_request=both)
        return [_held(cause, holders) for cause in found.values()]

    def close(self) -> None:
        """Have none noted any more, and remove the dumps: what users have sent may be in there."""
        if self.is_sampled:
            self.ask_sampler("end")
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask_sampler(self, command: str) -> bool:
        # It answers that it has called the library, whatever that has answered.
        answer = self._ask("JVMTI.agent_load", str(JAVA_LIBRARY), command)
        return "return code: 0" in answer or answer.strip().endswith(" 0")

    def _ask(self, *command: str) -> str:
        return jvm.ask(self.pid, _ANSWER_S, *command) or ""

    def _sampled(self) -> _Note:
        path = self.folder / f"note-{self.windows}"
        self.ask_sampler(f"note:{path}")
        try:
            return _read_note(path.read_text("utf-8", "replace"))
        except (OSError, ValueError):
            return {}

    def _histogram(self) -> _Note:
        """By class alone; a full collection comes first."""
        note: _Note = {}
        for found in _HISTOGRAM.finditer(self._ask("GC.class_histogram")):
            kind = _readable(found[3])
            note[(_Call(kind, "", "", 0),)] = _Amount(int(found[2]), int(found[1]), kind)
        return note

    def _dump(self) -> None:
        path = self.folder / f"{self.windows}.hprof"
        used = used_heap(self._ask("GC.heap_info"))
        if used is None or used > _LARGEST_DUMP:
            return
        self._ask("GC.heap_dump", str(path))
        if path.is_file() and path.stat().st_size <= _LARGEST_DUMP:
            self.dumps.append(path)

    def _holders(self, requests: int) -> list[Explanation]:
        if len(self.dumps) < 2:
            return []
        java = Path(self.jcmd).with_name("java")
        command = [str(java), str(_ANALYSIS), *map(str, self.dumps)]
        try:
            code, out, _ = supervisor.capture(command, _ANSWER_S)
        except LeakguardError:
            return []
        lines = out.decode("utf-8", "replace").splitlines() if code == 0 else []
        return [_holder(line, _SETTLING * requests) for line in lines]


def _readable(signature: str) -> str:
    """``Lcom/shop/Order;`` and ``[B`` as source code has them: ``com.shop.Order``, ``byte[]``."""
    kind = signature.lstrip("[")
    depth = len(signature) - len(kind)
    if depth and len(kind) == 1:
        kind = _PRIMITIVES.get(kind, kind)
    if kind.startswith("L") and kind.endswith(";"):
        kind = kind[1:-1]
    return _without_numbers(kind.replace("/", ".")) + "[]" * depth


def _without_numbers(text: str) -> str:
    return _LAMBDA_CLASS.sub("$$Lambda", text)


def _read_note(text: str) -> _Note:
    """An amount in each line that begins with one, followed by its calls, innermost first."""
    note: _Note = {}
    amount: _Amount | None = None
    calls: list[_Call] = []
    for line in (*text.splitlines(), "0\t0\t"):
        words = line.split("\t")
        if not line.startswith("\t"):
            if amount is not None:
                note[tuple(calls)] = amount
            amount = _Amount(int(words[0]), int(words[1]), _readable(words[2]))
            calls = []
            continue
        _, kind, method, source, number = words
        calls.append(_Call(_readable(kind), method, source, int(number)))
    return note


def _steady(notes: list[_Note]) -> _Note:
    """What each stack has left in a window, where both windows left some."""
    if len(notes) < 3:
        return {}
    before, middle, after = notes[-3:]
    nothing = _Amount(0, 0, "")
    left: _Note = {}
    for stack, now in after.items():
        then, first = middle.get(stack, nothing), before.get(stack, nothing)
        gains = sorted((then.size_bytes - first.size_bytes, now.size_bytes - then.size_bytes))
        if gains[1] > 0 and gains[0] > _EVEN_SHARE * gains[1]:
            objects = (now.objects - first.objects) // 2
            left[stack] = _Amount(sum(gains) // 2, objects, now.kind)
    return left


def _own_calls(stack: tuple[_Call, ...]) -> list[_Call]:
    """Without the Java library's and what it generates; all of them where none is left."""
    own = []
    for call in stack:
        if not _RUNTIME.match(call.kind) and "$$Lambda" not in call.kind:
            own.append(call)
    return own


def _explanation(
    stack: tuple[_Call, ...], amount: _Amount, sources: Sources, pid: int, requests: int
) -> Explanation:
    calls = _own_calls(stack)
    frames = tuple(
        Frame(
            f"{call.kind}.{call.method}",
            sources.path_of(call.kind, call.source) or None,
            call.line or None,
        )
        for call in calls
        if call.method
    )
    called = [_LAMBDA.sub(r"lambda$\1", f"{call.kind}.{call.method}") for call in calls]
    text = sources.text_of(frames[0]) if frames else ""
    pace = f"{amount.objects / requests:.3g} x {amount.kind} per request"
    return Explanation(
        stack=frames,
        names=(amount.kind, *called[:8]),
        details=(*([f"line: {text}"] if text else []), f"what piles up: {pace}"),
        bytes_per_request=amount.size_bytes / requests,
        entries_per_request=amount.objects / requests,
        processes=(of_process(pid),),
    )


def _holder(line: str, requests: int) -> Explanation:
    grown, more, holder, kind, way = _without_numbers(line).split("\t")
    way = _THREAD_LOCAL.sub(r"\1 of each thread", way.replace(".[", "["))
    return Explanation(
        holders=(way, holder, kind),
        held_by=f"{way} ({holder}, {PACE}) -> {kind}",
        bytes_per_request=int(grown) / requests,
        entries_per_request=int(more) / requests,
    )


def _held(cause: Explanation, holders: list[Explanation]) -> Explanation:
    """Return it with the first field on which as much hangs as it leaves."""
    for one in holders:
        if one.bytes_per_request >= _HOLDING_SHARE * cause.bytes_per_request:
            return replace(
                cause,
                holders=one.holders,
                held_by=one.held_by,
                entries_per_request=one.entries_per_request,
            )
    return cause
