"""One finding for each line of the service's own code, of what a tool reports call by call."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from pytest_leakguard.core.leaks import Finding, Frame, LeakKind

_INSTALLED = re.compile(
    r"/(?:site|dist)-packages/|/lib(?:64)?/python\d(?:\.\d+)?t?/|/pypy\d|/bin/[^/.]+$"
)
"""Where libraries, the standard library of any interpreter and what starts a server are."""
_Place = tuple[str | None, int | None, str | None]


def own_frame(stack: Iterable[Frame]) -> Frame | None:
    """The innermost call of the service's own code; ``None`` where libraries are by themselves."""
    for frame in stack:
        is_source = frame.file and frame.line and not frame.file.startswith("<")
        if is_source and not _INSTALLED.search(frame.file or ""):
            return frame
    return None


def one_per_line(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sum up what Python code allocates by its line, however a request came there.

    What a library seems to leave at a call that leads to such a line is counted there too:
    the interpreter hands a block that the library has given back out again, and keeps no second
    account of it.
    """
    findings = tuple(findings)
    python = [finding for finding in findings if finding.kind is LeakKind.PYTHON_OBJECTS]
    below = _lines_below(python)
    by_line: dict[_Place, list[Finding]] = {}
    for finding in python:
        own = own_frame(finding.stack)
        line = _place(own) if own else (finding.fingerprint, 0, None)
        is_librarys = bool(finding.stack) and finding.stack[0] is not own
        if is_librarys:
            line = below.get(_place(finding.stack[0]), (0, line))[1]
        by_line.setdefault(line, []).append(finding)
    others = [finding for finding in findings if finding.kind is not LeakKind.PYTHON_OBJECTS]
    return (*map(_together, by_line.values()), *others)


def _place(frame: Frame) -> _Place:
    return frame.file, frame.line, frame.function


def _lines_below(findings: Iterable[Finding]) -> dict[_Place, tuple[int, _Place]]:
    """The own line that each library's call leads to, the one that leaves most of several."""
    below: dict[_Place, tuple[int, _Place]] = {}
    for finding in findings:
        own = own_frame(finding.stack)
        if own is None:
            continue
        outer = finding.stack[finding.stack.index(own) + 1 :]
        for frame in outer:
            known = below.get(_place(frame), (0, _place(own)))
            below[_place(frame)] = max(
                known, (finding.size_bytes, _place(own)), key=lambda one: one[0]
            )
    return below


def _together(those: list[Finding]) -> Finding:
    """One finding under the name of the largest that has a line of the service's own."""
    largest = max(those, key=lambda one: (_is_own(one), one.size_bytes))
    rest = [one for one in those if one is not largest]
    if not rest:
        return largest
    former = [*largest.former]
    sites = [*largest.sites]
    for one in rest:
        former += [one.fingerprint, *one.former]
        sites += one.sites
    return replace(
        largest,
        size_bytes=sum(one.size_bytes for one in those),
        blocks=sum(one.blocks for one in those),
        is_gating=any(one.is_gating for one in those),
        former=tuple(dict.fromkeys(former)),
        sites=tuple(dict.fromkeys(sites)),
    )


def _is_own(finding: Finding) -> bool:
    own = own_frame(finding.stack)
    return own is not None and finding.stack[0] is own
