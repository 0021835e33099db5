"""Claim: the harness adds less than 0.15 s per program to what the bare tool costs (median over the
sample apps).

    python benchmarks/harness_overhead.py [--rounds 5] [--build DIR]
        [--tools valgrind,asan,lsan,memray] [--only NAME]

Every leaky sample program runs twice per round, in turn: once as the bare command line that
``plan`` gives (the same options, the same environment, output thrown away), once through
``pipeline.check_program``, which supervises the run, keeps the output, reads the reports and names
the leaks. Added wall and CPU seconds are the median of the differences within a round; CPU is that
of this process and of all it waited for. Programs that have to be stopped are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs import check as pipeline
from pytest_leakguard.programs.tools import BACKENDS

APPS = Path(__file__).resolve().parents[1] / "sample_apps"
MOST_ADDED_S = 0.15
TOOLS = {"valgrind": "valgrind", "asan": "sanitizer", "lsan": "sanitizer", "memray": "memray"}
"""Backend by the name of its column; the sanitizers are two builds."""
BUILDS = {"valgrind": "plain", "asan": "asan", "lsan": "lsan"}


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run cost."""

    wall_s: float
    cpu_s: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


@dataclass(frozen=True, slots=True)
class Program:
    """One sample app under one tool."""

    name: str
    tool: str
    target: Target


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of one program."""

    program: Program
    bare: Spent
    ours: Spent
    added: Spent


def programs(build: Path, tools: list[str], only: str) -> Iterator[Program]:
    """The leaky twin of every app that ends by itself, under every tool that can run it."""
    for expected in sorted(APPS.glob("*/*/expected.json")):
        answer, name = json.loads(expected.read_text()), expected.parent.name
        if answer.get("ends") == "timeout" or only not in name:
            continue
        for tool in tools:
            script = expected.with_name("leaky.py")
            if (tool == "memray") != script.exists():
                continue
            path = script if tool == "memray" else build / BUILDS[tool] / name / "leaky"
            argv = (*((sys.executable,) if tool == "memray" else ()), str(path), *answer["args"])
            yield Program(name, tool, Target(argv, timeout_s=answer["timeout_s"]))


def run_bare(program: Program) -> None:
    """The command line and the environment of the plan, without anything around it."""
    backend, _ = pipeline.choose(program.target, TOOLS[program.tool])
    with tempfile.TemporaryDirectory(prefix="leakguard-bench-") as name:
        launch = backend.plan(backend.prepare(program.target), Path(name))
        environment = {key: value for key, value in os.environ.items() if key not in launch.unset}
        subprocess.run(
            launch.argv,
            env=environment | dict(launch.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=launch.timeout_s,
            check=False,
        )


def run_ours(program: Program) -> None:
    """As the fixture and the console script do."""
    pipeline.check_program(
        program.target, Settings(), program.name, TOOLS[program.tool], expected_exit=None
    )


def measure(run: Callable[[Program], None], program: Program) -> Spent:
    cpu_s, started = _cpu_s(), time.perf_counter()
    run(program)
    return Spent(time.perf_counter() - started, _cpu_s() - cpu_s)


def _cpu_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def row(program: Program, rounds: int) -> Row:
    """Runs a program by turns; which comes first changes from round to round."""
    bare: list[Spent] = []
    ours: list[Spent] = []
    turns = [(run_bare, bare), (run_ours, ours)]
    for _ in range(rounds):
        for run, taken in turns:
            taken.append(measure(run, program))
        turns.reverse()
    return Row(
        program,
        _median(bare),
        _median(ours),
        _median([o - b for o, b in zip(ours, bare, strict=True)]),
    )


def _median(spent: list[Spent]) -> Spent:
    return Spent(
        statistics.median(s.wall_s for s in spent), statistics.median(s.cpu_s for s in spent)
    )


def tell(rows: list[Row]) -> None:
    """The table, the medians by tool, and the claim."""
    print(
        f"{'program':<18}{'tool':<10}{'bare s':>8}{'ours s':>8}"
        f"{'added s':>9}{'added CPU s':>13}{'CPU ratio':>11}"
    )
    for one in rows:
        _line(one.program.name, one.program.tool, one)
    print()
    for tool in dict.fromkeys(one.program.tool for one in rows):
        added = [one.added for one in rows if one.program.tool == tool]
        wall_s, cpu_s = _median(added).wall_s, _median(added).cpu_s
        print(
            f"{tool:<10} {len(added):>3} programs: "
            f"median added {wall_s:.3f} s wall, {cpu_s:.3f} s CPU"
        )
    middle = _median([one.added for one in rows])
    verdict = "met" if middle.wall_s < MOST_ADDED_S else "NOT MET"
    print(
        f"all        {len(rows):>3} programs: "
        f"median added {middle.wall_s:.3f} s wall, {middle.cpu_s:.3f} s CPU",
        end=" ",
    )
    print(f"(claim: under {MOST_ADDED_S} s): {verdict}")


def _line(name: str, tool: str, one: Row) -> None:
    ratio = one.ours.cpu_s / one.bare.cpu_s
    print(
        f"{name:<18}{tool:<10}{one.bare.wall_s:>8.3f}{one.ours.wall_s:>8.3f}{one.added.wall_s:>9.3f}"
        f"{one.added.cpu_s:>13.3f}{ratio:>11.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--build", type=Path, help="where the sample apps are built; made when not given"
    )
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--only", default="", help="programs whose name contains this")
    options = parser.parse_args()
    build: Path = options.build or APPS / "build"
    if not options.build:
        subprocess.run(["make", "--silent", "-C", str(APPS)], check=True)
    tools = [tool for tool in options.tools.split(",") if _is_present(tool)]
    rows = [
        row(program, options.rounds) for program in programs(build.resolve(), tools, options.only)
    ]
    if rows:
        tell(rows)


def _is_present(tool: str) -> bool:
    present = BACKENDS[TOOLS[tool]].is_present()
    if not present:
        print(f"{tool} is not installed; left out")
    return present


if __name__ == "__main__":
    main()
