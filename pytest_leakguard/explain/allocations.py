"""Which lines allocate what stays: a few runs under tracemalloc, the survivors by stack."""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections.abc import Callable
from itertools import takewhile

from pytest_leakguard.core.clock import Spent
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.counters._cpython import cache_clearer
from pytest_leakguard.explain.code_owner import Owner, Site, is_ours, owner

FRAMES = 24


def surviving(
    work: Callable[[], object],
    runs: int,
    tidy: Callable[[], object] = int,
    seconds: float = math.inf,
) -> tuple[Site, ...]:
    """Places whose blocks survive the runs in proportion, most bytes first.

    Empty when nothing can be traced.

    Takes about ``seconds`` at most, with fewer runs where tracing makes them that slow.
    """
    was_tracing = tracemalloc.is_tracing()
    gc.collect()
    gc.freeze()  # what was there before is not traced, and would only make every collection slow
    if not was_tracing:
        tracemalloc.start(FRAMES)
    try:
        spent, few = Spent(), max(2, runs // 4)
        before = _counts(work, few, tidy)
        runs = max(2, int(min(runs, seconds * few / (2 * spent.seconds))))
        middle = _counts(work, runs, tidy)
        after = _counts(work, runs, tidy)
    finally:
        gc.unfreeze()
        if not was_tracing and tracemalloc.is_tracing():
            tracemalloc.stop()
    sites = []
    for stack, (blocks, size_bytes) in after.items():
        first, second = middle.get(stack, (0, 0)), before.get(stack, (0, 0))
        grown = blocks - first[0]
        is_resized = size_bytes > first[1] > second[1]  # one block that grows, such as a list's
        if (grown > 0 and first[0] > second[0]) or is_resized:
            sites.append(
                Site(tuple(map(_frame, stack)), grown / runs, (size_bytes - first[1]) / runs)
            )
    return tuple(sorted(sites, key=lambda site: (-site.size_bytes, -site.blocks)))


_Stack = tuple[tuple[str, int], ...]


def _counts(
    work: Callable[[], object], runs: int, tidy: Callable[[], object]
) -> dict[_Stack, tuple[int, int]]:
    # Empties the free lists too: a snapshot fills them with tuples that the unit would use
    # untraced.
    gc.collect()
    for _ in range(runs):
        work()
    tidy()
    cache_clearer()()
    gc.collect()
    if not tracemalloc.is_tracing():  # the unit has stopped it
        return {}
    counts: dict[_Stack, tuple[int, int]] = {}
    for statistic in tracemalloc.take_snapshot().statistics("traceback"):
        stack = _places(statistic.traceback)
        if stack:
            blocks, size_bytes = counts.get(stack, (0, 0))
            counts[stack] = (blocks + statistic.count, size_bytes + statistic.size)
    return counts


def _places(traceback: tracemalloc.Traceback) -> _Stack:
    """Innermost first, without the harness and what started the measurement."""
    inside = takewhile(lambda frame: not is_ours(frame.filename), reversed(traceback))
    return tuple(
        (frame.filename, frame.lineno)
        for frame in inside
        if owner(frame.filename) is not Owner.HARNESS
    )


def own_frames(traceback: tracemalloc.Traceback) -> tuple[Frame, ...]:
    """The stack of one allocation, innermost call first."""
    return tuple(map(_frame, _places(traceback)))


def _frame(place: tuple[str, int]) -> Frame:
    return Frame(_function_at(*place), place[0], place[1])


def _function_at(file: str, line: int) -> str:
    """tracemalloc knows lines, not functions: the innermost ``def`` around the line."""
    return _functions(file).get(line, "<module>")


def _functions(file: str) -> dict[int, str]:
    if file not in _known:
        _known[file] = _read_functions(file)
    return _known[file]


_known: dict[str, dict[int, str]] = {}


def _read_functions(file: str) -> dict[int, str]:
    import ast
    import linecache

    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found: dict[int, str] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    found.update(
                        dict.fromkeys(
                            range(child.lineno, (child.end_lineno or child.lineno) + 1), name
                        )
                    )
                visit(child, f"{name}." if isinstance(child, ast.ClassDef) else "")
            else:
                visit(child, prefix)

    visit(tree, "")
    return found
