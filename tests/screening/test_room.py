"""Repeats stop before a leaking test takes what the process needs, and say why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.counters import reader
from pytest_leakguard.counters.reader import CHILDREN, DESCRIPTORS, FILES, THREADS
from pytest_leakguard.screening import room as room_module
from pytest_leakguard.screening.ledger import Ledger
from pytest_leakguard.screening.room import OutOfRoom, Room

MB = 1_000_000
MIB = 1024**2
Machine = dict[str, float]


class LastRun(Ledger):
    """A ledger that only knows what its last run has left."""

    def __init__(self, rises: dict[int, float], size_bytes: int = 0, runs: int = 1) -> None:
        self.rises, self.size_bytes, self.runs = rises, size_bytes, runs

    def rise(self, counter: int) -> float:
        return self.rises.get(counter, 0.0)

    def bytes_of_last(self) -> int:
        return self.size_bytes

    def bytes_of_all(self) -> int:
        return self.runs * self.size_bytes


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """What the process has; a test changes it."""
    state: Machine = {
        "open": 100, "limit": 1024, "threads": 3, "children": 0, "disk": 1e12, "memory": 8e9,
        "pids.max": float("inf"), "pids.current": 10.0,
    }  # fmt: skip
    functions: dict[str, Any] = {
        "descriptor_count": lambda: state["open"],
        "descriptor_limit": lambda: state["limit"],
        "thread_count": lambda: state["threads"],
        "child_count": lambda: state["children"],
        "_free_disk": lambda directory: state["disk"],
        "_free_memory": lambda: state["memory"],
        "_group_limit": lambda name, unknown=0.0: state.get(name, unknown),
    }
    for name, function in functions.items():
        monkeypatch.setattr(room_module, name, function)
    return state


def test_a_test_that_leaves_nothing_always_has_room(machine: Machine) -> None:
    machine["open"] = machine["limit"] - 1
    assert not Room(LastRun({})).problem()


@pytest.mark.parametrize(
    ("limit", "most"), [(1024, 545), (256, 161), (64, 26)], ids=lambda number: str(number)
)
def test_a_reserve_stays_free_and_half_of_the_rest(machine: Machine, limit: int, most: int) -> None:
    """The reserve is 32, or a third of a limit that is smaller than that threefold; 10 are open."""
    machine.update(open=10 if limit == 64 else 100, limit=limit)
    room = Room(LastRun({DESCRIPTORS: 1.0}))
    machine["open"] = most - 1
    assert not room.problem()
    machine["open"] = most
    assert room.problem() == f"{most} of {limit} descriptors are open, and a run leaves 1"
    assert not room.problem(runs=4), "the other half is for explanations"


def test_the_most_that_any_run_has_left_counts(machine: Machine) -> None:
    ledger = LastRun({DESCRIPTORS: 300.0})
    room = Room(ledger)
    assert not room.problem()
    ledger.rises = {}
    machine["open"] = 300
    assert room.problem()


@pytest.mark.parametrize(("counter", "name"), [(THREADS, "threads"), (CHILDREN, "children")])
def test_threads_and_children_end_it(machine: Machine, counter: int, name: str) -> None:
    room = Room(LastRun({counter: 20.0}))
    machine[name] = 100
    assert not room.problem()
    machine[name] = 390
    assert "a run leaves 20" in room.problem()


def test_the_limit_of_a_container_counts(machine: Machine) -> None:
    room = Room(LastRun({THREADS: 1.0}))
    machine.update({"pids.max": 50.0, "pids.current": 17.0})
    assert not room.problem()
    machine["pids.current"] = 18.0
    assert "50 threads and processes may run here" in room.problem()


def test_a_quarter_of_the_free_memory_may_be_kept(machine: Machine) -> None:
    assert not Room(LastRun({}, 100 * MB, runs=18)).problem()
    problem = Room(LastRun({}, 100 * MB, runs=19)).problem()
    assert problem == "repeated runs have kept 1,900 MB, and more is not to be had here"


def test_temporary_files_end_it_when_the_disk_fills(machine: Machine) -> None:
    room = Room(LastRun({FILES: 1.0}))
    assert not room.problem()
    machine["disk"] -= 2 * 1024**3
    assert "2,147 MB of temporary files" in room.problem()
    machine["disk"] = 100.0 * MB
    assert Room(LastRun({FILES: 1.0})).problem()


def test_a_room_that_was_closed_stays_closed(machine: Machine) -> None:
    room = Room(LastRun({}))
    room.close("a run took too long")
    room.close("another reason")
    with pytest.raises(OutOfRoom, match="a run took too long"):
        room.check()


def test_the_real_machine_answers() -> None:
    assert room_module._free_memory() > MB
    assert room_module._free_disk(str(Path.cwd())) > 0
    assert room_module._group_limit("no such number", 7.0) == 7.0


# Each number decides something: where the room ends changes when it moves.


def end_of(room: Room, machine: Machine, name: str, values: Iterable[int]) -> int:
    """The first of these values at which there is no room."""
    for value in values:
        machine[name] = value
        if room.problem():
            return value
    raise AssertionError(name)


def end_of_descriptors(machine: Machine, limit: int = 1024, first: int = 100) -> int:
    machine.update(open=first, limit=limit)
    return end_of(Room(LastRun({DESCRIPTORS: 1.0})), machine, "open", range(first, limit))


def end_of_threads(machine: Machine) -> int:
    return end_of(Room(LastRun({THREADS: 1.0})), machine, "threads", range(1000))


def end_of_children(machine: Machine) -> int:
    return end_of(Room(LastRun({CHILDREN: 1.0})), machine, "children", range(1000))


def end_of_group(machine: Machine) -> int:
    machine["pids.max"] = 1000
    return end_of(Room(LastRun({THREADS: 1.0})), machine, "pids.current", range(1000))


def end_of_memory(machine: Machine) -> int:
    """Runs that have kept 100 MB each, of 8,000."""
    return next(runs for runs in range(99) if Room(LastRun({}, 100 * MB, runs)).problem())


def least_of_memory(machine: Machine) -> int:
    """Bytes per run, in steps of 64 KiB, that a million runs may not have kept."""
    sizes = range(0, 4 * MIB, MIB // 16)
    return next(size for size in sizes if Room(LastRun({}, size, runs=MB)).problem())


def end_of_disk(machine: Machine) -> int:
    """MiB of files that the repeats have left."""
    room, free_bytes = Room(LastRun({FILES: 1.0})), machine["disk"]
    for used in range(4096):
        machine["disk"] = free_bytes - used * MIB
        if room.problem():
            return used
    raise AssertionError


def end_of_free_disk(machine: Machine) -> int:
    """MiB that are free, while the repeats have left few."""
    for free in range(1000, 0, -1):
        machine["disk"] = free * MIB
        if Room(LastRun({FILES: 1.0})).problem():
            return free
    raise AssertionError


CASES: dict[str, tuple[Callable[[Machine], int], int]] = {
    "RESERVE_DESCRIPTORS": (end_of_descriptors, 545),
    "SMALL_LIMIT_SHARE": (lambda machine: end_of_descriptors(machine, 64, 10), 26),
    "SHARERS": (end_of_descriptors, 545),
    "MOST_THREADS": (end_of_threads, 400),
    "MOST_CHILDREN": (end_of_children, 200),
    "RESERVE_TASKS": (end_of_group, 968),
    "MEMORY_SHARE": (end_of_memory, 19),
    "LARGE_RUN_BYTES": (least_of_memory, MIB),
    "MOST_DISK_BYTES": (end_of_disk, 1024),
    "RESERVE_DISK_BYTES": (end_of_free_disk, 256),
}
"""By number, where the room ends, and the promised value."""


@pytest.mark.parametrize("name", CASES)
def test_the_room_ends_where_it_is_promised(machine: Machine, name: str) -> None:
    ask, promised = CASES[name]
    assert ask(machine) == promised


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("name", CASES)
def test_a_number_that_moves_moves_the_end_of_the_room(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, factor: float
) -> None:
    monkeypatch.setattr(room_module, name, round(getattr(room_module, name) * factor))
    ask, promised = CASES[name]
    assert ask(machine) != promised


def test_every_number_of_the_room_has_a_case() -> None:
    numbers = {name for name in vars(room_module) if name.isupper() and not name.startswith("_")}
    of_callers = {"EXPLAINING_RUNS"}  # an argument to ``Room.check``
    assert numbers - set(vars(reader)) - of_callers == set(CASES)
