"""Claim: screening released packages' own clean suites costs at most 1.2 times the CPU of plain
pytest in the median and 1.5 times at worst, and every test ends as it does without.

    python benchmarks/real_suites.py [--rounds 3] [--only NAME ...] [--cache DIRECTORY]

Packages and their source releases come from the package index, each at the version its tests were
written for, into a virtual environment of this interpreter; ``--cache`` keeps both for the next
time. Plain and screened sessions alternate. A suite with leaks, which are proved in
docs/found-in-the-wild.md, is shown and does not count for the claim of time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.lib.sessions import Ran, alternately, median_cpu_s, run, verdict  # noqa: E402  # found by the path above


@dataclass(frozen=True, slots=True)
class Suite:
    """A package's own tests."""

    version: str
    tests: str = "tests"
    arguments: tuple[str, ...] = ()
    leaks: bool = False
    """It has leaks that are proved."""


SUITES = {
    "itsdangerous": Suite("2.2.0"),
    "jinja2": Suite("3.1.6"),
    "tomlkit": Suite("0.15.2"),
    "attrs": Suite("26.1.0", leaks=True),
    "click": Suite("8.5.1", leaks=True),
    # The reloader starts processes that outlive their tests in some containers.
    "werkzeug": Suite("3.1.9", arguments=("--ignore=tests/test_serving.py",)),
    "pluggy": Suite("1.7.0", "testing"),
    "boltons": Suite("26.2.0"),
    "flask": Suite("3.1.3", leaks=True),  # it calls click's runner
    "h11": Suite("0.16.0", "h11/tests", leaks=True),
    "msgpack": Suite("1.2.4", "test"),
    "ujson": Suite("6.1.0"),
    "tornado": Suite("6.6.1", "tornado/test", leaks=True),
    "starlette": Suite("1.10.0"),
    "wrapt": Suite("2.5.2"),
    # What is installed has the compiled code, what is unpacked has not.
    "zstandard": Suite("0.25.0", arguments=("--import-mode=importlib",), leaks=True),
}
REQUIREMENTS = """
asgiref blinker cloudpickle cryptography ephemeral-port-reserve freezegun httpx hypothesis
itsdangerous pympler pytest-timeout python-dateutil python-dotenv python-multipart pyyaml trio
tzdata watchdog
""".split()
"""What their tests import."""
MOST_MEDIAN, MOST_WORST = 1.2, 1.5


def pip(python: Path, *arguments: str) -> None:
    """What is installed or loaded from the package index."""
    command = [str(python), "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def environment(cache: Path, names: Iterable[str]) -> Path:
    """The interpreter of an environment with the packages, ours, and what the tests import."""
    version = ".".join(map(str, sys.version_info[:2]))
    python = cache / f"environment-{version}" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    packages = [f"{name}=={SUITES[name].version}" for name in names]
    pip(python, "install", *REQUIREMENTS, *packages, str(ROOT))
    return python


def sources(cache: Path, python: Path, name: str) -> Path:
    """The unpacked source release of a package, which has its tests."""
    into = cache / "sources" / name
    if not into.is_dir():
        into.mkdir(parents=True)
        flags = ["--no-deps", "--no-binary", ":all:", "-d", str(into)]
        pip(python, "download", *flags, f"{name}=={SUITES[name].version}")
        with tarfile.open(next(into.glob("*.tar.gz"))) as archive:
            archive.extractall(into, filter="data")
    return next(path for path in into.iterdir() if path.is_dir())


def differences(plain: Ran, screened: Ran) -> Iterator[str]:
    """The tests that end otherwise, and are not said to leak."""
    blamed = {one.rpartition("::")[2] for one in (*screened.leaking, *screened.open)}
    for name in sorted(plain.outcomes.keys() | screened.outcomes.keys()):
        before, now = plain.outcomes.get(name), screened.outcomes.get(name)
        if before != now and name.rpartition("::")[2] not in blamed:
            yield f"{name}: {before}, screened {now}"


def show(name: str, ran: dict[str, list[Ran]]) -> tuple[float, bool]:
    """One row; the ratio, and whether all tests end as they do without."""
    plain, screened = median_cpu_s(ran["plain"]), median_cpu_s(ran["screened"])
    last = ran["screened"][-1]
    print(
        f"  {name:<14}{plain:8.2f} s {screened:8.2f} s {screened / plain:6.2f}x"
        f"  {len(last.outcomes):>6} tests, {len(last.leaking)} leak, {len(last.open)} open",
        flush=True,
    )
    for finding in last.report.get("findings", {}).values():
        stack = finding["stack"]
        at = f"{stack[0]['function']}, line {stack[0]['line']}" if stack else "unknown"
        print(f"      {finding['kind']}: {finding['size_bytes']:,} bytes at {at}")
    changed = list(differences(ran["plain"][-1], last))
    for line in changed:
        print(f"      ends otherwise: {line}")
    return screened / plain, not changed


def main() -> None:
    """The table, then the claim."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(SUITES))
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as temporary:
        cache = options.cache or Path(temporary)
        python = environment(cache.resolve(), options.only)
        print(f"median CPU of {options.rounds}: plain, screened, ratio; Python {sys.version[:6]}")
        ratios, all_same = [], True
        for name in options.only:
            suite, directory = SUITES[name], sources(cache.resolve(), python, name)
            out = Path(temporary) / "out" / name
            arguments = [suite.tests, *suite.arguments]
            ways = {
                "plain": partial(run, directory, out / "plain", *arguments, python=str(python)),
                "screened": partial(
                    run, directory, out / "screened", "--leakguard", *arguments, python=str(python)
                ),
            }
            ratio, is_same = show(name, alternately(ways, options.rounds))
            all_same = all_same and is_same
            if not suite.leaks:
                ratios.append(ratio)
    if ratios:
        median, worst = statistics.median(ratios), max(ratios)
        is_met = median <= MOST_MEDIAN and worst <= MOST_WORST
        text = f"clean suites cost {MOST_MEDIAN}x in the median and {MOST_WORST}x at worst"
        print(verdict(f"{text} ({median:.2f}x, {worst:.2f}x)", is_met))
    print(verdict("every test ends as it does without", all_same))


if __name__ == "__main__":
    main()
