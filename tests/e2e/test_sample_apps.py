"""Every sample program under every tool: known leaks with known sizes, the same names under each tool, clean twins."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.baseline.compare import Baseline, compare
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.fingerprint import innermost_own
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.verdict import Policy, judge_check

pytestmark = pytest.mark.programs

APPS = Path(__file__).parent.parent.parent / "sample_apps"
NATIVE = sorted(path.parent.name for path in APPS.glob("native/*/expected.json"))
VARIANTS = {"plain": "valgrind", "asan": "sanitizer", "lsan": "sanitizer"}
BLIND = {
    "possible": "LeakSanitizer takes pointers into a block for references",
    "reachable_growth": "not lost",
}
"""Programs whose leak only valgrind sees."""
DIES = ("crash", "ignores_sigterm")
"""Programs that end by a signal, so that LeakSanitizer makes no check."""


@cache
def expected(group: str, name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((APPS / group / name / "expected.json").read_text())
    return data


@cache
def checked(name: str, variant: str, twin: str) -> Check:
    how = expected("native", name)
    argv = (str(APPS / "build" / variant / name / twin), *how["args"])
    timeout_s = 5.0 if name == "ignores_sigterm" else 60.0
    kinds = tuple(LeakKind) if name == "reachable_growth" else Settings().kinds
    return check_program(
        Target(argv, timeout_s=timeout_s),
        Settings(kinds=kinds),
        name,
        VARIANTS[variant],
        how["expected_exit"],
    )


def outcome(check: Check) -> Outcome:
    compared = compare((check,), Baseline(), dt.date(2026, 1, 1))
    return judge_check(compared.checks[0], Policy()).outcome


def sums(check: Check) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for finding in check.findings:
        frame = innermost_own(finding.stack)
        place = f"{Path(frame.file).name}:{frame.line}" if frame and frame.file else "?"
        for site in finding.sites or (place,):
            where = (
                f"{finding.kind} {Path(site.rpartition(':')[0]).name}"
                if len(finding.sites) > 1
                else ""
            )
            assert not where, f"{finding.fingerprint} joins several lines: {finding.sites}"
        total[finding.kind.value, place] += finding.size_bytes * 1_000_000 + finding.blocks
    return total


def wanted(entries: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        total[entry["kind"], f"{entry['file']}:{entry['line']}"] += (
            entry["size_bytes"] * 1_000_000 + entry["blocks"]
        )
    return total


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NATIVE)
def test_leaks_have_the_planted_kind_size_and_line(apps: Path, name: str, variant: str) -> None:
    check = checked(name, variant, "leaky")
    assert sums(check) == wanted(expected("native", name)[VARIANTS[variant]])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NATIVE)
def test_the_leaky_program_fails(apps: Path, name: str, variant: str) -> None:
    check = checked(name, variant, "leaky")
    if variant == "plain":
        assert outcome(check) is Outcome.LEAK
    elif name in BLIND:
        assert outcome(check) is Outcome.CLEAN, BLIND[name]
    elif name in DIES:
        assert outcome(check) is Outcome.INCONCLUSIVE
        assert "no proof of a leak check" in " ".join(check.problems)
    else:
        assert outcome(check) is Outcome.LEAK
        assert not check.problems


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NATIVE)
def test_the_fixed_twin_passes(apps: Path, name: str, variant: str) -> None:
    check = checked(name, variant, "fixed")
    assert outcome(check) is Outcome.CLEAN, check.problems
    assert check.findings == ()


@pytest.mark.parametrize("name", [name for name in NATIVE if name not in (*BLIND, *DIES)])
def test_the_same_leak_has_the_same_fingerprint_under_every_tool(apps: Path, name: str) -> None:
    seen = {
        variant: {one.fingerprint for one in checked(name, variant, "leaky").findings}
        for variant in VARIANTS
    }
    assert seen["plain"] == seen["asan"] == seen["lsan"] != set()


def test_different_leaks_have_different_fingerprints(apps: Path) -> None:
    owner: dict[str, str] = {}
    for name in NATIVE:
        for finding in checked(name, "plain", "leaky").findings:
            assert owner.setdefault(finding.fingerprint, name) == name
    assert len(checked("template_leak", "plain", "leaky").findings) == 2
    assert len(checked("container", "plain", "leaky").findings) == 3


def test_a_crash_is_reported_beside_the_leaks(apps: Path) -> None:
    for variant in VARIANTS:
        assert checked("crash", variant, "leaky").exit.signal == 11


@pytest.mark.parametrize("twin", ["leaky", "fixed"])
@pytest.mark.parametrize("name", ["cache_leak", "ctypes_leak"])
def test_python_programs_under_memray(name: str, twin: str) -> None:
    how = expected("python", name)
    argv = (sys.executable, str(APPS / "python" / name / f"{twin}.py"), *how["args"])
    check = check_program(Target(argv), Settings(), name, "memray", how["expected_exit"])
    if twin == "fixed":
        assert outcome(check) is Outcome.CLEAN, (check.problems, check.findings)
        return
    assert outcome(check) is Outcome.LEAK
    for entry in how["memray"]:
        found = [
            finding
            for finding in check.findings
            if finding.kind == entry["kind"]
            and any(
                frame.function == entry["function"] and frame.line == entry["line"]
                for frame in finding.stack
            )
        ]
        assert sum(finding.size_bytes for finding in found) >= entry["min_size_bytes"]


def test_fingerprints_are_the_same_without_address_randomisation(apps: Path, tool: Any) -> None:
    for variant in ("plain", "lsan"):
        program = str(apps / variant / "definite" / "leaky")
        fixed = check_program(
            Target((tool("setarch"), "-R", program), env=(("LD_PRELOAD", ""),)),
            Settings(),
            "definite",
            VARIANTS[variant],
        )
        assert {one.fingerprint for one in fixed.findings} == {
            one.fingerprint for one in checked("definite", variant, "leaky").findings
        }


def test_fingerprints_are_the_same_on_three_runs(apps: Path) -> None:
    program = Target((str(apps / "plain" / "container" / "leaky"),))
    runs = {check_program(program, Settings(), "x", "valgrind").findings for _ in range(3)}
    assert len({tuple(sorted(one.fingerprint for one in run)) for run in runs}) == 1


def test_fingerprints_outlive_moved_lines_and_another_directory(
    apps: Path, tool: Any, tmp_path: Path
) -> None:
    from pytest_leakguard.processes.supervisor import capture

    source = (APPS / "native" / "definite" / "leaky.c").read_text()
    lines = source.splitlines()
    at = next(number for number, line in enumerate(lines) if "alloc(" in line)
    lines[at:at] = [f"    /* {number} */" for number in range(40)]
    moved = tmp_path / "elsewhere" / "deeper"
    moved.mkdir(parents=True)
    (moved / "leaky.c").write_text("\n".join(lines) + "\n")
    code, _, errors = capture(
        [tool("gcc"), "-g", "-O0", "-o", str(moved / "program"), str(moved / "leaky.c")], 60
    )
    assert code == 0, errors
    check = check_program(Target((str(moved / "program"),)), Settings(), "x", "valgrind")
    assert {one.fingerprint for one in check.findings} == {
        one.fingerprint for one in checked("definite", "plain", "leaky").findings
    }
    assert check.findings[0].sites != checked("definite", "plain", "leaky").findings[0].sites
