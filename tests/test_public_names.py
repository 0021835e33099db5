"""``from pytest_leakguard import ...``: what is public, what it costs, and what type checkers see."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest
from dataclasses import replace
from pathlib import Path

import pytest

import pytest_leakguard
from pytest_leakguard import Check, Finding, InconclusiveCheck, Outcome, assert_no_leak, assertions
from pytest_leakguard.core.checks import Growth
from pytest_leakguard.core.shapes import Shape

ROOT = Path(__file__).parent.parent
LOADED = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
USER = """
from collections.abc import Iterator

from pytest_leakguard import (
    BaselineError, Check, Finding, Frame, InconclusiveCheck, Judged, Leakguard, LeakguardError,
    LeakKind, Outcome, Service, Status, TargetNotStarted, UsageProblem, assert_no_leak, watch,
)


def service(leakguard: Leakguard) -> Iterator[Service]:
    with leakguard.serve(["shop", "{port}"]) as started:
        yield started


def test_orders(service: Service) -> None:
    service.loop(["GET /orders/7"], requests=200)
    url: str = service.url


def first(judged: Judged) -> Finding | None:
    check: Check = judged.check
    if judged.outcome is Outcome.LEAK:
        for finding in check.findings:
            frames: tuple[Frame, ...] = finding.stack
            if finding.kind is LeakKind.THREADS and finding.status is Status.NEW:
                return finding
    return None


def script() -> None:
    try:
        assert_no_leak(lambda: None, iterations=10, budget="64 B")
    except (InconclusiveCheck, BaselineError, TargetNotStarted, UsageProblem) as error:
        problem: LeakguardError = error
"""


def loaded_by(statement: str) -> list[str]:
    """The modules that an interpreter of its own loads for ``statement``."""
    script = LOADED.format(statement=statement)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    modules: list[str] = json.loads(run.stdout)
    return modules


@pytest.mark.parametrize("name", pytest_leakguard.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    value = getattr(pytest_leakguard, name)
    assert name == "__version__" or value.__name__ == name


def test_every_public_name_has_a_home_and_is_listed_in_order() -> None:
    assert pytest_leakguard.__all__ == sorted({*pytest_leakguard._HOMES, "__version__"})
    assert dir(pytest_leakguard) == pytest_leakguard.__all__


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [name for name in pytest_leakguard.__all__ if f"`{name}" not in page] == []


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pytest_leakguard' has no attribute 'Leak'"):
        pytest_leakguard.Leak  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("import pytest_leakguard") == ["pytest_leakguard"]


def test_values_and_the_assertion_do_not_need_pytest() -> None:
    statement = "from pytest_leakguard import Check, Finding, Judged, assert_no_leak"
    assert not {"pytest", "_pytest"} & set(loaded_by(statement))


def test_the_fixtures_class_loads_no_service() -> None:
    """Whoever asks for all names of all modules, as freezegun does, loads it for a clean suite."""
    loaded = loaded_by("import pytest_leakguard; pytest_leakguard.Leakguard")
    assert [name for name in loaded if name.startswith("pytest_leakguard.services.")] == []


def test_mypy_strict_sees_the_types_and_no_other_names(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "good.py").write_text(USER)
    (tmp_path / "bad.py").write_text(
        "from pytest_leakguard import Check, Leak, assert_no_leak\n"
        "def of(check: Check) -> int:\n"
        "    assert_no_leak(1)\n"
        "    return check.tool\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "good.py", "bad.py"]
    command += ["--no-error-summary", "--hide-error-context", f"--cache-dir={tmp_path / 'cache'}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.stderr == ""
    lines = [line for line in run.stdout.splitlines() if ": note:" not in line]
    assert [line.partition(": error:")[0] for line in lines] == ["bad.py:1", "bad.py:3", "bad.py:4"]
    assert 'has no attribute "Leak"' in run.stdout


KEPT: list[object] = []


def leaks() -> None:
    KEPT.append({})


def test_a_leak_is_an_assertion_error_with_line_and_holder() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_no_leak(leaks, seconds=5)
    KEPT.clear()
    text = str(caught.value)
    assert text.startswith("NEW LEAK  ") and "\n     KEPT.append({})\n" in text
    assert ".KEPT (list, +1 item per run) ->" in text


def test_a_clean_callable_passes_and_its_check_is_returned() -> None:
    judged = assert_no_leak(lambda: [1], iterations=300)
    assert judged.outcome is Outcome.CLEAN
    assert type(judged.check) is Check and judged.check.findings == ()


def test_growth_within_the_budget_passes() -> None:
    judged = assert_no_leak(leaks, seconds=5, budget="1 KiB")
    KEPT.clear()
    assert judged.outcome is Outcome.CLEAN and "within its budget" in judged.check.notes[0]


def test_what_the_callable_raises_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        assert_no_leak(lambda: 1 / 0)


def test_a_coroutine_function_is_awaited() -> None:
    awaited: list[bool] = []

    async def work() -> None:
        if not awaited:
            awaited.append(True)

    assert_no_leak(work, iterations=50)
    assert awaited


UNDECIDED = Check(
    "loop",
    "test",
    "counters",
    notes=("undecided: heap_bytes rose unevenly over 9 runs",),
    growth=(Growth("heap_bytes", Shape.UNDECIDED, 1.0, -1.0, 3.0, 9),),
)


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (UNDECIDED, "undecided: heap_bytes rose unevenly over 9 runs; give it more time"),
        (replace(UNDECIDED, growth=(), problems=("no counter moves",)), "no counter moves"),
        (replace(UNDECIDED, skipped="no counters on this system"), "no counters on this system"),
    ],
)
def test_an_inconclusive_check_never_passes(
    monkeypatch: pytest.MonkeyPatch, check: Check, why: str
) -> None:
    monkeypatch.setattr(assertions, "check_loop", lambda *_, **__: check)
    with pytest.raises(InconclusiveCheck, match=why):
        assert_no_leak(leaks)


def test_it_works_in_a_unittest_case_without_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(
        "import unittest\n"
        "from pytest_leakguard import assert_no_leak\n"
        "KEPT = []\n"
        "class TestShop(unittest.TestCase):\n"
        "    def test_leaks(self): assert_no_leak(lambda: KEPT.append({}))\n"
        "    def test_clean(self): assert_no_leak(lambda: [1], iterations=300)\n"
    )
    command = [sys.executable, "-m", unittest.__name__, "test_shop"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "Ran 2 tests" in run.stderr and "FAILED (failures=1)" in run.stderr
    assert ".KEPT (list, +1 item per run) ->" in run.stderr


def test_a_finding_can_be_made_by_hand() -> None:
    assert Finding("0" * 16, pytest_leakguard.LeakKind.THREADS, 0, 1, ()).status == "new"
