"""Stacks of what another process keeps: exact while they fit, bounded, and gone when nobody asks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_leakguard.tracker.traces import Amount, Traced, read_traces
from tests.tracker.test_live import Build, Runner

HERE = Path(__file__).parent / "preload"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is preloaded elsewhere")
MOST_OWN_BYTES = 24 << 20
"""Upper limit of what tracing takes in a process, in bytes."""


@pytest.fixture
def runner() -> Iterator[Runner]:
    made = Runner()
    yield made
    made.close()


@pytest.fixture(scope="session")
def program(build: Build) -> str:
    return str(build("traced", "-pthread", "-O1", str(HERE / "traced.c")))


def traced(runner: Runner, program: str, mode: str, steps: int = 1) -> Traced | None:
    process = runner.start(program, mode)
    runner.step(process)
    runner.live.trace(True)
    now = runner.read(process.pid)
    for step in range(steps):
        now = runner.step(process, step + 2)
    assert now.own_bytes < MOST_OWN_BYTES
    return read_traces(process.pid, now)


def total(found: Traced | None) -> Amount:
    assert found is not None
    return sum(found.blocks.values(), Amount())


def test_what_was_allocated_before_nobody_knows(runner: Runner, program: str) -> None:
    assert total(traced(runner, program, "keep", 3)) == Amount(3000, 30)


def test_what_was_freed_is_not_told_however_much_it_was(runner: Runner, program: str) -> None:
    assert total(traced(runner, program, "churn")) == Amount(20_000, 200)


def test_more_blocks_than_fit_are_sampled(runner: Runner, program: str) -> None:
    found = total(traced(runner, program, "flood"))
    assert found.size_bytes == pytest.approx(300_000 * 32, rel=0.2)


def test_threads_are_traced_side_by_side(runner: Runner, program: str) -> None:
    found = total(traced(runner, program, "threads"))
    # A block that two threads wanted to note at once may be left out.
    assert found.blocks == pytest.approx(800, rel=0.05)


def test_children_that_are_forked_meanwhile_go_on(runner: Runner, program: str) -> None:
    assert total(traced(runner, program, "forks")).blocks == pytest.approx(400, rel=0.05)


def test_of_a_block_that_grows_only_the_growth_is_told(runner: Runner, program: str) -> None:
    assert total(traced(runner, program, "grow", 5)).size_bytes == 5000


def test_a_new_tracing_begins_with_nothing_and_none_goes_on_unasked(
    runner: Runner, program: str
) -> None:
    process = runner.start(program, "keep")
    runner.step(process)
    runner.live.trace(True)
    runner.step(process, 1)
    runner.live.trace(False)
    runner.step(process, 2)
    assert total(read_traces(process.pid, runner.read(process.pid))) == Amount(1000, 10)
    runner.live.trace(True)
    runner.step(process, 3)
    now = runner.read(process.pid, 3)
    assert total(read_traces(process.pid, now)) == Amount(1000, 10)
    assert now.heap_bytes[3] == 1000


def test_nothing_is_kept_ready_before_it_is_asked_for(runner: Runner, program: str) -> None:
    process = runner.start(program, "keep")
    now = runner.step(process)
    assert read_traces(process.pid, now) is None
    assert now.own_bytes < 1 << 20
