"""Where bytes leaked, from the leaking line outwards: each bar as wide as what leaked through it.

Runs of library calls are one bar; what is too narrow to be seen is one bar as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.text import counted, size
from pytest_leakguard.reporters import calls_text
from pytest_leakguard.reporters.calls_text import Call

MOST_DEPTH = 12
"""Bars below each other for one leak; the outer end of a deep stack tells least."""
MOST_BRANCHES = 12
"""Bars beside each other below one; more cannot be read."""
_LEAST_SHARE = 0.01
"""Of the bar above it, below which a bar is one of the others: no letter would fit into it."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One bar and those below it."""

    name: str
    size: str
    size_bytes: int
    share: float
    """Of the bar above it, in percent."""
    whose: str = "own"
    """``own``, ``library``, ``others`` or, for the uppermost, ``all``."""
    branches: tuple[Branch, ...] = ()


@dataclass(slots=True)
class _Node:
    size_bytes: int = 0
    outside: dict[Call, _Node] = field(default_factory=dict)


def tree(findings: Iterable[Finding], name: str, root: Path | None = None) -> Branch | None:
    """Everything that leaked under one bar; ``None`` when no byte did."""
    top = _Node()
    for finding in findings:
        node = top
        node.size_bytes += finding.size_bytes
        for call in _outwards(finding, root)[:MOST_DEPTH]:
            node = node.outside.setdefault(call, _Node())
            node.size_bytes += finding.size_bytes
    if not top.size_bytes:
        return None
    return _branch(Call(name), top, top.size_bytes, "all")


def _outwards(finding: Finding, root: Path | None) -> list[Call]:
    """The leaking line, its caller, and so on to the test or ``main``."""
    return [Call(calls_text.site(finding, root)), *calls_text.callers(finding, root)]


def _branch(call: Call, node: _Node, whole: int, whose: str = "") -> Branch:
    largest = sorted(node.outside.items(), key=lambda item: (-item[1].size_bytes, item[0].name))
    branches: list[Branch] = []
    others: list[int] = []
    for below, inner in largest:
        is_narrow = inner.size_bytes < _LEAST_SHARE * node.size_bytes
        if len(branches) >= MOST_BRANCHES or is_narrow:
            others.append(inner.size_bytes)
        else:
            branches.append(_branch(below, inner, node.size_bytes))
    if others:
        branches.append(_others(others, node.size_bytes))
    return Branch(
        name=f"{call.name} ({call.where})" if call.where else call.name,
        size=size(node.size_bytes),
        size_bytes=node.size_bytes,
        share=_share(node.size_bytes, whole),
        whose=whose or ("library" if call.name.startswith(calls_text.FOLD) else "own"),
        branches=tuple(branches),
    )


def _others(sizes: list[int], whole: int) -> Branch:
    name = f"{counted(len(sizes), 'other')}, each too small to be drawn"
    return Branch(name, size(sum(sizes)), sum(sizes), _share(sum(sizes), whole), "others")


def _share(part: int, whole: int) -> float:
    return round(100 * part / whole, 2)
