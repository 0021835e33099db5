"""The calls that led to a leak, as a person reads them: own calls in full, libraries folded.

Runs of library calls become one line that names the libraries; paths are short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path

from pytest_leakguard.core.fingerprint import (
    calls,
    innermost_own,
    is_c_library,
    is_cxx_library,
    is_runtime,
)
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.runtimes import is_library
from pytest_leakguard.core.text import one_line, printable, readable_name, short_path, shortened

MOST_CALLS = 24
"""Lines for the calls of one leak, half a screen; a deep recursion has more."""
_LAST_CALLS = 6
"""Kept of the outer end where there are more: they name the test."""
FOLD = "… "
"""Begins a line that stands for several calls."""
_FOLDED = 2
"""Library calls in a row from which on they are folded; a single one takes no more room."""
_MOST_LIBRARIES = 3
"""Named in one fold."""
_LONGEST_SOURCE = 512
"""Characters of a source line that are looked at."""
_MOST_SOURCE_BYTES = 4 << 20
"""Of a file that a line is read from; sources that people write are smaller."""

_PACKAGE = re.compile(r"(?:^|/)(?:site|dist)-packages/([^/]+)")
_STDLIB = re.compile(r"^<frozen |(?:^|/)lib(?:64)?/python3\.\d+/")
_SCRIPT = re.compile(r"(?:^|/)s?bin/([^/.]+)$")
"""What pip installs to start a package: ``.venv/bin/gunicorn``."""
_SYSTEM_MODULE = re.compile(r"^/(?:usr/)?lib(?:32|64|exec)?/")
_PYTHON_NAME = re.compile(r"^_?Py[A-Z_]\w*$|^(?:method|cfunction|slot|object)_vectorcall")
_PYTHON_MODULE = re.compile(r"^(?:libpython[23]|python[23](?:\.\d+)?$)")
_RUNNER_SOURCE = re.compile(
    r"(?:^|/)(?:(gtest|gmock)_main\.cc|(catch_amalgamated|catch_main)\.cpp|(doctest)\.h)$"
)
_BY_NAME = (
    (re.compile(r"^testing::"), "GoogleTest"),
    (re.compile(r"^Catch::"), "Catch2"),
    (re.compile(r"^doctest::"), "doctest"),
    (re.compile(r"^boost::"), "Boost"),
    (re.compile(r"^absl::"), "Abseil"),
    (re.compile(r"^folly::"), "folly"),
    (re.compile(r"^Q[A-Z]|^QtPrivate::"), "Qt"),
    (re.compile(r"^<?&?(?:alloc|core|std)::.*[^)]$"), "Rust's library"),
    (re.compile(r"^<?tokio::"), "tokio"),
)
_BY_MODULE = (
    (re.compile(r"^lib(gtest|gmock)"), "GoogleTest"),
    (re.compile(r"^libCatch2"), "Catch2"),
    (re.compile(r"^libQt"), "Qt"),
    (re.compile(r"^libboost_"), "Boost"),
)
_SOURCES = frozenset(
    ".c .cc .cpp .cxx .c++ .h .hh .hpp .hxx .inl .ipp .cu .m .mm .rs .go .py .pyx .pxd .d .zig .nim"
    " .swift .f .f90 .f95 .java .kt .js .ts .mjs .adb .pas .cr".split()
)


@dataclass(frozen=True, slots=True)
class Call:
    """One line: a call and where it is, or a fold that has no place."""

    name: str
    where: str = ""


def site(finding: Finding, root: Path | None) -> str:
    """``shop.py:9 in Order.__init__``: where a reader should look first; empty without a stack."""
    frame = innermost_own(finding.stack)
    if frame is None:
        return ""
    call = _call(frame, root)
    return f"{call.where} in {call.name}" if call.where else call.name


def callers(finding: Finding, root: Path | None, in_full: bool = False) -> list[Call]:
    """From the caller of the allocating function out to the test, ``main`` or a thread's start."""
    stack = calls(finding.stack)
    own = innermost_own(finding.stack)
    outer = stack[stack.index(own) + 1 :] if own in stack else ()
    if in_full:
        return [_call(frame, root) for frame in outer]
    return _bounded(list(_folded(outer, root)))


@dataclass(frozen=True, slots=True)
class Group:
    """Calls in a row: one of the project's own, or all of a run of library calls."""

    library: str
    """The libraries in words; empty for an own call."""
    calls: tuple[Call, ...]
    leaks: bool = False
    """This is the line to look at first."""


def groups(finding: Finding, root: Path | None, most: int) -> list[Group]:
    """At most ``most`` calls, innermost first, with what a library did below the own line."""
    stack = calls(finding.stack) or finding.stack
    own = innermost_own(finding.stack)
    found: list[Group] = []
    for is_theirs, group in groupby(stack[:most], key=lambda frame: bool(library(frame))):
        run = list(group)
        if is_theirs:
            lines = tuple(_call(frame, root) for frame in run)
            found.append(Group(_named(map(library, run)), lines, own in run))
        else:
            found.extend(Group("", (_call(frame, root),), frame is own) for frame in run)
    return found


def is_of_test(finding: Finding, test_file: str) -> bool:
    """Whether the calls end in this file."""
    stack = calls(finding.stack)
    last = next((frame for frame in reversed(stack) if not library(frame)), None)
    return bool(last and last.file and last.file.endswith(test_file))


