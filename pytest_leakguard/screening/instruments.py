"""What screening counts with in this process, proved by canaries.

What does not see is never called clean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_leakguard.core.checks import Check
from pytest_leakguard.counters.audit import hear_through
from pytest_leakguard.counters.canary import find_uncounted
from pytest_leakguard.counters.reader import not_counted
from pytest_leakguard.tracker.canary import Unseen
from pytest_leakguard.tracker.installed import installed
from pytest_leakguard.tracker.tracker import Domain, Tracker

NATIVE_OFF = (
    "native memory is not tracked (--leakguard-native=off): leaks in malloc, mmap and other calls "
    "of C code and libraries are not seen; Python objects and all else are"
)
DISPLACED = (
    "native memory was not seen in a run: another tool (memray?) has put its own functions in the "
    "place of ours"
)
PYTHON_DISPLACED = (
    "Python's objects were not seen in a run: something that was there before us (python -X "
    "tracemalloc?) has put back the interpreter's own allocators"
)
WAY_OUT = "--leakguard-native=off leaves native memory out, and says so"


@dataclass(frozen=True, slots=True)
class Instruments:
    """The tracker, and what is not seen with it and with the counters."""

    tracker: Tracker | None
    problem: str = ""
    """Why nothing can be screened, and what to do."""
    blind: tuple[str, ...] = ()
    """What does not see, one sentence each."""
    sees_native: bool = True
    """Native memory is meant to be seen."""


def instruments(sees_native: bool = True) -> Instruments:
    """Those of this process; the canaries fly once for each answer."""
    if sees_native not in _known:
        _known[sees_native] = _examined(sees_native)
    return _known[sees_native]


_known: dict[bool, Instruments] = {}


def _examined(sees_native: bool) -> Instruments:
    found = installed(sees_native)
    if found.tracker is None:
        return Instruments(None, found.problem)
    hear_through(found.tracker.hear)
    blind = []
    for unseen in found.unseen:
        if sees_native or unseen.domain is Domain.PYTHON:
            blind.append(_sentence(unseen))
    for counter, why in find_uncounted().items():
        blind.append(not_counted(counter, why))
    return Instruments(found.tracker, blind=tuple(blind), sees_native=sees_native)


def _sentence(unseen: Unseen) -> str:
    text = f"{unseen.what} is not seen here: {unseen.reason}"
    return text if unseen.domain is Domain.PYTHON else f"{text}; {WAY_OUT}"


def qualified(check: Check, *sentences: str) -> Check:
    """``check``, which is inconclusive where anything was not seen that it says something about."""
    if not sentences or check.skipped or check.not_repeatable:
        return check
    return replace(check, problems=tuple(dict.fromkeys((*check.problems, *sentences))))


def with_note(check: Check, note: str) -> Check:
    """``check``, which says this as well, unless there is nothing to say."""
    return replace(check, notes=(*check.notes, note)) if note else check
