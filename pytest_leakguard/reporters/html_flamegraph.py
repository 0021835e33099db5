"""Stacks of leaks as one tree of calls, each as wide as the bytes that leaked below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.text import place
from pytest_leakguard.reporters.exports import stack_of

MOST_DEPTH = 24
"""Calls of one stack that are drawn, outermost first."""
MOST_BRANCHES = 40
"""Calls drawn beside each other below one; the others are too narrow to be seen."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One call and what was called from it."""

    name: str
    size_bytes: int
    share: float
    """Of the bytes of the call it was made from, in percent."""
    branches: tuple[Branch, ...] = ()


@dataclass(slots=True)
class _Node:
    size_bytes: int = 0
    below: dict[str, _Node] = field(default_factory=dict)


def tree(findings: Iterable[Finding], name: str) -> Branch | None:
    """Everything that leaked under one root; ``None`` when no byte did."""
    root = _Node()
    for finding in findings:
        node = root
        node.size_bytes += finding.size_bytes
        for frame in stack_of(finding)[:MOST_DEPTH]:
            node = node.below.setdefault(_name(frame), _Node())
            node.size_bytes += finding.size_bytes
    return _branch(name, root, root.size_bytes) if root.size_bytes else None


def _name(frame: Frame) -> str:
    base = frame.file.rpartition("/")[2] if frame.file else ""
    if frame.function is None:
        return place(frame)
    return f"{frame.function} ({base})" if base else frame.function


def _branch(name: str, node: _Node, whole: int) -> Branch:
    largest = sorted(node.below.items(), key=lambda item: (-item[1].size_bytes, item[0]))
    branches = []
    for key, below in largest[:MOST_BRANCHES]:
        branches.append(_branch(key, below, node.size_bytes))
    share = round(100 * node.size_bytes / whole, 2)
    return Branch(name, node.size_bytes, share, tuple(branches))
