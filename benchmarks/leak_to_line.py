"""From "leak" to its line, in requests and seconds, for a service of each runtime.

    python benchmarks/leak_to_line.py [--runs N] [--only NAME ...] [--load]

The services are those of ``benchmarks/services``, which were written after everything was tuned on
others; the line that leaks ends with LEAK. What is not installed is left out and said. The exit
status is 1 when a line is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.service_apps import loaded
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.services import session
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.verdict import Judged, Policy, judge_check

SERVICES = Path(__file__).with_name("services")
COMPILERS = {
    ".c": ("gcc", "-g", "-O2", "-pthread"),
    ".cpp": ("g++", "-g", "-O2"),
    ".rs": ("rustc", "-g", "-O"),
}
INTERPRETERS = {".py": sys.executable, ".js": "node", ".mjs": "node", ".java": "java"}
REQUESTS = 2000


@dataclass(slots=True)
class Run:
    """One service, from its start to its line."""

    requests: int = 0
    requests_at_leak: int = 0
    leak_at: float = 0.0
    line_at: float = 0.0
    checks: list[Check] = field(default_factory=list)

    def progress(self, text: str) -> None:
        """Note when the leak is confirmed."""
        if text.startswith("a leak is confirmed"):
            self.leak_at = time.monotonic()
            self.requests_at_leak = self.requests

    def finish(self, check: Check) -> Judged:
        """Keep the check, and when it came."""
        self.line_at = time.monotonic()
        self.checks.append(check)
        return judge_check(check, Policy())


def command_of(source: Path, folder: Path) -> tuple[str, ...] | None:
    """How it is started; ``None`` where its compiler or interpreter is not here."""
    if source.suffix in INTERPRETERS:
        program = shutil.which(INTERPRETERS[source.suffix])
        return (program, str(source), "{port}") if program else None
    compiler, *options = COMPILERS[source.suffix]
    if shutil.which(compiler) is None:
        return None
    output = folder / source.stem
    if not output.exists():
        subprocess.run([compiler, *options, "-o", str(output), str(source)], check=True)
    return (str(output), "{port}")


def measured(command: tuple[str, ...]) -> Run:
    """Start it, send requests until its leak has a line, and stop it."""
    run = Run()
    ids = itertools.count()
    context = session.Context(Settings(), lambda: f"check{next(ids)}", run.finish, run.progress)
    with session.serve(ServiceTarget(command, start_timeout_s=60.0), context) as served:

        def request(number: int) -> None:
            run.requests += 1
            with urllib.request.urlopen(f"{served.url}/orders/{number}", timeout=30) as answer:
                answer.read()

        served.loop(request, REQUESTS)
    return run


def is_right(run: Run, source: Path) -> bool:
    """Whether the line that leaks is the one that is told."""
    lines = source.read_text().splitlines()
    (number,) = [at for at, text in enumerate(lines, 1) if text.rstrip(" */").endswith("LEAK")]
    findings = run.checks[-1].findings
    return bool(findings) and findings[0].sites == (f"{source}:{number}",)


def row(source: Path, run: Run, right: bool) -> str:
    """One line of the table."""
    finding = run.checks[-1].findings[0] if run.checks[-1].findings else None
    shape = run.checks[-1].diagnosis.shape if run.checks[-1].diagnosis else "?"
    more = run.requests - run.requests_at_leak if run.leak_at else 0
    taken_s = run.line_at - run.leak_at if run.leak_at else 0.0
    site = Path(finding.sites[0]).name if finding and finding.sites else "no line"
    way = f"  {finding.held_by}" if finding and finding.held_by else ""
    mark = "right" if right else "WRONG"
    return (
        f"{source.name:<16} {shape:<10} {run.requests_at_leak:>6} {more:>6} {taken_s:>7.1f} s "
        f"{mark} {site}{way}"
    )


def sources(only: list[str]) -> Iterator[Path]:
    for source in sorted(SERVICES.iterdir()):
        if source.is_file() and (not only or source.name in only):
            yield source


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", action="store_true", help="beside a loaded core")
    options = parser.parse_args()
    wrong = 0
    print(f"{'service':<16} {'answer':<10} {'leak':>6} {'line':>6} {'after':>9}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if options.load:
            stack.enter_context(loaded(True))
        order = [*sources(options.only)] * options.runs
        random.Random(options.seed).shuffle(order)
        for source in order:
            command = command_of(source, Path(folder))
            if command is None:
                print(f"{source.name:<16} left out: what runs it is not here")
                continue
            try:
                run = measured(command)
            except LeakguardError as error:
                print(f"{source.name:<16} {error}")
                wrong += 1
                continue
            right = is_right(run, source)
            wrong += not right
            print(row(source, run, right), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
