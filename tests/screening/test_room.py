"""Repeats stop before a leaking test takes what the process needs, and say why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.counters.reader import CHILDREN, DESCRIPTORS, FILES, THREADS
from pytest_leakguard.screening import room as room_module
from pytest_leakguard.screening.ledger import Ledger
from pytest_leakguard.screening.room import OutOfRoom, Room

MB = 1_000_000


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
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the process has; a test changes it."""
    state: dict[str, float] = {
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


def test_a_test_that_leaves_nothing_always_has_room(machine: dict[str, float]) -> None:
    machine["open"] = machine["limit"] - 1
    assert not Room(LastRun({})).problem()


@pytest.mark.parametrize(
    ("limit", "most"), [(1024, 545), (256, 161), (64, 26)], ids=lambda number: str(number)
)
def test_a_reserve_stays_free_and_half_of_the_rest(
    machine: dict[str, float], limit: int, most: int
) -> None:
    """The reserve is 32, or a third of a limit that is smaller than that threefold; 10 are open."""
    machine.update(open=10 if limit == 64 else 100, limit=limit)
    room = Room(LastRun({DESCRIPTORS: 1.0}))
    machine["open"] = most - 1
    assert not room.problem()
    machine["open"] = most
    assert room.problem() == f"{most} of {limit} descriptors are open, and a run leaves 1"
    assert not room.problem(runs=4), "the other half is for explanations"


def test_the_most_that_any_run_has_left_counts(machine: dict[str, float]) -> None:
    ledger = LastRun({DESCRIPTORS: 300.0})
    room = Room(ledger)
    assert not room.problem()
    ledger.rises = {}
    machine["open"] = 300
    assert room.problem()


@pytest.mark.parametrize(("counter", "name"), [(THREADS, "threads"), (CHILDREN, "children")])
def test_threads_and_children_end_it(machine: dict[str, float], counter: int, name: str) -> None:
    room = Room(LastRun({counter: 20.0}))
    machine[name] = 100
    assert not room.problem()
    machine[name] = 390
    assert "a run leaves 20" in room.problem()


def test_the_limit_of_a_container_counts(machine: dict[str, float]) -> None:
    room = Room(LastRun({THREADS: 1.0}))
    machine.update({"pids.max": 50.0, "pids.current": 17.0})
    assert not room.problem()
    machine["pids.current"] = 18.0
    assert "50 threads and processes may run here" in room.problem()


def test_a_quarter_of_the_free_memory_may_be_kept(machine: dict[str, float]) -> None:
    assert not Room(LastRun({}, 100 * MB, runs=18)).problem()
    problem = Room(LastRun({}, 100 * MB, runs=19)).problem()
    assert problem == "repeated runs have kept 1,900 MB, and more is not to be had here"


def test_temporary_files_end_it_when_the_disk_fills(machine: dict[str, float]) -> None:
    room = Room(LastRun({FILES: 1.0}))
    assert not room.problem()
    machine["disk"] -= 2 * 1024**3
    assert "2,147 MB of temporary files" in room.problem()
    machine["disk"] = 100.0 * MB
    assert Room(LastRun({FILES: 1.0})).problem()


def test_a_room_that_was_closed_stays_closed(machine: dict[str, float]) -> None:
    room = Room(LastRun({}))
    room.close("a run took too long")
    room.close("another reason")
    with pytest.raises(OutOfRoom, match="a run took too long"):
        room.check()


def test_the_real_machine_answers() -> None:
    assert room_module._free_memory() > MB
    assert room_module._free_disk(str(Path.cwd())) > 0
    assert room_module._group_limit("no such number", 7.0) == 7.0
