"""What tests of the ledger run in an interpreter of their own; prints the results as JSON."""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_leakguard.counters.reader import (
    BLOCKS,
    CHILDREN,
    DESCRIPTORS,
    FILES,
    HEAP,
    MAPPED,
    THREADS,
    Reader,
)
from pytest_leakguard.counters.tempfiles import temporary_files
from pytest_leakguard.screening.gc_freeze import frozen
from pytest_leakguard.screening.ledger import RESOURCES, Ledger, Run
from pytest_leakguard.screening.room import Room
from pytest_leakguard.tracker.installed import installed
from pytest_leakguard.tracker.objects import counted_blocks, objects_of

KEPT: list[Any] = [None] * 400
"""Long enough to take what scenarios keep without being resized."""
OLD: list[Any] = [None] * 64
OLDEST: list[Any] = [None] * 64
"""Both have their tables before the tracker sees anything; one run resizes each."""
TUPLE = (KEPT, OLD)
RANGE = range(3)
TABLE: dict[int, None] = {}
"""The collector does not follow it: it has only numbers."""


class Node:
    """Something of the user's."""


def made_ledger() -> Ledger:
    files = temporary_files()
    files.watch()
    tracker = installed().tracker
    assert tracker is not None
    return Ledger(tracker, Reader(files))


ledger = made_ledger()
places = iter(range(len(KEPT)))


def keep(value: Any) -> None:
    KEPT[next(places)] = value


def amounts(run: Run) -> list[list[int]]:
    """Blocks and bytes of Python's, native and mapped memory that a run has now."""
    found = []
    for counter in (BLOCKS, HEAP, MAPPED):
        amount = ledger.kept(run, counter)
        found.append([amount.blocks, amount.size_bytes])
    return found


def runs_of(work: Callable[[], object], count: int = 3) -> list[Run]:
    """Some runs after two that make what is made on first use."""
    for _ in range(2):
        ledger.run(work)
    return [ledger.run(work) for _ in range(count)]


def rises(run: Run) -> list[int]:
    """Of all that is scarce: descriptors, threads, children, files and tasks."""
    return [int(run.rises[at]) for at in RESOURCES]


def kept_by(work: Callable[[], object], count: int = 3) -> Any:
    return [amounts(run) for run in runs_of(work, count)]


def scenario_nothing() -> Any:
    runs = runs_of(lambda: None, 50)
    return [amounts(run) for run in runs], [rises(run) for run in runs]


def scenario_garbage() -> Any:
    def work() -> None:
        cycle: list[Any] = [bytearray(1000)]
        cycle.append(cycle)

    return kept_by(work)


def scenario_object() -> Any:
    return object.__basicsize__, kept_by(lambda: keep(object()))


def scenario_heard_collections() -> Any:
    """Somebody listens to collections, and is given a dict with each."""

    def heard(phase: str, info: dict[str, int]) -> None:
        """As hypothesis does."""

    gc.callbacks.append(heard)
    try:
        return kept_by(lambda: keep({}))
    finally:
        gc.callbacks.remove(heard)


def scenario_bytearray() -> Any:
    return bytearray(1000).__sizeof__(), kept_by(lambda: keep(bytearray(1000)))


def scenario_native() -> Any:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    return kept_by(lambda: keep(library.malloc(100_000)))


def scenario_mapping() -> Any:
    return mmap.PAGESIZE, kept_by(lambda: keep(mmap.mmap(-1, 3 * mmap.PAGESIZE)))


def scenario_several_calls() -> Any:
    def work() -> None:
        keep(object())

    ledger.run(work)
    run = ledger.run(work, 20)
    return run.calls, amounts(run)


def scenario_goes_later() -> Any:
    """What a run has left is counted as of now, not as of its end."""
    run = ledger.run(lambda: KEPT.__setitem__(399, object()))
    before = ledger.has_kept(run, BLOCKS)
    KEPT[399] = None
    return before, ledger.has_kept(run, BLOCKS)


def scenario_interned() -> Any:
    """A new string in each run that the interpreter keeps for good, where it does."""
    numbers = iter(range(1000))

    def work() -> None:
        sys.intern(f"a string that is new in each run {next(numbers)}")

    runs = runs_of(work)
    counted = [amounts(run)[0][0] for run in runs]
    has_interned = [ledger.has_interned(run) for run in runs]
    ledger.counts_interned = True
    with_interned = [amounts(run)[0][0] for run in runs]
    ledger.counts_interned = False
    return counted, has_interned, with_interned


def scenario_interned_short() -> Any:
    numbers = iter(range(1000))
    return [amounts(run)[0][0] for run in runs_of(lambda: sys.intern(f"s-{next(numbers)}"))]


