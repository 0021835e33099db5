"""Claim: every function of the two sets is answered right, no slower per verdict than psleak in the
median; the peers are not.

    python benchmarks/functions_beside_peers.py [--sets known own] [--only NAME] [--timeout 120]
                                                [--tools TOOL ...] [--debug-python INTERPRETER]

``known`` are the 34 of ``tests/golden/inprocess``, ``own`` those of ``tests/screening/own_set``.
Every function runs in a fresh process per tool, each tool as its documentation says for one
function that is called again and again:

- ours: ``leakguard.loop``
- psleak: its defaults, under ``PYTHONMALLOC=malloc``, without which it skips
- limit_leaks: pytest-memray's marker with "1 KB" around 100 calls after 50 of warm-up
- memalot: ``create_leak_monitor`` with 10 calls of warm-up, then 2 more; it decides nothing, so
  that suspects in both of its reports count as found
- leak-hunter: ``assert_no_leak`` of python-leak-hunter
- refleak: ``Snapshot`` of the instances of the module's own classes after 10 calls, which is what
  it is for, ``assert_no_new`` after 10 more
- pytest-leaks: ``-R :`` on the debug build of CPython that ``--debug-python`` names; without one
  it refuses to run

CPU seconds are those of the verdict alone, imports left out; those of limit_leaks and pytest-leaks
would be of whole sessions and are not given. A tool that is not installed is left out and said so.
Needs a C compiler.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "golden" / "inprocess"
sys.path.insert(0, str(ROOT))
OUR_TESTS = f"""
import sys, types
# memalot installs a package of that name, which would hide ours.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [{str(ROOT / "tests")!r}]
"""
exec(OUR_TESTS)

from tests.screening.own_set.answers import ANSWERS  # noqa: E402  # found by the path above
from tests.screening.own_set.build import native_library  # noqa: E402  # found by the path above

HEAD = f"""{OUR_TESTS}
import importlib, os, sys, time
sys.path[:0] = [{str(CASES)!r}, {str(ROOT)!r}]
"""
WORK = """
module, _, function = os.environ["CASE"].partition(":")
work = getattr(importlib.import_module(module), function)
"""
BEGIN = "began = time.process_time()\n"
TAIL = """
print('ANSWER', int(found), time.process_time() - began, flush=True)
os._exit(0)  # without waiting for threads that some functions leave behind
"""
OURS = f"""{HEAD}
from pytest_leakguard.screening.loop import check_loop
from pytest_leakguard.tracker.installed import installed
installed()
{WORK}
{BEGIN}
check = check_loop(work, "x")
found = 1 if check.findings else 2 if check.problems else 0
{TAIL}"""
PSLEAK = f"""{HEAD}
import psleak
{WORK}
class T(psleak.MemoryLeakTestCase):
    def runTest(self): pass
{BEGIN}
try:
    T().execute(work); found = False
except AssertionError:
    found = True
{TAIL}"""
MEMALOT = f"""{HEAD}
import memalot
{WORK}
told = []
monitor = memalot.create_leak_monitor(
    warmup_calls=10, max_object_age_calls=1, output_func=told.append, save_reports=False,
    check_referrers=False, max_object_details=0, color=False,
)
{BEGIN}
for _ in range(12):
    with monitor:
        work()
found = sum("Possible New Leaks" in text for text in told) == 2
{TAIL}"""
LEAK_HUNTER = f"""{HEAD}
import leak_hunter
{WORK}
{BEGIN}
try:
    leak_hunter.assert_no_leak(work); found = False
except AssertionError:
    found = True
{TAIL}"""
REFLEAK = f"""{HEAD}
from refleak.testing import Snapshot
{WORK}
for _ in range(10):
    work()
{BEGIN}
snapshot = Snapshot(lambda one: type(one).__module__ == module, label="of the module")
for _ in range(10):
    work()
try:
    snapshot.assert_no_new(when="after ten calls"); found = False
except AssertionError:
    found = True
{TAIL}"""
MEMRAY = f"""{HEAD}
import pytest
{WORK}
for _ in range(50):
    work()
@pytest.mark.limit_leaks("1 KB")
def test_it():
    for _ in range(100):
        work()
"""
PYTEST_LEAKS = f"""{HEAD}
{WORK}
def test_it():
    work()
