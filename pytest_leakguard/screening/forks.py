"""Children that a test forks and that come back out of it, where a missing ``os._exit`` lets them.

A child of the test's own run goes on as it would without us, and nothing of ours runs in it. A
child of a repeated run has nowhere to go: without us it would never have been.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_leakguard.counters.originals import Original

_FAILED = 1
"""Exit status of a child in which the test has failed, as pytest's would be."""
_repeating: list[int] = []
"""Process ids of those that repeat a test now; more than one where a test runs a session of its
own."""


@contextmanager
def children_end() -> Iterator[None]:
    """While this lasts, ``end_if_child`` ends forked children."""
    _repeating.append(Original.getpid())
    try:
        yield
    finally:
        _repeating.pop()


def end_if_child(has_failed: bool = False) -> None:
    """Called where somebody's code returns to ours; does nothing while nothing is repeated."""
    if _repeating and _repeating[-1] != Original.getpid():
        Original.leave(_FAILED if has_failed else 0)