def scenario_interned_and_kept() -> Any:
    """An object beside the string is counted all the same."""
    numbers = iter(range(1000))

    def work() -> None:
        sys.intern(f"another string that is new in each run {next(numbers)}")
        keep(object())

    return [amounts(run)[0][0] for run in runs_of(work)]


def grown_by(work: Callable[[], object]) -> list[str]:
    """Types of the older containers that one run has given a larger table."""
    return [type(container).__name__ for container in ledger.grown_by(ledger.run(work))]


def scenario_larger_tables() -> Any:
    """New tables of older containers, one that had its table before the tracker saw anything."""
    entries, items, members, places = {1: [1]}, [1], {1}, deque([1])
    return {
        "dict": grown_by(lambda: entries.update({key: [1] for key in range(100)})),
        "module's dict": grown_by(lambda: TABLE.update(dict.fromkeys(range(100)))),
        "list": grown_by(lambda: items.extend([1] * 100)),
        "set": grown_by(lambda: members.update(range(100))),
        "deque": grown_by(lambda: places.extend([1] * 70)),
        "oldest list": grown_by(lambda: OLDEST.extend([None] * 200)),
    }


def scenario_no_larger_tables() -> Any:
    """An object, strings, a new container, an older one that has room for one more: nothing grew."""
    roomy: list[Any] = [None] * 3
    roomy.append(None)
    works: list[Callable[[], object]] = [
        lambda: keep(Node()),
        lambda: keep("".join(["a", "b"] * 50)),
        lambda: keep("".join(["a", "b"] * 4)),
        lambda: keep([None] * 100),
        lambda: roomy.append(None),
        lambda: None,
    ]
    return [grown_by(work) for work in works]


def scenario_frozen() -> Any:
    """A container is found although it is frozen, which it is again afterwards."""
    with frozen():
        entries: list[Any] = []
        with frozen():
            found = grown_by(lambda: entries.extend([None] * 100))
            is_frozen = gc.get_freeze_count() > 0
        return found, is_frozen, gc.get_freeze_count()


def scenario_grown() -> Any:
    """A list whose table one run has made and another one resizes."""
    grows: list[Any] = []
    first = ledger.run(lambda: grows.extend([None] * 100))
    second = ledger.run(lambda: grows.extend([None] * 900))
    amount = ledger.kept(second, BLOCKS)
    return ledger.kept(first, BLOCKS).blocks, amount.blocks, amount.grown_bytes > 7000


def scenario_list() -> Any:
    """A list with its table, and a dictionary with its own."""
    return kept_by(lambda: keep([1, 2])), kept_by(lambda: keep({"a": 1, "b": 2}))


def scenario_free_lists() -> Any:
    """One object in each run of each kind that the interpreter keeps when it dies, for the next."""
    numbers = iter(range(5_000, 10_000))
    makers: dict[str, Callable[[], object]] = {
        "tuple of one": lambda: (KEPT,),
        "tuple of two": lambda: (KEPT, OLD),
        "number": lambda: next(numbers),
        "float": lambda: next(numbers) / 7,
        "slice": lambda: slice(KEPT, OLD),
        "range": lambda: range(3),
        "iterator of a list": lambda: iter(OLD),
        "iterator of a tuple": lambda: iter(TUPLE),
        "iterator of a range": lambda: iter(RANGE),
        "method": lambda: ledger.begin,
        "method of a builtin": lambda: OLD.append,
    }
    held: list[Any] = [None] * 100
    places = iter(range(100))

    def kept_of(maker: Callable[[], object]) -> list[int]:
        def work() -> None:
            held[next(places)] = maker()

        return [blocks for (blocks, _), *_ in kept_by(work)]

    return {kind: kept_of(maker) for kind, maker in makers.items()}


def scenario_freed_by_a_late_thread() -> Any:
    """Objects with free lists, which a run's thread drops when the run is over.

    How many there are then; tables of the library's own are none.
    """
    kept = []
    for _ in range(8):
        stop, threads = threading.Event(), list[threading.Thread]()

        def holds(stop: threading.Event = stop) -> None:
            dropped = [({n: n}, [n], (n, stop), n / 7, (n,) * 8) for n in range(1000, 1020)]
            stop.wait()
            del dropped

        def work(threads: list[threading.Thread] = threads, holds: Any = holds) -> None:
            threads.append(threading.Thread(target=holds))
            threads[-1].start()

        run = ledger.run(work)
        stop.set()
        threads.pop().join()
        del stop, holds, work, threads
        for _ in range(3):
            ledger.run(lambda: None)
        gc.collect()
        blocks = counted_blocks(ledger.tracker, run.number)
        kept.append(len(objects_of(ledger.tracker, blocks)))
    return kept


