"""Claims: screening a clean suite of 1,000 quick tests costs at most 1.15 times the CPU of plain
pytest, and one of 20 clean tests at most 0.5 s more.

    python benchmarks/clean_suites.py [--rounds 5] [--peers]

The tests take about 0.6 ms each; plain and screened sessions alternate, and medians are compared.
``--peers`` adds pytest-memray's ``limit_leaks`` on every test, and a tracemalloc snapshot compared
around every test.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lib.sessions import Ran, alternately, median_cpu_s, run, verdict

QUICK = """
import json
import pytest
DATA = {{f"key {{n}}": list(range(20)) for n in range(20)}}
@pytest.mark.parametrize("n", range({count}))
def test_quick(n):
    assert json.loads(json.dumps(DATA)) == DATA
    assert sorted(DATA, reverse=True)[0] == "key 9"
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
WAYS = {"plain": ("", ()), "screened": ("", ("--leakguard",))}
PEERS = {
    "pytest-memray limit_leaks": (LIMITED, ("--memray", "--hide-memray-summary")),
    "tracemalloc(10) compared": (DIFFED, ()),
}
MANY, FEW = 1000, 20
"""Tests of the two suites."""
MOST_TIMES, MOST_MORE_S = 1.15, 0.5


def measured(root: Path, count: int, rounds: int, peers: bool) -> dict[str, list[Ran]]:
    """Sessions over a suite of so many tests, in every way; prints them."""
    print(f"{count} clean tests, median CPU of {rounds}")
    sessions = {}
    for name, (head, arguments) in {**WAYS, **(PEERS if peers else {})}.items():
        directory = root / f"{count} {name}"
        directory.mkdir()
        (directory / "test_quick.py").write_text(head + QUICK.format(count=count))
        (directory / "pytest.ini").write_text("[pytest]\n")
        sessions[name] = partial(run, directory, directory / "out", *arguments)
    ran = alternately(sessions, rounds)
    plain = median_cpu_s(ran["plain"])
    for name, runs in ran.items():
        cpu_s = median_cpu_s(runs)
        print(f"  {name:<28}{cpu_s:7.2f} s {cpu_s / plain:6.2f}x {cpu_s - plain:+7.2f} s")
    for one in ran["screened"]:
        if one.leaking or one.open:
            print(f"  blamed: {one.leaking}, open: {one.open}")
    return ran


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        many = measured(Path(name), MANY, options.rounds, options.peers)
        few = measured(Path(name), FEW, options.rounds, options.peers)
    times = median_cpu_s(many["screened"]) / median_cpu_s(many["plain"])
    more_s = median_cpu_s(few["screened"]) - median_cpu_s(few["plain"])
    print(verdict(f"{MANY} quick tests cost at most {MOST_TIMES}x", times <= MOST_TIMES))
    print(verdict(f"{FEW} tests cost at most {MOST_MORE_S} s more", more_s <= MOST_MORE_S))


if __name__ == "__main__":
    main()
