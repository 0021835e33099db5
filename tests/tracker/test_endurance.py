"""The preloaded library lives long in a program that does everything: no crash, no growth."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracker.test_live import ALLOCATORS, Runner, library_of
from tests.tracker.test_live import runner as runner

HERE = Path(__file__).parent / "preload"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="nothing is preloaded elsewhere"),
]
LONG_S = float(os.environ.get("LEAKGUARD_ENDURANCE_S", "300"))
"""How long the long ones last, in seconds; an hour before a release."""
LEAST_ROUNDS = 40
EPOCHS = 8
PAGES_BYTES = 64 * 1024
"""What a process may gain over all rounds: an allocator's pages, no memory of the tracker's own."""
MOST_OWN_BYTES = 4 << 20
"""Of the tracker's own; a mebibyte after a thousand rounds, and no more after three thousand."""
MOST_FILES = 70
"""Of processes that ended without removing theirs, besides this one's and the epoch."""
Build = Callable[..., Path]


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (anonymous,) = [line.split()[1] for line in lines if line.startswith("Anonymous:")]
    return int(anonymous) * 1024


@pytest.mark.parametrize("allocator", ("glibc", *ALLOCATORS))
def test_threads_forks_sandboxes_and_libraries_for_long_leave_nothing_behind(
    runner: Runner, build: Build, allocator: str
) -> None:
    options = ("-std=c++17", "-fPIC", "-shared")
    library = build("libendured.so", *options, str(HERE / "endured.cpp"), compiler="g++")
    own = build("endured_own_malloc", str(HERE / "own_malloc.c"))
    program = build("endurance", "-pthread", str(HERE / "endurance.c"), "-ldl")
    process = runner.start(str(program), str(library), str(own), preload=library_of(allocator))
    own_bytes: list[int] = []
    heap_bytes: list[int] = []
    pages: list[int] = []
    started = time.monotonic()
    epoch = 0
    while time.monotonic() - started < LONG_S or len(pages) < LEAST_ROUNDS:
        epoch = min(epoch + 1, EPOCHS)  # each new one takes a place in the table of counts
        now = runner.step(process, epoch)
        assert now.lost == 0
        own_bytes.append(now.own_bytes)
        heap_bytes.append(sum(now.heap_bytes))
        pages.append(private_bytes(process.pid))
        runner.live.sweep_when_crowded([process.pid])
        assert len(list(runner.live.folder.iterdir())) <= MOST_FILES
    warm = len(pages) // 2
    assert max(own_bytes[warm:]) - max(own_bytes[:warm]) <= PAGES_BYTES, own_bytes
    assert max(own_bytes) < MOST_OWN_BYTES
    assert heap_bytes[-1] - heap_bytes[warm] < PAGES_BYTES, heap_bytes
    assert min(pages[-len(pages) // 4 :]) - min(pages[warm:]) < 16 * PAGES_BYTES, pages
