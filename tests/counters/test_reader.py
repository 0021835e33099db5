"""Readings of the exact counters: what reading itself does must not show in them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

READINGS = """
    import random, re, _strptime
    from array import array
    from pytest_leakguard.counters.reader import BLOCKS, COUNTERS, Reader
    from pytest_leakguard.counters.tempfiles import temporary_files
    MOST = 250  # the numbers up to 256 are there already
    reader, row, blocks = Reader(temporary_files()), array("d", bytes(8 * len(COUNTERS))), array("d", bytes(8 * MOST))
    reader.empties_library_caches = True
    class Nothing: pass
    names = [f"{number:09d}" for number in range(4000)]
    def read_all():
        for at in range(MOST):
            prepare(at)
            reader.read(row, 0, clears_caches=True)
            blocks[at] = row[BLOCKS]
"""
STIRRED = """
    def prepare(at):  # what is made next has another address each time
        for _ in range(random.randrange(9)):
            names[random.randrange(4000)] = f"{random.randrange(10**6):09d}"
            re.compile(f"{random.randrange(10**6):09d}")
"""
DEMANDING = """
    def prepare(at): pass
    def look_up():
        for _ in range(random.randrange(9)):
            getattr(Nothing, f"{random.randrange(10**6)}", None)
    reader.filling = (look_up,)
"""
LEFT = """
    read_all()
    read_all()
    print(*sorted({one - blocks[0] for one in blocks}))
"""


@pytest.mark.parametrize("prepare", [STIRRED, DEMANDING], ids=["stirred", "demanding"])
def test_names_that_emptying_caches_looks_up_are_not_among_the_blocks(prepare: str) -> None:
    code = textwrap.dedent(READINGS + prepare + LEFT)
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert len(told.split()) == 1, f"readings of nothing new differ by so many blocks: {told}"
