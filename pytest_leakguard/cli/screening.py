"""doctor's rows on what screening counts with, each proved by a canary in this process."""

from __future__ import annotations

import asyncio  # noqa: F401  # so that the canary of its tasks flies
from collections.abc import Iterable, Iterator

from pytest_leakguard.core.checks import SMALL_SUITE_TESTS
from pytest_leakguard.counters.canary import find_uncounted
from pytest_leakguard.counters.reader import CHILDREN, DESCRIPTORS, TASKS, THREADS
from pytest_leakguard.programs.doctor import Answer, row
from pytest_leakguard.screening.instruments import WAY_OUT
from pytest_leakguard.tracker.installed import Installed, installed
from pytest_leakguard.tracker.library import API_VERSION, LIBRARY
from pytest_leakguard.tracker.tracker import Domain

_TOOL = "screening"
_BLOCKS = {
    Domain.PYTHON: "Python blocks",
    Domain.NATIVE: "native blocks",
    Domain.MAPPING: "mappings",
}
_ONE_MORE = "one more was counted as one more"
_COUNTED = (
    (DESCRIPTORS, "descriptors", "a pipe was counted as two more"),
    (THREADS, "threads", _ONE_MORE),
    (CHILDREN, "child processes", "their list can be read"),
    (TASKS, "asyncio tasks", _ONE_MORE),
)


def examine() -> tuple[Answer, ...]:
    """One row for the library, each kind of block, and each thing that is counted one by one."""
    found, uncounted = installed(), find_uncounted()
    rows = [_library(found)]
    if found.tracker is not None:
        for domain, name in _BLOCKS.items():
            rows.append(_blocks(found, domain, name))
    for counter, name, proof in _COUNTED:
        why = uncounted.get(counter, "")
        rows.append(_row(name, why, proof, "mount /proc" if "/proc" in why else ""))
    rows.append(_rare())
    return tuple(rows)


def _rare() -> Answer:
    """Where leaks that are not in every run are found."""
    why = (
        f"in suites of up to {SMALL_SUITE_TESTS} tests, in tests with the marker iterations=500, "
        "and in leakguard.loop; elsewhere they are out of reach"
    )
    return Answer(_TOOL, "leaks in some runs only", sees_leaks=True, why=why)


def render(answers: Iterable[Answer]) -> Iterator[str]:
    """The rows as lines for a terminal."""
    for answer in answers:
        yield from row(answer, f"{answer.tool}, {answer.variant}: {answer.why}")


def _library(found: Installed) -> Answer:
    path = str(LIBRARY) if LIBRARY.is_file() else ""
    why = found.problem or "it is loaded"
    version = f"version {API_VERSION}" if found.tracker is not None else "not usable"
    return Answer(_TOOL, "tracker library", path, version, found.tracker is not None, why)


def _blocks(found: Installed, domain: Domain, name: str) -> Answer:
    unseen = [entry for entry in found.unseen if entry.domain is domain]
    why = "; ".join(f"{entry.what}: {entry.reason}" for entry in unseen)
    fix = WAY_OUT if why and domain is not Domain.PYTHON else ""
    return _row(name, why, "one was seen, to the byte, until it was freed", fix)


def _row(name: str, problem: str, proof: str, fix: str) -> Answer:
    return Answer(_TOOL, name, sees_leaks=not problem, why=problem or proof, fix=fix)
