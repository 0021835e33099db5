"""Containers that take entries with the requests, and when their limit would show. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_leakguard.growth import thresholds


@dataclass(frozen=True, slots=True)
class Grown:
    """A container of one process that has taken entries between two questions."""

    growth: int
    """Entries."""
    length: int
    most: int
    """Entries that it will ever hold, as its type, its holder or its source says; 0: unknown."""
    is_open: bool
    """Whether its source is known and never takes anything out."""
    held_by: tuple[str, ...] = ()
    why: str = ""
    """Who says ``most``, or takes entries out, in words."""
    is_list: bool = False

    @property
    def is_emptied(self) -> bool:
        """Return whether entries are taken out of it, and nobody says beyond how many."""
        return bool(self.why) and not self.most


@dataclass(frozen=True, slots=True)
class Filling:
    """The container with a limit that is the last to be full."""

    grown: Grown
    full_at: int
    """Requests after which it is full."""

    @property
    def shows_at(self) -> int:
        """Requests after which a limit that holds has shown itself."""
        return math.ceil(thresholds.AGED_LIMIT_SHOWS * self.full_at)

    @property
    def reason(self) -> str:
        holder = " / ".join(self.grown.held_by) or "a container"
        return f"what is kept is in {holder}, which is not full yet: {self.grown.why}"


def has_no_end(processes: Iterable[Sequence[Grown]], requests: int, asked_at: int) -> bool:
    """Return whether containers without an end account for what has grown.

    ``requests`` were served between two questions, the later of them after ``asked_at``.
    """
    are_lists_sure = asked_at >= thresholds.AGED_LISTS_FROM

    def is_endless(one: Grown) -> bool:
        is_list = one.is_list and not one.most and not one.is_emptied
        return one.is_open or (are_lists_sure and is_list)

    return _account(processes, requests, is_endless)


def is_emptied(processes: Iterable[Sequence[Grown]], requests: int) -> bool:
    """Return whether containers account for what has grown that something is taken out of."""
    return _account(processes, requests, lambda one: one.is_emptied or one.most > 0)


def _account(
    processes: Iterable[Sequence[Grown]], requests: int, is_one: Callable[[Grown], bool]
) -> bool:
    """Return whether such containers took an entry with each request, or nothing else took more.

    What is kept in one request of five has a fifth of the entries.
    """
    growth = most = 0
    for grown in processes:
        growth += max((one.growth for one in grown if is_one(one)), default=0)
        most += max((one.growth for one in grown), default=0)
    return growth > 0 and growth >= thresholds.AGED_ENTRY_PACE * min(requests, most)


def filling(processes: Iterable[Sequence[Grown]], requests: int, asked_at: int) -> Filling | None:
    """Return what fills up and when it is full, where that accounts for what is kept.

    ``requests`` were served between two questions, the later of them after ``asked_at``.
    """
    found: list[Filling] = []
    entries = 0
    for grown in processes:
        limited = [one for one in grown if one.most]
        entries += max((one.growth for one in limited), default=0)
        for one in limited:
            rest = max(0, one.most - one.length)
            found.append(Filling(one, asked_at + math.ceil(rest * requests / one.growth)))
    if entries < thresholds.AGED_ENTRY_PACE * requests:
        return None
    return max(found, key=lambda one: one.full_at)
