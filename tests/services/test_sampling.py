"""Readings of real processes: the cheap ones say what the full ones say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from pytest_leakguard.processes import memory
from pytest_leakguard.services.launch import Service
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.sampler import Sampler

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="services are measured through /proc"
)
PROGRAM = """
import sys, threading
kept = []
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    kept.append(bytearray(4 << 20))  # written with zeros, so it is resident
    print("grown", flush=True)
"""


@contextmanager
def program() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            yield running
        finally:
            running.kill()


def grow(running: subprocess.Popen[str]) -> None:
    assert running.stdin is not None and running.stdout is not None
    running.stdin.write("\n")
    running.stdin.flush()
    running.stdout.readline()


def test_the_cheap_reading_says_what_the_full_one_says() -> None:
    with program() as running:
        full = memory.read([running.pid])
        quick = memory.read_quickly([running.pid], {running.pid: full.processes[0].started})
    assert quick.private_bytes == pytest.approx(full.private_bytes, abs=256 * 1024)
    assert quick.rss == pytest.approx(full.rss, abs=256 * 1024)
    assert (quick.threads, quick.descriptors) == (full.threads, full.descriptors) == (2, 3)
    assert quick.processes[0].started == full.processes[0].started > 0


def test_a_process_that_has_ended_is_in_neither_reading() -> None:
    running = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert not memory.read([running.pid]).processes
    assert not memory.read_quickly([running.pid], {}).processes
    running.wait()
    assert not memory.read_quickly([running.pid], {}).processes


def test_every_sample_sees_what_the_service_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap readings and full ones alike; where the cheap ones are wrong they are given up."""
    read_quickly = memory.read_quickly
    for is_wrong in (False, True):
        if is_wrong:
            monkeypatch.setattr(memory, "read_quickly", lambda pids, known: read_quickly([], known))
        with program() as running:
            sampler = Sampler(Service(running.pid, 0, "program"), HeapReader(is_active=False), 100)
            sampler.begin()
            for done in range(1, 30):
                grow(running)
                sampler.sample(done)
            kept = [
                value for value in sampler.timeline.series["private_bytes"] if value is not None
            ]
        assert len(kept) == 30
        steps = [after - before for before, after in pairwise(kept)]
        assert all(step == pytest.approx(4 << 20, abs=1 << 20) for step in steps), (is_wrong, steps)
