"""The tracker of this process: installed once, proved to see, said to be missing where it is."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_leakguard.tracker.canary import Unseen, find_unseen
from pytest_leakguard.tracker.library import LibraryMissing
from pytest_leakguard.tracker.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Installed:
    """The tracker and what it does not see in this process."""

    tracker: Tracker | None
    unseen: tuple[Unseen, ...] = ()
    problem: str = ""
    """Why there is none, and what to do."""


_installed: list[Installed] = []


def installed(sees_native: bool = True) -> Installed:
    """Installs the hooks at the first call; they stay until the process ends."""
    if not _installed:
        _installed.append(_install(sees_native))
    return _installed[0]


def _install(sees_native: bool) -> Installed:
    try:
        tracker = Tracker()
    except LibraryMissing as problem:
        return Installed(None, problem=str(problem))
    if not tracker.install_python():
        return Installed(None, problem="this interpreter does not export its allocators")
    if sees_native:
        tracker.install_native()
    return Installed(tracker, find_unseen(tracker))
