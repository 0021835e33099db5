"""Readings of the exact counters: what is scarce is counted one by one, and reading leaves nothing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
from array import array
from multiprocessing import shared_memory
from pathlib import Path

import pytest

from pytest_leakguard.core.clock import Clock
from pytest_leakguard.counters import reader as reader_module
from pytest_leakguard.counters.audit import listen
from pytest_leakguard.counters.canary import find_uncounted
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.counters.reader import (
    CHILDREN,
    COUNTERS,
    DESCRIPTORS,
    FILES,
    THREADS,
    Reader,
)
from pytest_leakguard.counters.tempfiles import TemporaryFiles, _on_event, temporary_files
from pytest_leakguard.counters.tempfiles import _state_of_directory as state_of_directory


def reading(reader: Reader) -> list[float]:
    row = array("d", bytes(8 * len(COUNTERS)))
    reader.read(row, 0)
    return list(row)


def test_what_nobody_touches_reads_the_same_again() -> None:
    reader = Reader(TemporaryFiles())
    assert reading(reader) == reading(reader)


def test_a_descriptor_and_a_thread_are_counted_as_one_each() -> None:
    reader = Reader(TemporaryFiles())
    before = reading(reader)
    descriptor, end = os.open(os.devnull, os.O_RDONLY), threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        after = reading(reader)
    finally:
        os.close(descriptor)
        end.set()
        thread.join()
    assert after[DESCRIPTORS] - before[DESCRIPTORS] == 1
    assert after[THREADS] - before[THREADS] == 1


def test_a_temporary_file_counts_until_it_is_removed() -> None:
    files = temporary_files()
    was_watching = files.is_watching
    if not was_watching:
        files.watch()
    reader = Reader(files)
    before = reading(reader)[FILES]
    handle, name = tempfile.mkstemp()
    os.close(handle)
    there = reading(reader)[FILES]
    os.unlink(name)
    gone = reading(reader)[FILES]
    if not was_watching:
        files.stop()
    assert (there - before, gone - before) == (1, 0)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there are no such segments here")
def test_a_segment_of_shared_memory_counts_until_it_is_unlinked() -> None:
    files = TemporaryFiles()
    files.watch()
    listen(("os.truncate",), files.note)
    try:
        before = files.count()
        segment = shared_memory.SharedMemory(create=True, size=100)
        segment.close()
        there = files.count()
        segment.unlink()
        gone = files.count()
    finally:
        listen(("os.truncate",), _on_event)
    assert (there - before, gone - before) == (1, 0)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there are no such segments here")
def test_segments_that_c_code_makes_within_a_millisecond_are_counted_one_by_one() -> None:
    files = TemporaryFiles()
    files.watch()
    shm_open = ctypes.CDLL(None).shm_open
    names = [f"/leakguard-{os.getpid()}-{at}" for at in range(20)]
    counts = [files.count()]
    for name in names:
        os.close(shm_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o600))
        counts.append(files.count())
    for name in names:
        os.unlink(f"/dev/shm{name}")
    assert [count - counts[0] for count in counts] == list(range(21))
    assert files.count() == counts[0]
    assert state_of_directory() is None  # kernels before 6.13 may give the next change this time


def test_a_directory_without_changes_is_not_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    files = TemporaryFiles()
    files.watch()
    monkeypatch.setattr(Clock, "wall_ns", lambda: sys.maxsize)
    files.count()
    with monkeypatch.context() as patch:
        patch.setattr(Original, "listdir", None)
        assert files.count() == 0


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there are no such segments here")
def test_a_segment_that_another_process_uses_is_none_of_ours() -> None:
    files = TemporaryFiles()
    files.watch()
    code = (
        "import mmap, os, sys\n"
        "handle = os.open('/dev/shm/leakguard-other', os.O_CREAT | os.O_RDWR)\n"
        "os.ftruncate(handle, 4096)\n"
        "mapped = mmap.mmap(handle, 4096)\n"
        "print(flush=True); sys.stdin.read(); os.unlink('/dev/shm/leakguard-other')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        count = files.count()
        other.stdin.close()
    assert count == 0


def test_what_cannot_be_counted_is_said_and_not_counted_as_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Reader(TemporaryFiles())
    reading(reader)
    assert reader.take_unread() == ()
    monkeypatch.setattr(reader_module, "_DESCRIPTORS", "/nowhere/fd")
    monkeypatch.setattr(reader_module, "_TASKS", "/nowhere/task")
    reading(reader)
    said = [text.partition(":")[0] for text in reader.take_unread()]
    assert said[:2] == ["file descriptors cannot be counted here", "threads cannot be counted here"]
    assert reader.take_unread() == ()
    assert {DESCRIPTORS, THREADS, CHILDREN} <= find_uncounted().keys()


def test_the_canaries_find_nothing_uncounted_on_this_platform() -> None:
    assert find_uncounted() == {}


def test_a_platform_without_proc_is_asked_through_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = reader_module.descriptor_count()
    monkeypatch.setattr(reader_module, "_HAS_PROC", False)
    assert reader_module.thread_count() >= threading.active_count()
    assert reader_module.descriptor_count() - descriptors in (0, 1)  # one that psutil looks with
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in reader_module.children()
        assert child.stdin is not None
        child.stdin.close()
