"""Time is measured alike on an idle machine and on a busy one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_leakguard.core import clock
from pytest_leakguard.core.clock import Clock, Spent, kept_waiting_s

COMPUTING = "while True: pass"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a thread has waited")
def test_time_that_others_had_the_processor_is_not_spent() -> None:
    """Two processes on one processor: about half of the time goes by without this one."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        with subprocess.Popen([sys.executable, "-c", COMPUTING]) as other:
            try:
                spent, began_s, began_cpu_s = Spent(), Clock.elapsed_s(), Clock.cpu_s()
                while Clock.cpu_s() - began_cpu_s < 0.5:
                    pass
                waited_s = Clock.elapsed_s() - began_s - (Clock.cpu_s() - began_cpu_s)
                assert waited_s > 0.1, "the other process had no processor"
                assert spent.seconds < 0.5 + clock.WAITING * waited_s / 2
            finally:
                other.kill()
    finally:
        os.sched_setaffinity(0, processors)


def test_time_slept_counts_by_half() -> None:
    spent = Spent()
    time.sleep(0.2)
    assert spent.seconds >= clock.WAITING * 0.2 * 0.9


def test_a_system_that_does_not_account_for_it_is_taken_at_its_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for text in ("", "1 x 2", "7"):
        (tmp_path / "schedstat").write_text(text)
        monkeypatch.setattr(clock, "_SCHEDULING", str(tmp_path / "schedstat"))
        assert kept_waiting_s() == 0.0
    monkeypatch.setattr(clock, "_SCHEDULING", str(tmp_path / "absent"))
    assert kept_waiting_s() == 0.0
