"""Claim: of 22 leaky and 12 clean functions all are answered right, no slower per verdict than
psleak in the median.

    python benchmarks/functions_beside_peers.py [--only NAME] [--timeout 120]

Every function runs in a fresh process per tool: ours through ``leakguard.loop``, psleak with its
defaults (under ``PYTHONMALLOC=malloc``, without which it skips), pytest-memray's
``limit_leaks("1 KB")`` around 100 calls after 50 of warm-up. CPU seconds are those of the verdict
alone, imports left out. Needs psleak, pytest-memray and a C compiler.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = Path(__file__).resolve().parents[1] / "tests" / "golden" / "inprocess"
HEAD = (
    f"import sys, time\nsys.path.insert(0, {str(CASES)!r})\n"
    "import cases\nwork = getattr(cases, sys.argv[1])\n"
)
TAIL = "print('ANSWER', int(found), time.process_time() - began)\n"
OURS = (
    HEAD
    + "from pytest_leakguard.screening.loop import check_loop\nbegan = time.process_time()\n"
    + "found = bool(check_loop(work, 'x').findings)\n"
    + TAIL
)
PSLEAK = (
    HEAD
    + "import psleak\nclass T(psleak.MemoryLeakTestCase):\n    def runTest(self): pass\n"
    + "began = time.process_time()\ntry:\n    T().execute(work); found = False\n"
    + "except AssertionError as error:\n    found = True\n"
    + TAIL
)
MEMRAY = f"""
import sys, time
sys.path.insert(0, {str(CASES)!r})
import cases, os, pytest
WORK = getattr(cases, os.environ["CASE"])
for _ in range(50):
    WORK()
@pytest.mark.limit_leaks("1 KB")
def test_it():
    for _ in range(100):
        WORK()
"""


def names() -> list[str]:
    """The functions, leaky ones first."""
    tree = ast.parse((CASES / "cases.py").read_text())
    found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in found if name.startswith(("leak_", "clean_"))]


def asked(script: str, name: str, timeout_s: float, **env: str) -> tuple[str, float]:
    """``found``, ``ok`` or why it is inconclusive, and CPU seconds."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, name],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=os.environ | env,
        )
    except subprocess.TimeoutExpired:
        return "late", timeout_s
    for line in done.stdout.splitlines():
        if line.startswith("ANSWER "):
            _, found, seconds = line.split()
            return ("found" if found == "1" else "ok"), float(seconds)
    return "error", 0.0


def memray(name: str, timeout_s: float) -> tuple[str, float]:
    """pytest-memray's answer.

    Its CPU seconds are not comparable, since they are those of a whole session.
    """
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as directory:
        (Path(directory) / "test_it.py").write_text(MEMRAY)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--memray",
            "--hide-memray-summary",
            "test_it.py",
        ]
        try:
            done = subprocess.run(
                command,
                cwd=directory,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                env=os.environ | {"CASE": name},
            )
        except subprocess.TimeoutExpired:
            return "late", timeout_s
    return {0: "ok", 1: "found"}.get(done.returncode, "error"), 0.0


def main() -> None:
    """The table, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--timeout", type=float, default=120.0)
    options = parser.parse_args()
    wanted = [name for name in names() if options.only in name]
    answers: dict[str, dict[str, tuple[str, float]]] = {}
    print(f"{'function':<28}{'ours':>16}{'psleak':>16}{'limit_leaks 1 KB':>18}")
    for name in wanted:
        answers[name] = {
            "ours": asked(OURS, name, options.timeout),
            "psleak": asked(PSLEAK, name, options.timeout, PYTHONMALLOC="malloc"),
            "limit_leaks": memray(name, options.timeout),
        }
        ours, psleak, limit = answers[name].values()
        print(
            f"{name:<28}{ours[0]:>8}{ours[1]:7.2f}s{psleak[0]:>8}{psleak[1]:7.2f}s{limit[0]:>18}",
            flush=True,
        )
    for tool in ("ours", "psleak", "limit_leaks"):
        found = sum(
            answers[name][tool][0] == "found" for name in wanted if name.startswith("leak_")
        )
        false = sum(
            answers[name][tool][0] == "found" for name in wanted if name.startswith("clean_")
        )
        seconds = statistics.median(answers[name][tool][1] for name in wanted)
        print(
            json.dumps(
                {
                    "tool": tool,
                    "found": found,
                    "false_alarms": false,
                    "median_cpu_s": round(seconds, 2),
                }
            )
        )


if __name__ == "__main__":
    main()
