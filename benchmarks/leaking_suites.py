"""Claims: one leaking quick test costs at most 1 s of CPU more, each further cause at most 1 s, and
a known cause with other sizes nothing.

    python benchmarks/leaking_suites.py [--rounds 3]

The suite has 100 clean quick tests beside the leaking ones. Each count is that of the screened
session; what screening itself costs is the difference between no leak and none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lib.sessions import Ran, alternately, median_cpu_s, run, verdict

CLEAN = """
import ctypes, json, os
import pytest
DATA = {"a": list(range(50)), "b": {"c": None}}
LIBC = ctypes.CDLL(None)
KEPT, SEEN, TEXTS = [], {}, []
class Order:
    def __init__(self, number): self.number = number
@pytest.mark.parametrize("n", range(100))
def test_clean(n):
    assert json.loads(json.dumps(DATA)) == DATA
"""
CAUSES = (
    "KEPT.append(bytearray(100))",
    "LIBC.malloc(24)",
    "SEEN[len(SEEN)] = Order(len(SEEN))",
    "TEXTS.append('text %d' % len(TEXTS))",
    "os.open(os.devnull, os.O_RDONLY)",
)
SIZES = """
@pytest.mark.parametrize("size", range(100, {end}))
def test_sizes(size):
    KEPT.append(bytearray(size))
"""
MANY_SIZES = 20
MOST_S = 1.0
MOST_KNOWN_S = 0.05
"""For one more test of a known cause: little more than a clean one."""


def sources() -> dict[str, str]:
    """The suites by what leaks in them."""
    found = {"no leak": CLEAN}
    for count in range(1, len(CAUSES) + 1):
        tests = [f"def test_cause_{n}():\n    {CAUSES[n]}\n" for n in range(count)]
        found[f"{count} causes"] = CLEAN + "\n".join(tests)
    found["1 size"] = CLEAN + SIZES.format(end=101)
    found[f"{MANY_SIZES} sizes"] = CLEAN + SIZES.format(end=100 + MANY_SIZES)
    return found


def measured(root: Path, rounds: int) -> dict[str, list[Ran]]:
    """Sessions over all of them, by turns; prints them."""
    sessions = {}
    for name, source in sources().items():
        directory = root / name
        directory.mkdir()
        (directory / "test_it.py").write_text(source)
        (directory / "pytest.ini").write_text("[pytest]\n")
        sessions[name] = partial(run, directory, directory / "out", "--leakguard")
    ran = alternately(sessions, rounds)
    without = median_cpu_s(ran["no leak"])
    for name, runs in ran.items():
        cpu_s = median_cpu_s(runs)
        found = sorted({len(one.leaking) for one in runs})
        print(f"  {name:<12}{cpu_s:7.2f} s {cpu_s - without:+7.2f} s  leaking tests found: {found}")
    return ran


def main() -> None:
    """The table, then the claims."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"100 clean tests and some that leak, screened, median CPU of {options.rounds}")
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        ran = measured(Path(name), options.rounds)
    cost = {what: median_cpu_s(runs) for what, runs in ran.items()}
    first = cost["1 causes"] - cost["no leak"]
    further = (cost[f"{len(CAUSES)} causes"] - cost["1 causes"]) / (len(CAUSES) - 1)
    known = (cost[f"{MANY_SIZES} sizes"] - cost["1 size"]) / (MANY_SIZES - 1)
    print(verdict(f"one leaking test costs at most {MOST_S} s ({first:.2f} s)", first <= MOST_S))
    print(verdict(f"a further cause costs at most {MOST_S} s ({further:.2f})", further <= MOST_S))
    is_met = known <= MOST_KNOWN_S
    print(verdict(f"a known cause with another size costs nothing ({known:.3f} s)", is_met))


if __name__ == "__main__":
    main()
