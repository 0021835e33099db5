"""Real runs: pytest-xdist with a worker that crashes, pytest-split over two jobs, a run that is stopped early."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

import pytest

from pytest_leakguard.cli.main import main

SUITE = """
    import pytest
    pytestmark = pytest.mark.leakguard(iterations=16)  # no more runs than that: quick
    KEEP = []
    def test_leaks():
        KEEP.append({"a": object()})
    def test_two(): pass
    def test_three(): pass
    def test_four(): pass
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """In a process of its own: the heap of this one would make every look at it slow."""
    return pytester.runpytest_subprocess("-p", "no:hypothesispytest", *arguments)


def report_of(pytester: pytest.Pytester, name: str = "out") -> dict[str, Any]:
    return json.loads((pytester.path / name / "report.json").read_text())  # type: ignore[no-any-return]  # JSON


def test_leaks_found_by_a_worker_that_crashed_later_are_kept(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        KEEP = []
        def test_leaks():
            KEEP.append({"a": object()})
        def test_crashes():
            os._exit(11)
        """
    )
    result = run(
        pytester, "--leakguard", "--leakguard-report=out", "-n", "1", "--max-worker-restart=0"
    )
    assert result.ret != 0
    result.stdout.fnmatch_lines(
        ["1. NEW LEAK  *", "FAIL leakguard: 1 new leak (*) in 1 test; *; worker gw0 crashed*"]
    )
    report = report_of(pytester)
    assert report["exit_status"] == 1 and len(report["findings"]) == 1
    assert report["run"]["problems"] == ["worker gw0 crashed: what it had not yet reported is lost"]


def test_a_crashed_worker_is_never_green(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("import os\ndef test_fine(): pass\ndef test_crashes():\n    os._exit(11)\n")
    result = run(pytester, "--leakguard", "--leakguard-report=out", "-n", "1")
    assert result.ret != 0
    assert report_of(pytester)["exit_status"] == 3
    monkeypatch.chdir(pytester.path)
    assert main(["report", "out"]) == 3


def test_a_worker_that_ends_well_is_no_problem(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE.replace('KEEP.append({"a": object()})', "pass"))
    assert run(pytester, "--leakguard", "--leakguard-report=out", "-n", "2").ret == 0
    assert report_of(pytester)["run"]["problems"] == []


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "workers"])
def test_a_run_that_is_stopped_early_is_not_whole(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    suite = dedent(SUITE).replace('KEEP.append({"a": object()})', "pass")
    pytester.makepyfile(f"{suite}def test_fails(): assert 0\ndef test_after(): pass\n")
    assert run(pytester, "--leakguard", "--leakguard-report=out", "-x", *workers).ret != 0
    report = report_of(pytester)
    if report["run"]["selection"]["never_ran"]:  # a worker may have been quicker than the stop
        assert (
            report["exit_status"] == 3
            and "the run was stopped early: 1 selected" in report["problems"][0]
        )
    else:
        assert workers


def split(pytester: pytest.Pytester, group: int, *more: str) -> None:
    arguments = (
        "--leakguard",
        f"--leakguard-report=s/{group}",
        "--splits=2",
        f"--group={group}",
        *more,
    )
    run(pytester, *arguments)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_groups_of_pytest_split_make_one_report(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_it=SUITE)
    split(pytester, 1, *workers)
    split(pytester, 2, *workers)
    monkeypatch.chdir(pytester.path)
    assert main(["report", "s", "--expect-shards", "2", "--output", "out"]) == 1
    report = report_of(pytester)
    assert report["problems"] == []
    assert report["summary"]["leak"] == 1 and report["summary"]["clean"] == 3
    assert main(["report", "s/1", "--expect-shards", "2", "--output", "one"]) != 0


def test_a_group_that_nobody_ran_is_missed_without_counting_shards(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both jobs ran the same group of three."""
    pytester.makepyfile(test_it=SUITE.replace('KEEP.append({"a": object()})', "pass"))
    for job in ("1", "2"):
        group = "1" if job == "1" else "3"
        run(
            pytester, "--leakguard", f"--leakguard-report=s/{job}", "--splits=3", f"--group={group}"
        )
    monkeypatch.chdir(pytester.path)
    assert main(["report", "s"]) == 3
    assert "measured by no shard" in capsys.readouterr().out


def test_tests_left_out_by_choice_are_not_missed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(test_it=SUITE)
    for group in (1, 2):
        split(
            pytester,
            group,
            "-k",
            "two or three",
            "--deselect",
            "test_it.py::test_three",
            "-p",
            "no:randomly",
        )
    monkeypatch.chdir(pytester.path)
    main(["report", "s", "--output", "out"])
    assert not any("no shard" in problem for problem in report_of(pytester)["problems"])


def test_a_report_of_an_earlier_run_is_never_taken_for_this_one(pytester: pytest.Pytester) -> None:
    """As on a runner that keeps its workspace: this run dies before it can write."""
    pytester.makepyfile("import os\ndef test_dies(): os._exit(0)\n")
    old = pytester.path / "out" / "report.json"
    old.parent.mkdir()
    old.write_text("green")
    run(pytester, "--leakguard", "--leakguard-report=out", "--collect-only")
    assert old.exists(), "looking is not running"
    run(pytester, "--leakguard", "--leakguard-report=out")
    assert not old.exists()


@pytest.mark.parametrize("file", ["pyproject.toml", "leakguard-baseline.toml"])
def test_nor_is_it_when_this_one_cannot_begin(pytester: pytest.Pytester, file: str) -> None:
    pytester.makepyfile("def test_fine(): pass")
    pytester.makeini("[pytest]")
    report = pytester.path / "out" / "report.json"
    assert pytester.runpytest_subprocess("--leakguard", "--leakguard-report=out").ret == 0
    assert report.exists()
    (pytester.path / file).write_text("[tool.leakguard.targets.convert]\ncomand = ['true']")
    result = pytester.runpytest_subprocess("--leakguard", "--leakguard-report=out")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"*{file}*")
    assert not report.exists()


def test_a_report_that_cannot_be_written_fails_the_run_and_the_summary_says_so(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        from pathlib import Path
        def test_fine(): Path("out").touch()
        """
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    result = run(pytester, "--leakguard", "--leakguard-report=out")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAIL leakguard: 1 test clean; *out*"])
    assert "❌" in (pytester.path / "summary.md").read_text()
