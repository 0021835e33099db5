"""Claim: every function of our own set is answered right, as a loop, in a small suite and in a
suite of 200, in any order, on every interpreter.

    python benchmarks/own_set.py [--ways loop small large] [--only NAME] [--seed 1] [--rounds 1]
                                 [--python INTERPRETER ...]

``small`` has 25 functions in one suite, ``large`` 50 beside 150 clean tests; each round shuffles
them anew. The functions and their answers are in ``tests/screening/own_set``. Every interpreter
given needs this package and pytest. Needs a C compiler; functions whose package is not installed
are left out and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.screening.own_set.answers import ANSWERS, Answer  # noqa: E402  # found by the path above
from tests.screening.own_set.build import native_library  # noqa: E402  # found by the path above
from tests.screening.own_set.judged import (  # noqa: E402  # found by the path above
    Said,
    is_counted,
    is_right,
    names_holder,
    names_line,
)
from tests.screening.own_set.loop import said_of  # noqa: E402  # found by the path above

SMALL, LARGE, FILLERS = 25, 50, 150
"""Functions in one suite, and clean tests beside them in a large one."""
TIMEOUT_S = 1800
FILLER = (
    "assert json.loads(json.dumps(DATA)) == DATA",
    "assert re.sub('[aeiou]', '', 'filler {n}') == 'fllr {n}'",
    "assert sorted(DATA['list'], reverse=True)[0] == 99",
    "with pytest.raises(KeyError):\n        DATA['missing {n}']",
    "assert collections.Counter('abracadabra {n}')['a'] >= 5",
    "assert datetime.date(2024, 1, 1 + {n} % 28).isoformat().startswith('2024')",
)
HEAD = """import collections, datetime, json, re
import pytest
DATA = {"list": list(range(100)), "text": "a text", "nested": {"a": [1, 2, {"b": None}]}}
"""
HEADINGS = f"{'function':<50}{'verdict':<14}{'count':<7}{'line':<7}{'holder':<8}{'seconds':>8}"


def wanted(only: str) -> list[str]:
    """The functions whose packages are there."""
    names = []
    for name, answer in ANSWERS.items():
        if answer.package and importlib.util.find_spec(answer.package) is None:
            print(f"  {name} is left out: {answer.package} is not installed")
        elif only in name:
            names.append(name)
    return names


def source(names: list[str], fillers: int, order: random.Random) -> str:
    """A test module with all of them, shuffled."""
    parts = []
    for name in names:
        module, _, function = name.partition(".")
        parts.append(f"from tests.screening.own_set.{module} import {function} as {test_of(name)}")
    for number in range(fillers):
        body = FILLER[number % len(FILLER)].format(n=number)
        parts.append(f"def test_filler_{number}():\n    {body}")
    order.shuffle(parts)
    return HEAD + "\n".join(parts) + "\n"


def test_of(name: str) -> str:
    """The test's name of a function."""
    return "test_" + name.replace(".", "_")


