"""The end of a run: the same through pytest and the console script, and never green by accident."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.baseline.store import read_baseline
from pytest_leakguard.cli.main import main
from pytest_leakguard.reporters.conclude import Wanted, conclude
from pytest_leakguard.verdict import CLEAN, INCONCLUSIVE, LEAKS
from tests.cli.test_cli import clean, leaky
from tests.reporters.example import clean_run, run

NOWHERE = Path("/proc/leakguard-report")
"""Linux lets nobody make a directory there, the superuser included."""
GITHUB = {"GITHUB_ACTIONS": "true"}
REPORTS = {"report.json", "report.html", "junit.xml", "report.sarif", "summary.md"}

Door = Callable[..., tuple[bool, str]]
"""Judges ``check.xml`` with some options; whether the run has passed, and what it has printed."""


@pytest.fixture(params=["pytest", "console script"])
def door(
    request: pytest.FixtureRequest,
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
) -> Door:
    pytester.makeini("[pytest]\nleakguard_scope = marked\n")
    pytester.makepyfile(
        """
        from pathlib import Path
        from pytest_leakguard.programs import existing_reports

        def test_it(leakguard):
            for check in existing_reports.check_files([Path("check.xml")], leakguard._settings):
                leakguard._finish(check)
        """
    )

    def through_pytest(**options: str) -> tuple[bool, str]:
        flags = [f"--leakguard-{name}{value and '='}{value}" for name, value in options.items()]
        result = pytester.runpytest("--leakguard", *flags)
        return result.ret == 0, result.stdout.str()

    def through_console_script(**options: str) -> tuple[bool, str]:
        flags = [f"--{name}{value and '='}{value}" for name, value in options.items()]
        capsys.readouterr()
        status = main(["check", "check.xml", *flags])
        return status == CLEAN, capsys.readouterr().out

    return through_pytest if request.param == "pytest" else through_console_script


def entries() -> list[str]:
    return list(read_baseline(Path("leakguard-baseline.toml")).leaks)


def test_both_doors_fail_on_a_leak_and_accept_it(door: Door, pytester: pytest.Pytester) -> None:
    leaky(pytester.path, file="check.xml")
    assert not door()[0]
    passed, text = door(accept="one-time init")
    assert passed
    assert "accepted 1 leak into leakguard-baseline.toml; review and commit the file" in text
    assert len(entries()) == 1
    passed, text = door()
    assert passed and "accepted: 1 known leak (100 B)" in text


def test_both_doors_prune_what_is_fixed(door: Door, pytester: pytest.Pytester) -> None:
    leaky(pytester.path, file="check.xml")
    door(accept="one-time init")
    clean(pytester.path, "check.xml")
    passed, text = door(prune="")
    assert passed and "pruned 1 fixed leak from leakguard-baseline.toml" in text
    assert entries() == []


def test_both_doors_fail_when_the_report_cannot_be_written_and_do_all_the_rest(
    door: Door, pytester: pytest.Pytester
) -> None:
    leaky(pytester.path, file="check.xml")
    passed, text = door(report=str(NOWHERE), accept="one-time init")
    assert not passed
    assert f"could not write {NOWHERE}: " in text
    assert "accepted 1 leak into leakguard-baseline.toml" in text
    assert len(entries()) == 1


def test_both_doors_fail_when_the_baseline_cannot_be_written_and_report_all_the_same(
    door: Door, pytester: pytest.Pytester
) -> None:
    leaky(pytester.path, file="check.xml")
    passed, text = door(baseline=str(NOWHERE / "baseline.toml"), accept="why", report="out")
    assert not passed and "could not write /proc/leakguard-report/baseline.toml: " in text
    assert {path.name for path in (pytester.path / "out").iterdir()} >= REPORTS


def test_both_doors_refuse_a_file_for_the_report_directory(
    door: Door, pytester: pytest.Pytester
) -> None:
    clean(pytester.path, "check.xml")
    (pytester.path / "out").write_text("")
    assert not door(report="out")[0]
    assert (pytester.path / "out").read_text() == ""


def test_a_clean_run_whose_report_cannot_be_written_is_inconclusive() -> None:
    assert conclude(clean_run(), Wanted(), {}).verdict.exit_status == CLEAN
    conclusion = conclude(clean_run(), Wanted(report=NOWHERE), {})
    assert conclusion.verdict.exit_status == INCONCLUSIVE
    assert len(conclusion.verdict.problems) == 1, "one failure says it for all of its files"
    assert conclude(run(), Wanted(report=NOWHERE), {}).verdict.exit_status == LEAKS


def test_a_report_directory_that_the_run_makes_stays_out_of_git_and_a_users_own_is_left_alone(
    tmp_path: Path,
) -> None:
    conclude(clean_run(), Wanted(report=tmp_path / "new"), {})
    assert "*" in (tmp_path / "new" / ".gitignore").read_text().splitlines()
    (tmp_path / "own").mkdir()
    conclude(clean_run(), Wanted(report=tmp_path / "own"), {})
    assert not (tmp_path / "own" / ".gitignore").exists()


def test_one_report_that_cannot_be_written_keeps_no_other_from_being_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "report.json").mkdir()
    (tmp_path / "report.json" / "in the way").write_text("")
    conclusion = conclude(clean_run(), Wanted(report=tmp_path), {})
    assert conclusion.verdict.has_failed
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written >= REPORTS - {"report.json"}
    assert conclusion.messages == (f"reports: {tmp_path}",)


def test_what_could_not_be_written_is_annotated_and_in_the_job_summary(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    environment = {**GITHUB, "GITHUB_STEP_SUMMARY": str(summary)}
    conclusion = conclude(clean_run(), Wanted(report=NOWHERE), environment)
    assert any("could not write /proc" in text for text in conclusion.annotations)
    assert "could not write" in summary.read_text()


def test_a_job_summary_that_cannot_be_written_fails_the_run_and_is_annotated() -> None:
    environment = {**GITHUB, "GITHUB_STEP_SUMMARY": str(NOWHERE)}
    conclusion = conclude(clean_run(), Wanted(), environment)
    assert conclusion.verdict.has_failed
    assert any(str(NOWHERE) in text for text in conclusion.annotations)


def test_without_github_nothing_is_annotated() -> None:
    assert conclude(run(), Wanted(), {}).annotations == ()
    assert conclude(run(), Wanted(), GITHUB).annotations != ()


def test_the_reports_say_what_was_found_before_it_was_accepted(tmp_path: Path) -> None:
    measured = replace(run(), baseline=clean_run().baseline)
    wanted = Wanted(report=tmp_path, baseline=tmp_path / "accepted.toml", accept="why")
    conclude(measured, wanted, {})
    report = json.loads((tmp_path / "report.json").read_text())
    statuses = {entry["status"] for entry in report["findings"].values()}
    assert statuses == {"new"}
    assert read_baseline(tmp_path / "accepted.toml").leaks.keys() <= report["findings"].keys()
