"""Imports what the end of a run needs, before tests have taken the descriptors for it."""

from __future__ import annotations

from importlib import import_module

from pytest_leakguard.counters.reader import descriptor_count, descriptor_limit

USED_SHARE = 0.4
"""Of the limit of descriptors that are open, from which on nothing is left for later."""
_NEEDED = (
    "pytest_leakguard.explain.explainer",
    "pytest_leakguard.programs.symbolize",
    "pytest_leakguard.reporters.conclude",
    "pytest_leakguard.reporters.exports",
    "pytest_leakguard.reporters.html",
    "pytest_leakguard.reporters.json",
    "pytest_leakguard.reporters.junit",
    "pytest_leakguard.reporters.markdown",
    "pytest_leakguard.reporters.sarif",
)
_loaded: list[str] = []


def load_while_there_is_room() -> None:
    """Does nothing as long as there are plenty of descriptors, since most runs need none of it.

    Nor where they cannot be counted.
    """
    if _loaded or not _are_scarce():
        return
    for name in _NEEDED:
        import_module(name)
        _loaded.append(name)


def _are_scarce() -> bool:
    try:
        return descriptor_count() >= USED_SHARE * descriptor_limit()
    except OSError:
        return False
