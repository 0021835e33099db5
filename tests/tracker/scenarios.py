"""What the tests run in an interpreter of their own: scenarios by name; prints their results.

A result is what of the run is alive by domain: ``[blocks, bytes]``, or whatever the test asks.
"""

from __future__ import annotations

import _ctypes
import ctypes
import gc
import json
import mmap
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_leakguard.tracker.canary import CANARY_RUN, find_unseen
from pytest_leakguard.tracker.library import LIBRARY, load
from pytest_leakguard.tracker.tracker import Domain, NativeState, Threads, Tracker

tracker = Tracker(
    load(Path(os.environ["TRACKER_LIBRARY"]) if "TRACKER_LIBRARY" in os.environ else LIBRARY)
)
kept: list[Any] = []
next_run = 1
PAGE = mmap.PAGESIZE


def library(name: str) -> Any:
    """Pointers, not ints of 32 bits, for all that is kept."""
    loaded = ctypes.CDLL(os.environ[name])
    for function in (
        "keep_malloc keep_calloc keep_realloc keep_reallocarray keep_aligned_alloc keep_memalign "
        "keep_valloc keep_posix_memalign keep_strdup keep_asprintf keep_getline look_up look_up_next "
        "keep_through_pointer keep_mapping resize_mapping make_one make_array make_nothrow make_wide"
    ).split():
        if hasattr(loaded, function):
            getattr(loaded, function).restype = ctypes.c_void_p
    return loaded


