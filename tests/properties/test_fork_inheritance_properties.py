"""Counting blocks once over forked processes: never more than was reported, never less than what is new."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pytest_leakguard.core.forks import counted_once, totals
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Process, Report

kinds = st.sampled_from([LeakKind.DEFINITELY_LOST, LeakKind.STILL_REACHABLE])
stacks = st.lists(st.integers(0, 3), max_size=2).map(
    lambda addresses: tuple(Frame(address=a) for a in addresses)
)
leaks = st.builds(Leak, kinds, st.integers(0, 99), st.integers(0, 9), stacks, pid=st.integers(1, 5))
processes = st.builds(Process, st.integers(1, 5), ppid=st.integers(0, 6), is_fork=st.booleans())
reports = st.builds(
    lambda found, tree: Report("valgrind", tuple(found), tuple(tree)),
    st.lists(leaks, max_size=12),
    st.lists(processes, max_size=5, unique_by=lambda process: process.pid),
)

_Key = tuple[LeakKind, tuple[Frame, ...]]


def sums(found: tuple[Leak, ...]) -> Counter[tuple[int, _Key]]:
    total: Counter[tuple[int, _Key]] = Counter()
    for leak in found:
        total[leak.pid, (leak.kind, leak.stack)] += leak.size_bytes
    return total


@given(reports)
def test_the_sum_is_never_larger_than_what_was_reported(report: Report) -> None:
    raw, counted = sums(report.leaks), sums(counted_once(report))
    assert all(size <= raw[key] for key, size in counted.items())
    assert all(leak.size_bytes >= 0 and leak.blocks >= 0 for leak in counted_once(report))


@given(reports)
def test_a_stack_that_no_other_process_has_stays_whole(report: Report) -> None:
    raw, counted = sums(report.leaks), sums(counted_once(report))
    for (pid, stack), size in raw.items():
        if not any(other != pid and key == stack for other, key in raw):
            assert counted[pid, stack] == size


@given(reports)
def test_what_is_left_of_a_stack_is_at_least_the_largest_of_its_processes(report: Report) -> None:
    raw, counted = sums(report.leaks), sums(counted_once(report))
    for stack in {key for _, key in raw}:
        largest = max(size for (_, key), size in raw.items() if key == stack)
        assert sum(size for (_, key), size in counted.items() if key == stack) >= largest


@given(reports)
def test_processes_that_were_not_forked_keep_everything(report: Report) -> None:
    alone = replace(
        report, processes=tuple(replace(one, is_fork=False) for one in report.processes)
    )
    assert counted_once(alone) == report.leaks


@given(st.lists(leaks, max_size=6), st.integers(1, 4))
def test_children_that_leak_nothing_of_their_own_add_nothing(
    found: list[Leak], children: int
) -> None:
    parent = tuple(
        replace(leak, pid=1, stack=(*leak.stack, Frame("f", address=9))) for leak in found
    )
    tree = [Process(1), *(Process(2 + n, ppid=1 + n, is_fork=True) for n in range(children))]
    everything = tuple(replace(leak, pid=process.pid) for process in tree for leak in parent)
    assert totals(counted_once(Report("valgrind", everything, tuple(tree)))) == totals(parent)


def test_blocks_of_a_grandparent_are_found_over_a_parent_that_left_no_report() -> None:
    leak = Leak(LeakKind.DEFINITELY_LOST, 10, 1, (Frame(address=1),), pid=1)
    tree = (
        Process(1),
        Process(2, ppid=1, is_fork=True, is_complete=False),
        Process(3, ppid=2, is_fork=True),
    )
    assert counted_once(Report("valgrind", (leak, replace(leak, pid=3)), tree)) == (leak,)


def test_what_was_inherited_is_taken_off_once() -> None:
    leak = Leak(LeakKind.DEFINITELY_LOST, 10, 1, (Frame(address=1),), pid=1)
    tree = (Process(1), Process(2, ppid=1, is_fork=True))
    child = replace(leak, pid=2)
    assert counted_once(Report("valgrind", (leak, child, child), tree)) == (leak, child)
