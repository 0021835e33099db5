"""What takes long is shown on a terminal while it does, past the capturing of tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STUB = Path(__file__).parents[1] / "services" / "stub.py"
SUSPECT = """
    import time
    KEEP = []
    def test_orders():
        time.sleep(0.003)
        KEEP.append(object())
"""
LOOP = """
    import time
    def test_orders(leakguard):
        print("printed by the test")
        leakguard.loop(lambda: time.sleep(0.001), iterations=1000)
"""
SERVICE = f"""
    import sys
    def test_orders(leakguard):
        print("printed by the test")
        with leakguard.serve([sys.executable, {str(STUB)!r}, "{{port}}", "clean"],
                             ready="http://127.0.0.1:{{port}}/") as service:
            service.loop(["GET /orders/7"], requests=5000, stop_early=False)
"""
RUN = """
import sys
import pytest
from pytest_leakguard.pytest_integration import progress
from pytest_leakguard.services import measure
progress.FIRST_S = progress.REWRITE_S = progress.EVERY_S = measure.PROGRESS_EVERY_S = 0.1
sys.exit(pytest.main(sys.argv[1:]))
"""
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="a service is measured through /proc"
)
CASES = [
    pytest.param(SUSPECT, r"leakguard: confirming \S+::test_orders \(.*\), [\d,]+ runs so far"),
    pytest.param(LOOP, r"leakguard: loop of \S+::test_orders, [\d,]+ calls so far"),
    pytest.param(SERVICE, r"leakguard: .*requests, .*/s", marks=linux_only),
]


def run_on_a_terminal(pytester: pytest.Pytester, *arguments: str) -> str:
    """What pytest writes to a terminal of its own."""
    import pty

    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", RUN, "--leakguard", *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    process = subprocess.Popen(argv, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # Linux's way to say that nobody has the other end open
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return b"".join(parts).decode("utf-8", "replace")


@pytest.mark.parametrize(("code", "line"), CASES, ids=["confirmation", "loop", "service"])
def test_what_takes_long_is_shown_on_a_terminal_without_s(
    pytester: pytest.Pytester, code: str, line: str
) -> None:
    pytester.makepyfile(code)
    shown = run_on_a_terminal(pytester)
    assert re.search(line, shown), shown
    assert "printed by the test" not in shown


@pytest.mark.parametrize(("code", "line"), CASES[:2], ids=["confirmation", "loop"])
def test_what_takes_long_is_not_shown_with_q(
    pytester: pytest.Pytester, code: str, line: str
) -> None:
    pytester.makepyfile(code)
    assert not re.search(line, run_on_a_terminal(pytester, "-q"))


@pytest.mark.parametrize("code", [SUSPECT, LOOP], ids=["confirmation", "loop"])
def test_what_takes_long_is_a_line_now_and_then_in_a_log(
    pytester: pytest.Pytester, code: str
) -> None:
    pytester.makepyfile(code)
    done = pytester.run(sys.executable, "-c", RUN, "--leakguard")
    lines = [line for line in done.outlines if line.startswith("leakguard: ")][1:]
    assert lines and lines[0].endswith("so far"), done.outlines
