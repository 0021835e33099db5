"""Counts each block once over a tree of processes: forked children report their parent's again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pytest_leakguard.core.leaks import Leak, LeakKind, Totals
from pytest_leakguard.core.programs import Process, Report

_Key = tuple[LeakKind, tuple[int, ...]]
_Held = dict[int, dict[_Key, Totals]]


def counted_once(report: Report) -> tuple[Leak, ...]:
    """The leaks of all processes without what forked children inherited.

    A child that was forked shares the addresses of its parent, so a block it inherited has the same
    stack of addresses there. What the parent reports at such a stack is taken off the child's.
    """
    if len(report.processes) < 2:
        return report.leaks
    held = _held(report.leaks)
    processes = {process.pid: process for process in report.processes}
    # What each child inherited, as far as it was not yet taken off its figures.
    left: dict[tuple[int, _Key], Totals] = {}
    own: list[Leak] = []
    for leak in report.leaks:
        parent = _origin(leak, processes, held)
        if parent is None:
            own.append(leak)
            continue
        place = leak.pid, _key(leak)
        inherited = left.get(place, held[parent][_key(leak)])
        blocks = min(inherited.blocks, leak.blocks)
        size_bytes = min(inherited.size_bytes, leak.size_bytes)
        left[place] = Totals(inherited.size_bytes - size_bytes, inherited.blocks - blocks)
        own_blocks, own_bytes = leak.blocks - blocks, leak.size_bytes - size_bytes
        if own_blocks or own_bytes:
            own.append(replace(leak, blocks=own_blocks, size_bytes=own_bytes))
    return tuple(own)


def _key(leak: Leak) -> _Key:
    return leak.kind, tuple(frame.address for frame in leak.stack)


def _held(leaks: tuple[Leak, ...]) -> _Held:
    held: _Held = {}
    for leak in leaks:
        key, of_process = _key(leak), held.setdefault(leak.pid, {})
        before = of_process.get(key, Totals())
        of_process[key] = before + Totals(leak.size_bytes, leak.blocks)
    return held


def _origin(leak: Leak, processes: dict[int, Process], held: _Held) -> int | None:
    """The process this leak's blocks may come from; ``None`` when they are its own."""
    if not leak.stack:
        return None
    key = _key(leak)
    origin = at = _forked_from(leak.pid, key, processes, held)
    passed = {leak.pid}
    while at is not None and at not in passed:
        passed.add(at)
        at = _forked_from(at, key, processes, held)
    if at == leak.pid == min(passed):
        # A circle, as reused or unknown process ids can make: one in it has to keep the blocks.
        return None
    return origin


def _forked_from(pid: int, key: _Key, processes: dict[int, Process], held: _Held) -> int | None:
    """The nearest ancestor by fork that reports the same stack.

    Where no parent is named it is the first process with that stack.
    """
    process = processes.get(pid)
    if process is None or not process.is_fork:
        return None
    if not process.ppid:
        for other in sorted(held):
            if other < pid and key in held[other]:
                return other
        return None
    seen = {pid}
    while process and process.is_fork and process.ppid not in seen:
        if key in held.get(process.ppid, {}):
            return process.ppid
        seen.add(process.ppid)
        process = processes.get(process.ppid)  # it may have been killed before it reported
    return None


def totals(leaks: tuple[Leak, ...]) -> tuple[tuple[LeakKind, Totals], ...]:
    """Bytes and blocks per kind, in the order of ``LeakKind``; kinds without leaks are left out."""
    size_bytes: Counter[LeakKind] = Counter()
    blocks: Counter[LeakKind] = Counter()
    for leak in leaks:
        size_bytes[leak.kind] += leak.size_bytes
        blocks[leak.kind] += leak.blocks
    by_kind = []
    for kind in LeakKind:
        if blocks[kind] or size_bytes[kind]:
            by_kind.append((kind, Totals(size_bytes[kind], blocks[kind])))
    return tuple(by_kind)