"""
SCRIPTS = {
    "ours": ("pytest_leakguard", OURS),
    "psleak": ("psleak", PSLEAK),
    "memalot": ("memalot", MEMALOT),
    "leak-hunter": ("leak_hunter", LEAK_HUNTER),
    "refleak": ("refleak", REFLEAK),
}
TOOLS = (*SCRIPTS, "limit_leaks", "pytest-leaks")
MODULES = {"limit_leaks": "pytest_memray"}
NOT_ASKED = {("psleak", "leak_child")}
"""It would start some twenty thousand processes."""
WORDS = {"0": "ok", "1": "found", "2": "undecided"}


@dataclass(frozen=True, slots=True)
class Case:
    """A function and what is right."""

    set: str
    module: str
    name: str
    leaks: bool

    @property
    def reference(self) -> str:
        """Where the processes find it."""
        return f"{self.module}:{self.name}"


def known() -> list[Case]:
    """The 34, leaky ones first."""
    tree = ast.parse((CASES / "cases.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [
        Case("known", "cases", name, name.startswith("leak_"))
        for name in names
        if name.startswith(("leak_", "clean_"))
    ]


def own() -> list[Case]:
    """Our own set, what needs a package that is not there left out."""
    cases = []
    for name, answer in ANSWERS.items():
        module, _, function = name.partition(".")
        if not answer.package or importlib.util.find_spec(answer.package) is not None:
            where = f"tests.screening.own_set.{module}"
            cases.append(Case("own", where, function, answer.leaks))
    return cases


def asked(tool: str, case: Case, directory: Path, options: argparse.Namespace) -> tuple[str, float]:
    """``found``, ``ok`` or why there is no answer, and CPU seconds."""
    if (tool, case.name) in NOT_ASKED:
        return "not asked", 0.0
    environment = os.environ | {"CASE": case.reference, "TMPDIR": str(directory)}
    if tool in SCRIPTS:
        if tool == "psleak":
            environment["PYTHONMALLOC"] = "malloc"
        command = [sys.executable, "-c", SCRIPTS[tool][1]]
    else:
        source = MEMRAY if tool == "limit_leaks" else PYTEST_LEAKS
        (directory / "test_it.py").write_text(source)
        (directory / "pytest.ini").write_text("[pytest]\n")
        flags = ["--memray", "--hide-memray-summary"] if tool == "limit_leaks" else ["-R", ":"]
        python = sys.executable if tool == "limit_leaks" else options.debug_python
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags, "test_it.py"]
    with (directory / "output").open("wb") as output:
        try:
            done = subprocess.run(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=options.timeout,
                check=False,
                env=environment,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return "late", options.timeout
    text = (directory / "output").read_text(errors="replace")
    return answer(tool, done.returncode, text)


def answer(tool: str, status: int, text: str) -> tuple[str, float]:
    """What the output says; pytest says it by its status, pytest-leaks by its words."""
    for line in text.splitlines():
        if line.startswith("ANSWER "):
            _, found, seconds = line.split()
            return WORDS[found], float(seconds)
    if tool == "limit_leaks":
        return {0: "ok", 1: "found"}.get(status, "error"), 0.0
    if tool == "pytest-leaks" and status in (0, 1):  # it ends with 0 when it finds a leak
        return ("found" if " leaked" in text else "ok"), 0.0
    return "error", 0.0


def present(tools: list[str], debug_python: str) -> list[str]:
    """Those of the tools that can be asked."""
    found = []
    for tool in tools:
        module = SCRIPTS[tool][0] if tool in SCRIPTS else MODULES.get(tool, "")
        if tool == "pytest-leaks" and not debug_python:
            print("  pytest-leaks is left out: it needs a debug build of CPython")
        elif module and importlib.util.find_spec(module) is None:
            print(f"  {tool} is left out: it is not installed")
        else:
            found.append(tool)
    return found


def totals(cases: list[Case], answers: dict[tuple[str, str], tuple[str, float]], tool: str) -> None:
    """What one tool has answered in all, for each set."""
    for which in sorted({case.set for case in cases}):
        chosen = [case for case in cases if case.set == which]
        said = {case: answers[tool, case.reference] for case in chosen}
        leaky = [case for case in chosen if case.leaks]
        clean = [case for case in chosen if not case.leaks]
        seconds = [cpu_s for word, cpu_s in said.values() if word in WORDS.values()]
        row = {
            "tool": tool,
            "set": which,
            "found": f"{sum(said[case][0] == 'found' for case in leaky)} of {len(leaky)}",
            "false alarms": f"{sum(said[case][0] == 'found' for case in clean)} of {len(clean)}",
            "no answer": sum(word not in ("found", "ok") for word, _ in said.values()),
            "median CPU s": round(statistics.median(seconds), 2) if any(seconds) else None,
        }
        print(json.dumps(row))


def main() -> None:
    """The table, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sets", nargs="+", default=["known", "own"])
    parser.add_argument("--only", default="")
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--tools", nargs="+", default=list(TOOLS))
    parser.add_argument("--debug-python", default="")
    options = parser.parse_args()
    sets = {"known": known, "own": own}
    cases = [case for name in options.sets for case in sets[name]()]
    cases = [case for case in cases if options.only in case.reference]
    tools = present(options.tools, options.debug_python)
    answers: dict[tuple[str, str], tuple[str, float]] = {}
    print(f"{'function':<42}" + "".join(f"{tool:>18}" for tool in tools))
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        native_library(Path(name))
        for case in cases:
            columns = []
            for tool in tools:
                with tempfile.TemporaryDirectory(dir=name) as directory:
                    word, cpu_s = asked(tool, case, Path(directory), options)
                answers[tool, case.reference] = (word, cpu_s)
                is_wrong = (word == "found") != case.leaks or word not in ("found", "ok")
                columns.append(f"{word}{'!' if is_wrong else ' '}{cpu_s:7.2f}s".rjust(18))
            print(f"{case.name:<42}" + "".join(columns), flush=True)
    for tool in tools:
        totals(cases, answers, tool)


if __name__ == "__main__":
    main()
