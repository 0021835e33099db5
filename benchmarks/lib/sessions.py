"""pytest sessions in processes of their own: what they cost, and what they said of each test."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Ran:
    """One session."""

    cpu_s: float
    """Of it and of all that it waited for."""
    outcomes: dict[str, list[str]]
    """By test, as pytest's own JUnit XML has them."""
    report: dict[str, Any] = field(default_factory=dict)
    """Our report.json, where there is one."""

    @property
    def leaking(self) -> list[str]:
        """The tests that are called leaking."""
        checks = self.report.get("checks", [])
        return [check["id"] for check in checks if check["outcome"] == "leak"]

    @property
    def open(self) -> list[str]:
        """The tests that nothing was decided of."""
        checks = self.report.get("checks", [])
        return [check["id"] for check in checks if check["outcome"] == "inconclusive"]


def run(directory: Path, output: Path, *arguments: str, python: str = sys.executable) -> Ran:
    """One session over ``directory``, which leaves what it writes in ``output``."""
    output.mkdir(parents=True, exist_ok=True)
    command = [python, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += [f"--junitxml={output / 'junit.xml'}", *arguments]
    if "--leakguard" in arguments:
        command.append(f"--leakguard-report={output / 'report'}")
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (output / "log").open("wb") as log:
        subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
            timeout=TIMEOUT_S,
            env=environment,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if not (output / "junit.xml").is_file():
        text = (output / "log").read_text(errors="replace")
        raise SystemExit(f"no test ran in {directory.name}:\n{text[-2000:]}")
    report = output / "report" / "report.json"
    parsed = json.loads(report.read_text()) if report.is_file() else {}
    return Ran(cpu_s, _outcomes(output / "junit.xml"), parsed)


def _outcomes(file: Path) -> dict[str, list[str]]:
    outcomes: dict[str, list[str]] = {}
    for case in ElementTree.parse(file).iter("testcase"):
        ends = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes.setdefault(name, []).append(" ".join(ends) or "passed")
    return outcomes


def alternately(ways: Mapping[str, Callable[[], Ran]], rounds: int) -> dict[str, list[Ran]]:
    """Every way once in each round, since a machine is not equally quick all the time."""
    ran: dict[str, list[Ran]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            ran[name].append(way())
    return ran


def median_cpu_s(ran: list[Ran]) -> float:
    """The middle one of what the sessions have cost."""
    return statistics.median(one.cpu_s for one in ran)


def verdict(claim: str, is_met: bool) -> str:
    """How each script ends."""
    return f"claim that {claim}: {'met' if is_met else 'NOT met'}"