def pointer(value: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(value)


def run(work: Callable[[], Any]) -> int:
    """One run of its own; what it returns is dropped."""
    global next_run
    number, next_run = next_run, next_run + 1
    assert tracker.arm(number)
    work()
    tracker.disarm()
    gc.collect()
    return number


def alive(number: int, domain: Domain, threads: Threads = Threads.ALL) -> list[int]:
    amount = tracker.live(number, domain, threads)
    return [amount.blocks, amount.size_bytes]


def native(work: Callable[[], Any]) -> list[int]:
    """Native blocks that one run leaves; called once before, as ctypes prepares itself."""
    return alive(run(work), Domain.NATIVE)


def scenario_python_objects() -> Any:
    """Three objects in each of three runs; then all go."""
    held: list[object] = [None] * 100

    def keep(first: int) -> None:
        held[first : first + 3] = [object(), object(), object()]

    numbers = [run(lambda first=first: keep(first)) for first in (0, 3, 6)]  # type: ignore[misc]
    before = [alive(number, Domain.PYTHON) for number in numbers]
    held.clear()
    return before, [alive(number, Domain.PYTHON) for number in numbers]


def scenario_nothing() -> Any:
    numbers = [run(lambda: None) for _ in range(3)]
    return [alive(number, domain) for number in numbers for domain in Domain]


def scenario_list_growth() -> Any:
    """An old list that only grows: its buffer has no block of the run, only growth."""
    growing: list[None] = [None] * 1000

    def grow() -> None:
        growing.extend([None] * 1000)

    numbers = [run(grow) for _ in range(6)]
    grown = [tracker.live(number, Domain.PYTHON).grown_bytes for number in numbers]
    return grown, [alive(number, Domain.PYTHON) for number in numbers], growing.__sizeof__()


def scenario_shrinking() -> Any:
    """An old buffer grows in one run and goes in the next."""
    growing = bytearray(1000)
    run(lambda: growing.extend(bytes(1000)))
    first = run(lambda: growing.extend(bytes(10_000)))
    second = run(growing.clear)
    return [tracker.live(number, Domain.PYTHON).grown_bytes for number in (first, second)]


def scenario_filled_and_emptied() -> Any:
    """A list whose buffer is made by one run, made larger by others, and freed by a last one."""
    filled: list[None] = []
    numbers = [run(lambda: filled.append(None)) for _ in range(20)]
    numbers.append(run(filled.clear))
    grown = [tracker.live(number, Domain.PYTHON).grown_bytes for number in numbers]
    return grown, [alive(number, Domain.PYTHON) for number in numbers]


def scenario_grows_in_own_run() -> Any:
    """What grows in its own run is that run's size, not growth of another's."""
    held: list[bytearray] = [bytearray(0)]

    def work() -> None:
        held[0] = bytearray(100)
        held[0].extend(bytes(5000))

    number = run(work)
    amount = tracker.live(number, Domain.PYTHON)
    return amount.blocks, amount.size_bytes >= 5100, amount.grown_bytes


def scenario_ctypes_malloc() -> Any:
    malloc = ctypes.CDLL(None).malloc
    malloc(1)
    return [native(lambda: malloc(1)) for _ in range(3)]


def scenario_ctypes_strdup() -> Any:
    strdup = ctypes.CDLL(None).strdup
    strdup(b"warm")
    return native(lambda: strdup(b"1234567"))


def scenario_c_functions() -> Any:
    c = library("C_LIBRARY")
    path = str(Path(__file__)).encode()
    c.keep_getline(path)
    works: dict[str, Callable[[], Any]] = {
        "malloc": lambda: c.keep_malloc(1),
        "calloc": lambda: c.keep_calloc(3, 7),
        "realloc": lambda: c.keep_realloc(None, 33),
        "reallocarray": lambda: c.keep_reallocarray(None, 3, 11),
        "aligned_alloc": lambda: c.keep_aligned_alloc(64, 128),
        "memalign": lambda: c.keep_memalign(256, 100),
        "valloc": lambda: c.keep_valloc(10),
        "posix_memalign": lambda: c.keep_posix_memalign(128, 77),
        "strdup": lambda: c.keep_strdup(b"123"),
        "asprintf": lambda: c.keep_asprintf(b"1234"),
        "pointer": lambda: c.keep_through_pointer(55),
    }
    results: dict[str, Any] = {name: native(work) for name, work in works.items()}
    results["getline"] = native(lambda: c.keep_getline(path))[0]
    results["freed"] = native(lambda: c.release(pointer(c.keep_malloc(100))))
    results["freed through pointer"] = native(
        lambda: c.release_through_pointer(pointer(c.keep_through_pointer(9)))
    )
    return results


def scenario_native_growth() -> Any:
    """An old native buffer: its first change is told by the allocator, later ones are exact."""
    c = library("C_LIBRARY")
    held = [c.keep_malloc(1000)]

    def resize(size: int) -> None:
        held[0] = c.keep_realloc(pointer(held[0]), size)

    numbers = [run(lambda size=size: resize(size)) for size in (5000, 5001, 90_000, 10)]  # type: ignore[misc]
    freed = run(lambda: c.release(pointer(held[0])))
    grown = [tracker.live(number, Domain.NATIVE).grown_bytes for number in (*numbers, freed)]
    return grown, [alive(number, Domain.NATIVE) for number in numbers]


def scenario_survivors() -> Any:
    c = library("C_LIBRARY")
    c.keep_malloc(1)
    held: list[int] = [0, 0]

    def work() -> None:
        held[0] = c.keep_malloc(24)
        held[1] = c.keep_mapping(5 * PAGE)

    number = run(work)
    blocks = [block for block in tracker.survivors(number) if block.domain is not Domain.PYTHON]
    found = {}
    for block in blocks:
        facts = (block.size_bytes, block.domain.name, block.is_own_thread, block.run == number)
        found[block.address] = facts
    addresses = (held[0], held[0] + 8, held[1] + PAGE)
    is_tracked = [tracker.is_tracked(address) for address in addresses]
    c.release(pointer(held[0]))
    return [found[held[0]], found[held[1]], len(found), is_tracked, tracker.is_tracked(held[0])]


def scenario_mappings() -> Any:
    """By parts: unmapped in the middle, mapped over, moved, and gone."""
    c = library("C_LIBRARY")
    held = [c.keep_mapping(PAGE)]
    c.unmap(pointer(held[0]), PAGE)

    def work() -> None:
        held[0] = c.keep_mapping(10 * PAGE)

    number = run(work)
    results: list[Any] = [alive(number, Domain.MAPPING)]
    c.unmap(pointer(held[0] + 4 * PAGE), 2 * PAGE)
    results.append(alive(number, Domain.MAPPING))
    assert c.map_over(pointer(held[0]), PAGE) == 0
    results.append(alive(number, Domain.MAPPING))

    def move() -> None:
        held.append(c.resize_mapping(pointer(held[0] + 6 * PAGE), 4 * PAGE, 50 * PAGE))

    moved = run(move)
    results.append(alive(number, Domain.MAPPING))
    results.append([tracker.live(moved, Domain.MAPPING).grown_bytes, *alive(moved, Domain.MAPPING)])
    c.unmap(pointer(held[0]), 10 * PAGE)
    c.unmap(pointer(held[1]), 50 * PAGE)
    results.append(alive(number, Domain.MAPPING))
    return PAGE, results


def scenario_python_mmap() -> Any:
    held: list[Any] = [mmap.mmap(-1, PAGE)]

    def work() -> None:
        held[0] = mmap.mmap(-1, 3 * PAGE)

    number = run(work)
    before = alive(number, Domain.MAPPING)
    held[0].close()
    return before, alive(number, Domain.MAPPING)


def scenario_arenas() -> Any:
    """Ten megabytes of small objects: the interpreter's arenas are no mappings of the run."""
    number = run(lambda: kept.append([object() for _ in range(300_000)]))

    def recurse(depth: int) -> None:
        if depth:
            recurse(depth - 1)

    deep = run(lambda: recurse(900))
    return alive(number, Domain.MAPPING), alive(deep, Domain.MAPPING)


def scenario_compiled_code() -> Any:
    """What the JIT compiles in a run; the numbers are of mappings alone."""

    def compute() -> int:
        total = 0
        for number in range(20_000):
            total += number % 7 if number & 1 else -number
        return total

    is_enabled = "_jit" in vars(sys) and vars(sys)["_jit"].is_enabled()
    numbers = [run(compute) for _ in range(3)]
    return is_enabled, [alive(number, Domain.MAPPING) for number in numbers]


def scenario_cpp() -> Any:
    cpp = library("CPP_LIBRARY")
    cpp.throws(ctypes.c_size_t(1))
    results: dict[str, Any] = {
        "one": native(lambda: cpp.make_one()),
        "array": native(lambda: cpp.make_array(ctypes.c_size_t(50))),
        "nothrow": native(lambda: cpp.make_nothrow(ctypes.c_size_t(60))),
        "wide": native(lambda: cpp.make_wide()),
        "dropped": native(lambda: cpp.drop_one(pointer(cpp.make_one()))),
        "array dropped": native(
            lambda: cpp.drop_array(pointer(cpp.make_array(ctypes.c_size_t(9))))
        ),
        "wide dropped": native(lambda: cpp.drop_wide(pointer(cpp.make_wide()))),
    }
    if "NEW_ABORTS" in os.environ:
        return results
    huge = ctypes.c_size_t(1 << 62)
    results["throws"] = [cpp.throws(huge), cpp.throws(huge)]
    run(lambda: cpp.throws(huge))  # loads what unwinding needs
    results["after throwing"] = native(lambda: (cpp.throws(huge), cpp.make_one()))
    return results


def scenario_nothing_crashes() -> Any:
    c = library("C_LIBRARY")
    codes = [c.provoke()]
    number = run(lambda: codes.append(c.provoke()))
    block = c.keep_malloc(10)
    run(lambda: kept.append(c.keep_malloc(10)))
    return codes, alive(number, Domain.NATIVE), c.errno_after_free(pointer(block))


def scenario_threads() -> Any:
    """Four native threads hammer the allocator while runs are armed and disarmed."""
    c = library("C_LIBRARY")
    tracker.reset()
    c.hammer_start(4, 40_000, 0)
    numbers = [run(lambda: None) for _ in range(300)]
    c.hammer_join(4)
    left = tracker.series(0, numbers[-1] + 1, Domain.NATIVE)
    return [sum(amount.blocks for amount in left), sum(amount.size_bytes for amount in left)]


def scenario_other_threads() -> Any:
    """What other threads leave is told apart from what the run's own thread leaves."""
    c = library("C_LIBRARY")
    c.keep_malloc(1)

    def work() -> None:
        c.keep_malloc(7)
        c.hammer_start(2, 10, 1)
        c.hammer_join(2)

    number = run(work)
    other = [block for block in tracker.survivors(number) if not block.is_own_thread]
    has_kept = [block.size_bytes for block in other].count(100)
    return (
        alive(number, Domain.NATIVE, Threads.OTHER)[0] >= 2,
        has_kept,
        7 in [block.size_bytes for block in tracker.survivors(number) if block.is_own_thread],
    )


def scenario_python_threads() -> Any:
    """Free-threaded or not: objects that several threads make and drop end at zero."""
    number_of_threads = 4
    start = threading.Barrier(number_of_threads + 1)

    def make_and_drop() -> None:
        start.wait()
        for _ in range(3000):
            [bytearray(size) for size in range(0, 600, 40)]

    threads = [threading.Thread(target=make_and_drop) for _ in range(number_of_threads)]
    for thread in threads:
        thread.start()
    start.wait()
    numbers = [run(lambda: None) for _ in range(200)]
    for thread in threads:
        thread.join()
    del threads
    gc.collect()
    return max(alive(number, Domain.PYTHON)[0] for number in numbers)


def scenario_fork() -> Any:
    """Children of a process whose other threads allocate: none hangs, the parent stays exact."""
    c = library("C_LIBRARY")
    c.hammer_start(2, 300_000, 0)
    number = run(lambda: c.keep_malloc(11))
    reader, writer = os.pipe()
    for _ in range(20):
        tracker.arm(number)
        child = os.fork()
        if child == 0:
            answer = fork_child(c)
            os.write(writer, answer)
            os._exit(0)
        tracker.disarm()
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    c.hammer_join(2)
    answers = os.read(reader, 100)
    own = [
        block
        for block in tracker.survivors(number)
        if block.is_own_thread and block.size_bytes == 11
    ]
    return sorted(set(answers)), len(answers), len(own), tracker.is_child


def fork_child(c: Any) -> bytes:
    """1 where it behaves: it says it is a child, frees, refuses to arm, and tracks after reset."""
    c.release(pointer(c.keep_malloc(100)))
    refuses = tracker.is_child and tracker.arm(1) == 0
    tracker.reset()
    is_exact = native(lambda: c.keep_malloc(21)) == [1, 21]
    return bytes([refuses and is_exact and not tracker.is_child])


def scenario_subprocess() -> Any:
    """posix_spawn and vfork share memory with the parent for a while."""
    import subprocess

    true = ["/bin/true"]
    subprocess.run(true, check=True)
    number = run(lambda: [subprocess.run(true, check=True) for _ in range(5)])
    os.waitpid(os.posix_spawn("/bin/true", true, {}), 0)
    return alive(number, Domain.NATIVE), tracker.is_child


def scenario_tracemalloc() -> Any:
    """It nests above the hooks and goes."""
    held: list[object] = [None]

    def keep() -> None:
        held[0] = object()

    run(keep)
    tracemalloc.start()
    inside = alive(run(keep), Domain.PYTHON)
    tracemalloc.stop()
    after = alive(run(keep), Domain.PYTHON)
    return inside, after, [unseen.what for unseen in find_unseen(tracker)]


def scenario_memray() -> Any:
    """It puts its own functions in the slots and puts back others: the next run has ours again."""
    import tempfile

    import memray

    c = library("C_LIBRARY")
    c.keep_malloc(1)
    held: list[object] = [None]

    def keep() -> None:
        held[0] = object()

    with tempfile.TemporaryDirectory() as folder, memray.Tracker(f"{folder}/memray.bin"):
        run(keep)  # its profile function costs every code object some bytes at its next execution
        inside = alive(run(keep), Domain.PYTHON)
        state_inside = tracker.native_state.name
    after = native(lambda: c.keep_malloc(5))
    held[0] = None
    return inside, state_inside, after, tracker.native_state.name, find_unseen(tracker) == ()


def scenario_stale() -> Any:
    """A block freed where nobody sees it: its address comes back, and the entry goes."""
    c = library("C_LIBRARY")
    size = 3_000
    c.release(pointer(c.keep_malloc(size)))
    held = [0]

    def keep() -> None:
        held[0] = c.keep_malloc(size)

    for _ in range(50):  # whether it comes back is the allocator's own affair
        first = run(keep)
        hidden_free(held[0])
        again = c.keep_malloc(size)  # not armed
        if again == held[0]:
            break
        c.release(pointer(again))
    result = [again == held[0], alive(first, Domain.NATIVE)]
    c.release(pointer(again))
    second = run(keep)
    hidden_free(held[0])
    third = run(keep)
    result += [alive(second, Domain.NATIVE), alive(third, Domain.NATIVE)]
    c.release(pointer(held[0]))
    return result


def hidden_free(block: int) -> None:
    """Through the address that was looked up before the hooks."""
    REAL_FREE(pointer(block))


def scenario_runs() -> Any:
    """Runs are merged into the old ones, forgotten one by one, and all at once."""
    c = library("C_LIBRARY")
    c.keep_malloc(1)
    numbers = [run(lambda: c.keep_malloc(10)) for _ in range(4)]
    old_before = alive(0, Domain.NATIVE)
    tracker.retag(numbers[0], numbers[1])
    old_after = alive(0, Domain.NATIVE)
    tracker.forget(numbers[2])
    left = [alive(number, Domain.NATIVE) for number in numbers]
    tracker.reset()
    merged = [after - before for before, after in zip(old_before, old_after, strict=True)]
    return merged, left, tracker.used, alive(numbers[3], Domain.NATIVE)


def scenario_many_blocks() -> Any:
    """A million live blocks; afterwards the table is small again. Any run number will do."""
    global next_run
    number, next_run = next_run, 4_000_000
    held: list[Any] = []
    tracker.arm(number)
    held.extend([object() for _ in range(1_000_000)])
    tracker.disarm()
    blocks = tracker.live(number, Domain.PYTHON).blocks
    held.clear()
    last = run(lambda: kept.append(object()))
    left = tracker.live(number, Domain.PYTHON).blocks
    next_run = number + 1
    return blocks, left, alive(last, Domain.PYTHON)[0] >= 1, tracker.lost


def scenario_bad_runs() -> Any:
    return [tracker.arm(0), tracker.arm(1 << 22)]


def scenario_stacks() -> Any:
    """Which function of which library called malloc, and mmap."""
    c = library("C_LIBRARY")
    held = [c.keep_malloc(1), 0, 0]
    assert tracker.record_stacks(16)

    def work() -> None:
        held[0] = c.keep_malloc(9)
        held[1] = c.keep_strdup(b"text")
        held[2] = c.keep_mapping(PAGE)

    run(work)
    names = []
    for block in held:
        frames = [tracker.locate(frame) for frame in tracker.stack_of(block)]
        own = [frame for frame in frames if frame and frame.file == os.environ["C_LIBRARY"]]
        names.append(own[0].symbol if own else None)
    first = tracker.locate(tracker.stack_of(held[0])[0])
    assert first is not None
    has_offsets = 0 < first.offset < 1 << 20, 0 < first.symbol_offset < 200
    depth = len(tracker.stack_of(held[0]))
    c.release(pointer(held[0]))
    gone = tracker.stack_of(held[0])
    tracker.record_stacks(0)
    return names, first.symbol, has_offsets, depth, gone, tracker.stack_of(held[1])


def scenario_callers() -> Any:
    """dlopen searches along the caller's RUNPATH; RTLD_NEXT means what follows the caller."""
    caller = ctypes.CDLL(os.environ["CALLER_LIBRARY"])
    caller.opens_along_runpath.argtypes = (ctypes.c_char_p,)
    opened = caller.opens_along_runpath(b"libneighbour.so")
    caller.look_up_next.restype = ctypes.c_void_p
    return opened, bool(caller.look_up_next(b"strlen"))


def scenario_displaced() -> Any:
    """Slots restored by somebody else are taken back when the next run is armed."""
    c = library("C_LIBRARY")
    c.keep_malloc(1)
    tracker.uninstall_native()
    unhooked = native(lambda: c.keep_malloc(3)), tracker.native_state.name
    hooks = tracker.install_native()
    return unhooked, native(lambda: c.keep_malloc(3)), hooks.state.name


def scenario_canary() -> Any:
    import time

    begin = time.thread_time()
    unseen = find_unseen(tracker)
    seconds = time.thread_time() - begin
    texts = [f"{one.domain.name} {one.what}: {one.reason}" for one in unseen]
    return texts, seconds, [alive(CANARY_RUN, domain)[0] for domain in Domain]


def scenario_state() -> Any:
    return tracker.native_state.name


def scenario_costs() -> Any:
    """Arming leaves nothing: neither blocks nor growth of the process's own memory."""
    arm, disarm = tracker.arm, tracker.disarm
    blocks = [0, 0, 0]
    for measurement in range(len(blocks)):
        blocks[measurement] = sys.getallocatedblocks()
        for _ in range(100):
            arm(100_000)
            disarm()
    return blocks[2] - blocks[1], [alive(100_000, domain)[0] for domain in Domain]


REAL_FREE = ctypes.CDLL(None).free


def scenario_own_allocator() -> Any:
    mode = os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND
    own = ctypes.CDLL(os.environ["OWN_ALLOCATOR"], mode=mode)
    counts = [own.use_own()]
    number = run(lambda: counts.append(own.use_own()))
    return counts, alive(number, Domain.NATIVE)


def scenario_unloaded() -> Any:
    """Another library is loaded where an unloaded one was."""
    results = []
    for name in ("C_LIBRARY", "SECOND_LIBRARY", "C_LIBRARY"):
        loaded = library(name)
        loaded.keep_malloc(1)
        results.append(native(lambda loaded=loaded: loaded.keep_malloc(2)))  # type: ignore[misc]
        _ctypes.dlclose(loaded._handle)
    return results


def scenario_audit() -> Any:
    """Events that the listener is told of, what it may raise, and lines of it that are traced."""
    told: list[str] = []
    traced: list[str] = []

    def listener(event: str, arguments: tuple[Any, ...]) -> None:
        told.append(f"{event} {arguments[0]}")
        if event == "wanted and refused":
            raise LookupError

    ask_for = tracker.hear(listener)
    assert ask_for is not None
    for event in ("wanted", "wanted and refused"):
        ask_for(event)
    sys.settrace(lambda frame, event, _: traced.append(frame.f_code.co_name))
    sys.audit("unwanted", 0)
    sys.audit("wanted", 1)
    sys.settrace(None)
    try:
        sys.audit("wanted and refused", 2)
    except LookupError:
        told.append("raised")
    return told, "listener" in traced


EARLY = library("C_LIBRARY") if "EARLY" in os.environ else None
"""Loaded before the hooks, and nothing called yet."""


def main(names: list[str]) -> None:
    assert tracker.install_python()
    state = tracker.install_native().state
    assert state is NativeState.HOOKED or "NOT_HOOKED" in os.environ, state
    results = {}
    for name in names:
        results[name] = globals()[f"scenario_{name}"]()
    print(json.dumps(results))


main(sys.argv[1:])
