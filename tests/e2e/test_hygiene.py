"""Nothing survives: not after Ctrl-C, SIGTERM or SIGKILL of pytest itself, not a child of a child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.programs

# A parent whose grandchild leaves its session and ignores SIGTERM; every one of them carries a mark in its arguments.
FAMILY = """#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
int main(int n, char **v) {
    if (!fork()) { if (!fork()) { setsid(); signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN); for (;;) pause(); } for (;;) pause(); }
    for (;;) pause();
}
"""


def marked(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if (
            mark in (process.info["cmdline"] or [])
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ):
            found.append(process.info["pid"])
    return [pid for pid in found if pid != os.getpid()]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize(
    ("under", "how"),
    [
        ("sanitizer", signal.SIGINT),
        ("sanitizer", signal.SIGKILL),
        pytest.param(
            "valgrind", signal.SIGINT, marks=pytest.mark.slow
        ),  # valgrind gets 20 s to write its report
        ("valgrind", signal.SIGTERM),
        ("valgrind", signal.SIGKILL),
    ],
)
def test_a_killed_pytest_leaves_no_process_behind(
    tmp_path: Path, compile_c: Callable[..., Path], how: signal.Signals, under: str
) -> None:
    compile_c(FAMILY, *(("-fsanitize=leak",) if under == "sanitizer" else ()), name="family")
    mark = f"mark-{os.getpid()}-{under}-{how.value}"
    (tmp_path / "test_it.py").write_text(
        f'def test_it(leakguard):\n    leakguard.run(["./family", "{mark}"], tool="{under}", timeout=120)\n'
    )
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "--leakguard",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ]
    pytest_run = subprocess.Popen(
        argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: len(marked(mark)) >= 3, 60), "the family did not start"
        os.kill(pytest_run.pid, how)
        assert pytest_run.wait(60) != 0
        assert wait_until(lambda: not marked(mark), 30), f"still there: {marked(mark)}"
    finally:
        pytest_run.kill()
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


def test_an_interrupted_run_leaves_no_temporary_files(
    tmp_path: Path, compile_c: Callable[..., Path]
) -> None:
    compile_c(FAMILY, name="family")
    (tmp_path / "test_it.py").write_text(
        'def test_it(leakguard):\n    leakguard.run(["./family", "temporary-mark"])\n'
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "--leakguard",
        "-q",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    run = subprocess.Popen(
        argv, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: len(marked("temporary-mark")) >= 3, 60)
        os.kill(run.pid, signal.SIGINT)
        assert run.wait(60) == 2
        assert list(scratch.glob("leakguard-*")) == []
    finally:
        run.kill()
        for pid in marked("temporary-mark"):
            os.kill(pid, signal.SIGKILL)
