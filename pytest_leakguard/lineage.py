"""Counts each block once over a tree of processes: forked children report their parent's again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pytest_leakguard.model import Leak, LeakKind, Process, Report, Totals

_Key = tuple[LeakKind, tuple[int, ...]]


def counted_once(report: Report) -> tuple[Leak, ...]:
    """The leaks of all processes without what forked children inherited.

    A child that was forked shares the addresses of its parent, so a block it inherited has the same
    stack of addresses there. What the parent reports at such a stack is taken off the child's figure.
    """
    if len(report.processes) < 2:
        return report.leaks
    held = _held(report.leaks)
    processes = {process.pid: process for process in report.processes}
    own: list[Leak] = []
    for leak in report.leaks:
        process = processes.get(leak.pid)
        parent = _parent(process, leak, processes, held) if process else None
        if parent is None:
            own.append(leak)
            continue
        inherited = held[parent].get(_key(leak), Totals())
        used = min(inherited.blocks, leak.blocks)
        taken_bytes = min(inherited.size_bytes, leak.size_bytes)
        if leak.blocks > used or leak.size_bytes > taken_bytes:
            own.append(replace(leak, blocks=leak.blocks - used, size_bytes=leak.size_bytes - taken_bytes))
    return tuple(own)


def _key(leak: Leak) -> _Key:
    return leak.kind, tuple(frame.address for frame in leak.stack)


def _held(leaks: tuple[Leak, ...]) -> dict[int, dict[_Key, Totals]]:
    held: dict[int, dict[_Key, Totals]] = {}
    for leak in leaks:
        of_process = held.setdefault(leak.pid, {})
        of_process[_key(leak)] = of_process.get(_key(leak), Totals()) + Totals(leak.size_bytes, leak.blocks)
    return held


def _parent(
    process: Process, leak: Leak, processes: dict[int, Process], held: dict[int, dict[_Key, Totals]]
) -> int | None:
    """The process this leak's blocks may come from; where the report names no parent, the first with that stack."""
    if not process.is_fork or not leak.stack:
        return None
    if process.ppid:
        return process.ppid if process.ppid in held else None
    return next((pid for pid in sorted(held) if pid < process.pid and _key(leak) in held[pid]), None)


def totals(leaks: tuple[Leak, ...]) -> tuple[tuple[LeakKind, Totals], ...]:
    """Bytes and blocks per kind, in the order of ``LeakKind``; kinds without leaks are left out."""
    size_bytes: Counter[LeakKind] = Counter()
    blocks: Counter[LeakKind] = Counter()
    for leak in leaks:
        size_bytes[leak.kind] += leak.size_bytes
        blocks[leak.kind] += leak.blocks
    return tuple(
        (kind, Totals(size_bytes[kind], blocks[kind])) for kind in LeakKind if blocks[kind] or size_bytes[kind]
    )
