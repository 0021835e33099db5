"""Which calls of compiled code leave what a service keeps: C, C++, Rust, and extensions of Python.

The preloaded library takes the stacks, from when a leak is confirmed on. What each stack has left
is compared between windows of requests, and only the stacks that leave most are given names.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.processes import tree
from pytest_leakguard.programs import symbolize
from pytest_leakguard.programs.loaded_code import LoadedCode
from pytest_leakguard.services.causes import Explanation, of_process
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.native_holders import Holder, holder_of
from pytest_leakguard.tracker.live import find_held
from pytest_leakguard.tracker.traces import Amount, Stack, Traced

_EVEN_SHARE = 0.4
"""Least part of what one window leaves that the other has to leave too; what is made once, as a
cache that starts, does not come again."""
_ALL_SHARE = 0.9
"""Part of the bytes allocated last that is taken for all of them; the rest is other blocks."""
_LEAST_HELD = 0.25
"""Least share of what all calls leave for it to be asked what holds it, which takes a search."""
_KEPT = "the process can still reach it: a list, a table or a cache keeps it"
OPENED = ("descriptor", "thread", "child")
"""What is opened or started, and is no memory; as ``tracker.traces`` calls it."""
_MOST_STACKS = 40
"""Upper limit of the stacks that are given names; those that leave most come first."""
_NOTHING = Amount()
_INTERPRETED = re.compile(
    r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)\n', re.MULTILINE
)
"""A call, as faulthandler writes it."""
_BRIDGES = ("python", "libpython", "_ctypes.", "libffi.", "_cffi_backend.")
"""How the files of an interpreter, and of what calls a library for it, begin."""
_OF_INTERPRETER = "/lib-dynload/"
"""In the paths of the extensions that come with an interpreter, such as that of ``mmap``."""
_EVALUATION = ("_PyEval_EvalFrame", "PyEval_EvalFrame", "_PyEval_Vector")
"""How the functions begin in which CPython runs Python code."""


@dataclass(slots=True)
class NativeCalls:
    """Stacks of each process, noted after each window."""

    heap: HeapReader
    pids: tuple[int, ...]
    notes: dict[int, list[Traced]] = field(default_factory=dict)

    @classmethod
    def of(cls, heap: HeapReader, pids: Iterable[int]) -> Iterator[NativeCalls]:
        """Have stacks taken from now on in those processes whose blocks are counted, if any."""
        counted = tuple(pid for pid in pids if pid in heap.counted)
        if counted:
            heap.trace(True)
            yield cls(heap, counted)

    def waits(self) -> bool:
        """Return whether one of them still runs."""
        return any(map(tree.exists, self.pids))

    def note(self) -> None:
        """Keep what is alive after a window."""
        for pid in self.pids:
            traced = self.heap.traced(pid)
            if traced is not None:
                self.notes.setdefault(pid, []).append(traced)

    def close(self) -> None:
        """Have none taken any more."""
        self.heap.trace(False)

    def explanations(self, requests: int) -> Iterable[Explanation]:
        """Return what was left by the windows of so many requests each, most first."""
        for pid, notes in self.notes.items():
            stacks: dict[tuple[str, ...], list[Stack]] = {}
            blocks = [*_of_series(pid, [note.blocks for note in notes], requests, "", stacks)]
            yield from self._with_holders(pid, blocks, notes[-1], stacks)
            yield from _of_series(pid, [one.mappings for one in notes], requests, "mapping")
            for kind in OPENED:
                opened = [one.opened.get(kind, {}) for one in notes]
                for one in _of_series(pid, opened, requests, kind):
                    yield replace(one, bytes_per_request=0.0)

    def _with_holders(
        self,
        pid: int,
        found: list[Explanation],
        traced: Traced,
        stacks: Mapping[tuple[str, ...], list[Stack]],
    ) -> Iterator[Explanation]:
        """Say what leads to what the calls leave: a variable, where one holds most of it."""
        held = self._held(pid)
        whole = sum(one.bytes_per_request for one in found)
        for one in found:
            is_much = one.bytes_per_request >= _LEAST_HELD * whole
            holder = self._holder(pid, traced, stacks.get(one.names, [])) if is_much else None
            if holder is None:
                yield replace(one, details=(*one.details, *held))
                continue
            names = (holder.file, f"global variable {holder.name}")
            yield replace(one, holders=names, held_by=holder.held_by)

    def _holder(self, pid: int, traced: Traced, stacks: list[Stack]) -> Holder | None:
        """Return the variable that holds what these calls have left."""
        counted = self.heap.counted.get(pid)
        if counted is None or counted.has_python:
            return None
        addresses = [at for stack in stacks for at in traced.addresses.get(stack, ())]
        amounts = [traced.blocks[stack] for stack in stacks if stack in traced.blocks]
        size_bytes = sum(amount.size_bytes for amount in amounts)
        return holder_of(pid, counted, addresses, size_bytes) if addresses else None

    def _held(self, pid: int) -> tuple[str, ...]:
        """Say whether anything leads to what was allocated last; nothing where it is mixed.

        What an interpreter made before it was counted may lead there, unseen.
        """
        counted = self.heap.counted.get(pid)
        if counted is None or counted.has_python:
            return ()
        held = find_held(pid, counted, self.heap.epoch, self.heap.epoch)
        if held is None or not held.bytes:
            return ()
        if held.lost_share >= _ALL_SHARE:
            return ("nothing in the process leads there any more: the pointer is lost",)
        return (_KEPT,) if held.lost_share <= 1 - _ALL_SHARE else ()


def _of_series(
    pid: int,
    notes: list[dict[Stack, Amount]],
    requests: int,
    kind: str,
    stacks: dict[tuple[str, ...], list[Stack]] | None = None,
) -> Iterable[Explanation]:
    """What they leave by their names; ``stacks`` is given the stacks that have each name."""
    left = _steady(notes) or _of_all(notes)
    chosen = sorted(left, key=lambda stack: -left[stack].size_bytes)[:_MOST_STACKS]
    code = LoadedCode.of(pid) if chosen else LoadedCode(())
    together: dict[tuple[str, ...], Explanation] = {}
    for stack in chosen:
        frames = tuple(map(code.caller, stack.addresses))
        calls = (*own_calls(symbolize.unfolded(frames)), *interpreted(stack.interpreted))
        if not calls:
            continue
        amount = left[stack]
        one = _explanation(pid, calls, kind, amount, requests)
        before = together.get(one.names)
        if before is not None:
            more = one.bytes_per_request, one.entries_per_request
            one = replace(
                before,
                bytes_per_request=before.bytes_per_request + more[0],
                entries_per_request=before.entries_per_request + more[1],
            )
        together[one.names] = one
        if stacks is not None:
            stacks.setdefault(one.names, []).append(stack)
    return together.values()


def _explanation(
    pid: int, calls: tuple[Frame, ...], kind: str, amount: Amount, requests: int
) -> Explanation:
    return Explanation(
        stack=calls,
        names=fingerprint.own_names(calls),
        bytes_per_request=amount.size_bytes / requests,
        entries_per_request=amount.blocks / requests,
        details=_details(calls),
        processes=(of_process(pid),),
        kind=kind,
        is_native=True,
    )


def _details(calls: tuple[Frame, ...]) -> tuple[str, ...]:
    """The text of the line, where its source is here."""
    own = fingerprint.innermost_own(calls)
    if own is None or not own.file or not own.line:
        return ()
    text = linecache.getline(own.file, own.line).strip()
    return (f"line: {text}",) if text else ()


def _steady(notes: list[dict[Stack, Amount]]) -> Mapping[Stack, Amount]:
    """What each stack has left in a window, where both of the last two left some."""
    if len(notes) < 3:
        return {}
    before, middle, after = notes[-3:]
    left: dict[Stack, Amount] = {}
    for stack, now in after.items():
        then, first = middle.get(stack, _NOTHING), before.get(stack, _NOTHING)
        gains = sorted((then.size_bytes - first.size_bytes, now.size_bytes - then.size_bytes))
        if gains[0] > _EVEN_SHARE * gains[1]:
            left[stack] = Amount(sum(gains) // 2, (now.blocks - first.blocks) // 2)
    return left


def _of_all(notes: list[dict[Stack, Amount]]) -> Mapping[Stack, Amount]:
    """What each stack has left in a window on average: a leak may come only now and then."""
    if not notes:
        return {}
    left: dict[Stack, Amount] = {}
    for stack, now in notes[-1].items():
        left[stack] = Amount(now.size_bytes // len(notes), now.blocks // len(notes))
    return {stack: amount for stack, amount in left.items() if amount.size_bytes > 0}


def interpreted(text: str) -> tuple[Frame, ...]:
    """The calls that ``faulthandler`` has written, innermost first; one that is cut off is none."""
    found = _INTERPRETED.finditer(text)
    return tuple(Frame(one["function"], one["file"], int(one["line"])) for one in found)


def own_calls(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Without allocators and, in an interpreter, without its calls and what they hang on.

    Empty where only the interpreter allocated.
    """
    inside: list[Frame] = []
    for frame in fingerprint.calls(stack):
        name = (frame.module or "").rpartition("/")[2]
        if name.startswith(_BRIDGES) or _OF_INTERPRETER in (frame.module or ""):
            # What is outside the innermost Python code, as asyncio's C code, did not allocate.
            is_evaluation = (frame.function or "").startswith(_EVALUATION)
            if is_evaluation or any(not fingerprint.is_c_library(one) for one in inside):
                break
            continue
        inside.append(frame)
    return tuple(inside)
