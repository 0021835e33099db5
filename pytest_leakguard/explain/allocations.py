"""The calls that led to an allocation, as tracemalloc has noted them."""

from __future__ import annotations

import ast
import linecache
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.explain.code_owner import Owner, is_ours, owner

FRAMES = 24
"""Calls that are kept of an allocation, innermost first; Flask under gunicorn has 17 between a
thread's start and the handler of a request (counted)."""


@contextmanager
def tracing() -> Iterator[None]:
    """Allocations are traced while this lasts, unless they are already.

    CPython until 3.12 never gives back the stacks it has noted: 135 KB for a whole run of an empty
    test, most of them pytest's (measured).
    """
    if tracemalloc.is_tracing():
        yield
        return
    tracemalloc.start(FRAMES)
    try:
        yield
    finally:
        if tracemalloc.is_tracing():
            tracemalloc.stop()


Places = tuple[tuple[str, int], ...]
"""File and line of each call, innermost first; looking up what they are called takes time."""


def places(traceback: tracemalloc.Traceback) -> Places:
    """Innermost first, without the harness and what started the measurement."""
    inside = takewhile(lambda frame: not is_ours(frame.filename), reversed(traceback))
    return tuple(
        (frame.filename, frame.lineno)
        for frame in inside
        if owner(frame.filename) is not Owner.HARNESS
    )


def own_frames(traceback: tracemalloc.Traceback) -> tuple[Frame, ...]:
    """The stack of one allocation, innermost call first."""
    return frames_at(places(traceback))


def frames_at(stack: Places) -> tuple[Frame, ...]:
    """The calls at these places by their names."""
    return tuple(Frame(_function_at(file, line), file, line) for file, line in stack)


def _function_at(file: str, line: int) -> str:
    """tracemalloc knows lines, not functions: the innermost ``def`` around the line."""
    if owner(file) is Owner.INTERPRETER:
        return _function_above(linecache.getlines(file), line)
    return _functions(file).get(line, "<module>")


_DEFINITION = re.compile(r"( *)(?:async )?(def|class) (\w+)")


def _function_above(lines: list[str], line: int) -> str:
    """By the indentation alone, for the standard library: to parse it takes a tenth of a second."""
    names: list[str] = []
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    indent = len(text) - len(text.lstrip()) + bool(_DEFINITION.match(text))
    for above in reversed(lines[:line]):
        found = _DEFINITION.match(above)
        if found is None or len(found[1]) >= indent or (found[2] == "class" and not names):
            continue
        if found[2] == "def" and names:
            break
        names.insert(0, found[3])
        indent = len(found[1])
    return ".".join(names) or "<module>"


def _functions(file: str) -> dict[int, str]:
    if file not in _known:
        _known[file] = _read_functions(file)
    return _known[file]


_known: dict[str, dict[int, str]] = {}
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements have statements; what is below expressions has no name of its own."""


def _read_functions(file: str) -> dict[int, str]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[int, str] = {}
    _add_functions(tree, "", found)
    return found


def _add_functions(node: ast.AST, prefix: str, found: dict[int, str]) -> None:
    for block in _BLOCKS:
        for child in getattr(node, block, ()):
            if isinstance(child, ast.ClassDef):
                _add_functions(child, f"{prefix}{child.name}.", found)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{child.name}"
                lines = range(child.lineno, (child.end_lineno or child.lineno) + 1)
                found.update(dict.fromkeys(lines, name))
                _add_functions(child, "", found)
            else:
                _add_functions(child, prefix, found)
