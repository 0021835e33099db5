"""Claim: screening a clean suite costs at most 1.5 times the CPU of plain pytest, real suites 1.6
times in the median.

    python benchmarks/screening_overhead.py [--rounds 3] [--real] [--only NAME]

The clean suite has 290 tests of about 0.6 ms and 10 of about 50 ms. It runs in turn plain,
screened, with pytest-memray's ``limit_leaks`` on every test, and with a tracemalloc snapshot
compared around every test. ``--real`` takes released packages' own suites from the package index,
each at the version its tests were written for. Needs pytest-memray, and for ``--real`` what the
packages' tests import; a suite that cannot be run is said so.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLEAN = """
import json
import pytest
DATA = {f"key {n}": list(range(20)) for n in range(20)}
@pytest.mark.parametrize("n", range(290))
def test_quick(n, tmp_path_factory):
    assert json.loads(json.dumps(DATA)) == DATA
@pytest.mark.parametrize("n", range(10))
def test_slow(n):
    for _ in range(600):
        assert json.loads(json.dumps(DATA)) == DATA
"""
LIMITED = "import pytest\npytestmark = pytest.mark.limit_leaks('1 MB')\n"
DIFFED = """
import pytest, tracemalloc
tracemalloc.start(10)
@pytest.fixture(autouse=True)
def compared():
    before = tracemalloc.take_snapshot()
    yield
    tracemalloc.take_snapshot().compare_to(before, "lineno")
"""
REAL = {
    "click": "click==8.5.1",
    "jinja2": "jinja2==3.1.6",
    "werkzeug": "werkzeug==3.1.9",
    "attrs": "attrs==26.1.0",
    "itsdangerous": "itsdangerous==2.2.0",
    "tomlkit": "tomlkit==0.15.2",
}
ARGUMENTS = {"werkzeug": ["--ignore=tests/test_serving.py"]}
"""werkzeug's reloader starts processes that outlive their tests in some containers."""
MOST_CLEAN, MOST_REAL = 1.5, 1.6


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run of a suite cost and said."""

    cpu_s: float
    last_line: str


def run(directory: Path, *arguments: str) -> Ran:
    """One pytest session in a process of its own; CPU seconds of it and of all it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        *arguments,
    ]
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [
        line for line in done.stdout.splitlines() if re.search(r"\d+ (passed|failed|error)", line)
    ]
    if not lines:
        raise SystemExit(
            f"no test ran in {directory.name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(cpu_s, lines[-1].strip("= "))


def clean_suite(root: Path, rounds: int) -> float:
    """Ratio of screening to plain; prints all four ways."""
    ways = {
        "plain": ("", []),
        "pytest-leakguard": ("", ["--leakguard"]),
        "pytest-memray limit_leaks": (LIMITED, ["--memray", "--hide-memray-summary"]),
        "tracemalloc(10) compared": (DIFFED, []),
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for name, (head, _) in ways.items():
        (root / name).mkdir()
        (root / name / "test_clean.py").write_text(head + CLEAN)
        (root / name / "pytest.ini").write_text("[pytest]\n")
    for _ in range(rounds):
        for name, (_, arguments) in ways.items():
            costs[name].append(run(root / name, *arguments).cpu_s)
    plain = min(costs["plain"])
    for name, seconds in costs.items():
        print(f"  {name:<28} {min(seconds):7.2f} s CPU  {min(seconds) / plain:6.2f}x")
    return min(costs["pytest-leakguard"]) / plain


def sources(root: Path, only: str) -> Iterator[tuple[str, Path]]:
    """Each package's source release, unpacked, beside the installed package of the same version."""
    pip = [sys.executable, "-m", "pip", "-q"]
    for name, requirement in REAL.items():
        if only and only != name:
            continue
        subprocess.run([*pip, "install", requirement], check=True)
        build = [
            "flit_core",
            "hatchling",
            "hatch-vcs",
            "hatch-fancy-pypi-readme",
            "setuptools",
            "poetry-core",
        ]
        subprocess.run([*pip, "install", *build], check=True)
        flags = [
            "--no-deps",
            "--no-binary",
            ":all:",
            "--no-build-isolation",
            "-d",
            str(root / name),
        ]
        subprocess.run([*pip, "download", *flags, requirement], check=True)
        with tarfile.open(next((root / name).glob("*.tar.gz"))) as archive:
            archive.extractall(root / name, filter="data")
        yield name, next(path for path in (root / name).iterdir() if path.is_dir())


def real_suites(root: Path, rounds: int, only: str) -> float:
    """Median ratio over the packages; prints each."""
    ratios = []
    for name, directory in sources(root, only):
        extra = ARGUMENTS.get(name, [])
        # In turn, since a machine that others use as well is not equally quick all the time.
        pairs = [
            (run(directory, *extra), run(directory, "--leakguard", *extra)) for _ in range(rounds)
        ]
        plain, ours = (
            min((pair[way] for pair in pairs), key=lambda ran: ran.cpu_s) for way in (0, 1)
        )
        ratios.append(ours.cpu_s / plain.cpu_s)
        print(
            f"  {name:<14} {plain.cpu_s:7.2f} s  {ours.cpu_s:7.2f} s"
            f"  {ratios[-1]:5.2f}x  {ours.last_line}",
            flush=True,
        )
    return statistics.median(ratios)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--real", action="store_true", help="real packages' suites as well (minutes)"
    )
    parser.add_argument("--only", default="", help="one package of --real")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        root = Path(name)
        if not options.only:
            print("clean suite of 300 tests")
            ratio = clean_suite(root, options.rounds)
            verdict = "met" if ratio <= MOST_CLEAN else "NOT met"
            print(f"  claim {MOST_CLEAN}x: {verdict} ({ratio:.2f}x)")
        if options.real or options.only:
            print("real suites: plain, screened, ratio")
            ratio = real_suites(root, options.rounds, options.only)
            verdict = "met" if ratio <= MOST_REAL else "NOT met"
            print(f"  claim {MOST_REAL}x in the median: {verdict} ({ratio:.2f}x)")


if __name__ == "__main__":
    main()