def source(finding: Finding, root: Path | None) -> str:
    """The text of the allocating line, where the file is here and lies in the project."""
    frame = innermost_own(finding.stack)
    if frame is None or not frame.file or not frame.line or root is None:
        return ""
    return _source_line(root / frame.file, frame.line, root)


def line_of(finding: Finding) -> int:
    """The number of the allocating line; 0 where nobody knows it."""
    frame = innermost_own(finding.stack)
    return (frame.line if frame else 0) or 0


def context(finding: Finding, root: Path | None, around: int) -> list[tuple[int, str]]:
    """The allocating line between so many lines before and after it, each with its number.

    Empty where the file is not here, or lies outside the project.
    """
    frame = innermost_own(finding.stack)
    if frame is None or not frame.file or not frame.line or root is None:
        return []
    return _source_lines(root / frame.file, frame.line, root, around)


@lru_cache(maxsize=1024)
def _source_line(path: Path, number: int, root: Path) -> str:
    return "".join(one_line(text) for _, text in _source_lines(path, number, root, 0))


def _source_lines(path: Path, number: int, root: Path, around: int) -> list[tuple[int, str]]:
    """Nothing outside the project is read: a report that somebody else made names the file."""
    if path.suffix.lower() not in _SOURCES:
        return []
    try:
        real = path.resolve()
        is_inside = real.is_relative_to(root.resolve())
        if not is_inside or not real.is_file() or real.stat().st_size > _MOST_SOURCE_BYTES:
            return []
        with real.open(encoding="utf-8", errors="replace") as stream:
            wanted = islice(
                enumerate(stream, start=1), max(0, number - 1 - around), number + around
            )
            lines = [(at, printable(line[:_LONGEST_SOURCE]).rstrip()) for at, line in wanted]
    except (OSError, ValueError):
        return []
    return lines if any(at == number for at, _ in lines) else []


def _folded(frames: Sequence[Frame], root: Path | None) -> Iterator[Call]:
    for is_theirs, group in groupby(frames, key=lambda frame: bool(library(frame))):
        run = list(group)
        if is_theirs and len(run) >= _FOLDED:
            yield Call(f"{FOLD}{len(run)} frames in {_named(map(library, run))}")
        else:
            yield from (_call(frame, root) for frame in run)


def _named(libraries: Iterable[str]) -> str:
    names = list(dict.fromkeys(libraries))
    more = " and others" if len(names) > _MOST_LIBRARIES else ""
    return ", ".join(names[:_MOST_LIBRARIES]) + more


def _bounded(lines: list[Call]) -> list[Call]:
    if len(lines) <= MOST_CALLS:
        return lines
    first = MOST_CALLS - _LAST_CALLS - 1
    left_out = Call(f"{FOLD}{len(lines) - first - _LAST_CALLS} more frames")
    return [*lines[:first], left_out, *lines[-_LAST_CALLS:]]


def _call(frame: Frame, root: Path | None) -> Call:
    address = frame.address if frame.offset is None else frame.offset
    name = one_line(readable_name(frame.function)) if frame.function else f"0x{address:x}"
    if frame.file:
        where = one_line(short_path(frame.file, root))
        if frame.line:
            where += f":{frame.line}"
    else:
        where = one_line((frame.module or "").rpartition("/")[2])
    return Call(name, where)


def _script(frame: Frame) -> re.Match[str] | None:
    return _SCRIPT.search(frame.file or "") if frame.function == "<module>" else None


@lru_cache(maxsize=65536)
def library(frame: Frame) -> str:
    """The library whose code runs there, in words; empty for the project's own code."""
    file, module = frame.file or "", frame.module or ""
    base = module.rpartition("/")[2]
    if package := _PACKAGE.search(file) or _script(frame):
        return one_line(package.group(1).partition(".")[0])
    if _STDLIB.search(file):
        return "Python's library"
    if runner := _RUNNER_SOURCE.search(file):
        return "GoogleTest" if runner.group(1) else "doctest" if runner.group(3) else "Catch2"
    if is_runtime(frame):
        return "the tool"
    if _PYTHON_MODULE.match(base) or _PYTHON_NAME.match(frame.function or ""):
        return "Python"
    named = _by_name(frame, base)
    if named and (is_library(frame) or named in ("GoogleTest", "Catch2", "doctest")):
        return named
    if is_c_library(frame):
        return "the C library"
    if is_cxx_library(frame):
        return "the C++ library"
    if is_library(frame):
        return one_line(base.partition(".so")[0]) or "libraries"
    return one_line(base.partition(".so")[0]) if _SYSTEM_MODULE.match(module) else ""


def _by_name(frame: Frame, base: str) -> str:
    name = readable_name(frame.function or "")
    for pattern, words in _BY_NAME:
        if pattern.match(name):
            return words
    for pattern, words in _BY_MODULE:
        if pattern.match(base):
            return words
    return ""


def fitted(call: Call, column: int, width: int) -> str:
    """Name and place in two columns; a long name pushes its place to the right."""
    if not call.where:
        return call.name
    room = max(20, width - len(call.where) - 2)
    return f"{shortened(call.name, room):<{column}}  {call.where}"