def report_of(text: str) -> tuple[dict[str, Any], float]:
    """What one screened session over that module has reported, and its CPU seconds."""
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        directory = Path(name)
        (directory / "test_own_set.py").write_text(text)
        (directory / "pytest.ini").write_text("[pytest]\n")
        (directory / "tmp").mkdir()
        plugins = ["-p", "no:cacheprovider", "-p", "no:randomly"]
        arguments = ["-q", *plugins, "--leakguard", "--leakguard-report=report"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(directory / "tmp")}
        environment.pop("CI", None)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=directory,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,  # some functions leave children behind
            )
            try:
                process.wait(TIMEOUT_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = directory / "report" / "report.json"
        if not report.is_file():
            print((directory / "output").read_text(errors="replace")[-3000:])
            return {"checks": [], "findings": {}}, 0.0
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        parsed: dict[str, Any] = json.loads(report.read_text())
        return parsed, spent


def said_in(report: dict[str, Any]) -> dict[str, tuple[Said, float]]:
    """What was said of each test, by its name, and how long that took."""
    said = {}
    for check in report["checks"]:
        findings = [
            report["findings"][known] | check["measured"][known] for known in check["findings"]
        ]
        told = [*check["notes"], *check["problems"], *check["reasons"]]
        name = check["id"].partition("::")[2]
        said[name] = (Said(check["outcome"], findings, told), check["duration_s"])
    return said


def in_suites(
    names: list[str], size: int, fillers: int, order: random.Random
) -> Iterator[tuple[str, Said, float]]:
    """Every function in some suite of that size, and every clean test beside it that is blamed."""
    shuffled = order.sample(names, len(names))
    for at in range(0, len(shuffled), size):
        chosen = shuffled[at : at + size]
        report, spent = report_of(source(chosen, fillers, order))
        said = said_in(report)
        print(f"  suite of {len(chosen) + fillers}: {spent:.1f} s CPU", flush=True)
        for name in chosen:
            told, seconds = said.pop(test_of(name), (Said("no answer"), 0.0))
            yield name, told, seconds
        for name, (told, seconds) in said.items():
            if told.outcome != "clean":
                yield name, told, seconds


def in_loops(names: list[str]) -> Iterator[tuple[str, Said, float]]:
    """Every function as a loop in a process of its own."""
    for name in names:
        said, cpu_s = said_of(name)
        yield name, said, cpu_s


def verdict(answer: Answer, said: Said, is_large: bool) -> str:
    """One word for a verdict."""
    if is_right(answer, said):
        return "found" if answer.leaks else "clean"
    if said.outcome not in ("clean", "leak"):
        return said.outcome.upper()
    if not answer.leaks:
        return "BLAMED"
    return "out of reach" if answer.is_rare and is_large else "MISSED"


def show(way: str, answers: Iterator[tuple[str, Said, float]]) -> Counter[str]:
    """The table of one way, and how often which verdict and which flaw came."""
    counts: Counter[str] = Counter()
    print(f"{way}\n  {HEADINGS}")
    for name, said, seconds in answers:
        answer = ANSWERS.get(name, Answer(leaks=False))
        word = verdict(answer, said, way == "large")
        columns = ["", "", ""]
        if word == "found":
            oks = (is_counted(answer, said), names_line(answer, said), names_holder(answer, said))
            columns = ["ok" if ok else "WRONG" for ok in oks]
            for what, ok in zip(("count", "line", "holder"), oks, strict=True):
                counts[f"wrong {what}"] += not ok
        counts[word] += 1
        count, line, holder = columns
        print(f"  {name:<50}{word:<14}{count:<7}{line:<7}{holder:<8}{seconds:>8.2f}", flush=True)
        if word.isupper() or "WRONG" in columns:
            print(f"      told {said.told[:2]}")
            for finding in said.findings:
                facts = [finding["kind"], finding["size_bytes"], finding["blocks"]]
                print(f"      {facts} {list(finding['details'])} {list(finding['holders'])}")
    print(f"  {way}: {dict(counts)}", flush=True)
    return counts


def on(interpreter: str, arguments: list[str]) -> None:
    """The same on another interpreter."""
    print(f"== {interpreter}", flush=True)
    subprocess.run([interpreter, __file__, *arguments], check=True)


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ways", nargs="+", default=["loop", "small", "large"])
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--python", nargs="+", default=[])
    options = parser.parse_args()
    if options.python:
        rest = ["--ways", *options.ways, "--only", options.only]
        rest += ["--seed", str(options.seed), "--rounds", str(options.rounds)]
        for interpreter in options.python:
            on(interpreter, rest)
        return
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as directory:
        native_library(Path(directory))
        names = wanted(options.only)
        wrong: Counter[str] = Counter()
        for number in range(options.rounds):
            order = random.Random(options.seed + number)
            if "loop" in options.ways and number == 0:
                wrong += show("loop", in_loops(names))
            if "small" in options.ways:
                wrong += show("small", in_suites(names, SMALL, 0, order))
            if "large" in options.ways:
                wrong += show("large", in_suites(names, LARGE, FILLERS, order))
    bad = {what: count for what, count in wrong.items() if what.isupper() or "wrong" in what}
    print(f"claim that all are answered right: {'NOT met' if any(bad.values()) else 'met'} {bad}")


if __name__ == "__main__":
    main()
