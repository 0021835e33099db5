"""Readings of the exact counters: what is scarce is counted one by one, and reading leaves nothing."""

from __future__ import annotations

import os
import tempfile
import threading
from array import array

from pytest_leakguard.counters.reader import COUNTERS, DESCRIPTORS, FILES, THREADS, Reader
from pytest_leakguard.counters.tempfiles import TemporaryFiles, temporary_files


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