def scenario_used_slices() -> Any:
    """Slices that each run makes and drops; the interpreter keeps the last of them."""
    return [blocks for (blocks, _), *_ in kept_by(lambda: OLD[0 : len(KEPT)])]


def scenario_heard_calls() -> Any:
    """Somebody notes all that the interpreter audits, and keeps it."""
    noted: list[Any] = []
    sys.addaudithook(lambda event, _: noted.append(object()) if event.startswith("ct") else None)
    return [blocks for (blocks, _), *_ in kept_by(lambda: None)]


def scenario_touched_old() -> Any:
    """A list that is older than all runs, and of whose table nothing is known, is resized."""
    answers = []
    for work in (lambda: None, lambda: OLD.extend([None] * 200), lambda: keep(object())):
        ledger.run(work)
        answers.append(ledger.has_touched_old)
    return answers


def scenario_descriptors() -> Any:
    def work() -> None:
        os.open(os.devnull, os.O_RDONLY)

    runs = runs_of(work)
    return DESCRIPTORS - RESOURCES[0], [rises(run) for run in runs], not Room(ledger).problem()


def scenario_closed_descriptor() -> Any:
    return rises(ledger.run(lambda: os.close(os.open(os.devnull, os.O_RDONLY))))


def scenario_thread() -> Any:
    """A thread that ends between the run's end and the second look at it."""
    before = ledger_threads()
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.Thread(target=stop.wait))
        threads[-1].start()

    run = ledger.run(work)
    at_end = int(run.rises[THREADS])
    begun = ledger.threads_before
    stop.set()
    threads[-1].join()
    until = time.monotonic() + 10.0  # the system's thread ends a little after Python's
    while ledger.again(run).rises[THREADS] > 0 and time.monotonic() < until:
        time.sleep(0.01)
    return at_end, begun == before, int(ledger.again(run).rises[THREADS])


def scenario_process_beside_one_that_ends() -> Any:
    """A process that each run leaves, while one from before the run ends in it."""
    earlier = subprocess.Popen(["sleep", "60"])
    made: list[subprocess.Popen[bytes]] = []

    def work() -> None:
        earlier.kill()
        earlier.wait()
        made.append(subprocess.Popen(["sleep", "60"]))

    run = ledger.run(work)
    rise, left = int(run.rises[CHILDREN]), ledger.left((run,), CHILDREN)
    made[0].kill()
    made[0].wait()
    return rise, left, ledger.left((run,), CHILDREN)


def ledger_threads() -> int:
    ledger.run(lambda: None)
    return ledger.threads_before


def scenario_file() -> Any:
    import tempfile

    descriptor, name = tempfile.mkstemp()
    os.close(descriptor)
    Path(name).unlink()
    made: list[str] = []

    def work() -> None:
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        made.append(name)

    run = ledger.run(work)
    rise = int(run.rises[FILES])
    Path(made[0]).unlink()
    return rise, int(ledger.again(run).rises[FILES])


def scenario_unarmed() -> Any:
    """What is allocated between two armed parts of a run belongs to nobody."""
    ledger.run(lambda: keep(object()))
    ledger.begin()
    ledger.arm()
    keep(object())
    ledger.disarm()
    keep([object(), object()])
    ledger.arm()
    keep(object())
    ledger.disarm()
    return amounts(ledger.end())


def scenario_forgotten() -> Any:
    run = ledger.run(lambda: keep(object()))
    ledger.forget(run)
    return amounts(run)


def scenario_raises() -> Any:
    """What the unit raises is the caller's, and nothing is armed after it."""

    def fails() -> None:
        raise ZeroDivisionError

    is_raised = False
    try:
        ledger.run(fails)
    except ZeroDivisionError:
        is_raised = True
    keep(object())
    return is_raised, amounts(ledger.end())[0][0]


def scenario_unjudged() -> Any:
    """A run that explains has a number of its own."""
    run = ledger.run(lambda: keep(object()))
    number = ledger.begin_unjudged()
    ledger.arm()
    keep(object())
    ledger.disarm()
    tracked = ledger.tracker.survivors(number)
    return number != run.number, len(tracked), amounts(run)[0]


def scenario_memory_now() -> Any:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.malloc(10)
    ledger.begin()
    ledger.arm()
    library.malloc(100_000)
    now = ledger.memory_now()
    ledger.disarm()
    ledger.end()
    return now


def main() -> None:
    gc.collect()
    gc.freeze()
    results = {}
    for name in sys.argv[1:]:
        results[name] = globals()[f"scenario_{name}"]()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
