"""A run that was not measured, or not ended, is never green."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from pytest_leakguard.ci.gate import ERROR, PASS, read_result
from pytest_leakguard.cli.main import main
from pytest_leakguard.reporters.write import UNFINISHED

REPORT = ("--leakguard", "--leakguard-report=out")
FORGES = """
    import os, shutil
    def test_it():
        shutil.copy("forged.json", "out/report.json")
        os._exit(0)
"""


def test_a_run_of_unrepeatable_tests_alone_was_not_measured(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        RUNS = []
        def test_it():
            RUNS.append(1)
            assert len(RUNS) == 1
        """
    )
    result = pytester.runpytest_subprocess(*REPORT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAIL leakguard: nothing was measured (1 test not repeatable)*"])
    assert read_result(pytester.path / "out", 1).result == ERROR


def test_a_test_that_ends_the_process_leaves_no_report_that_passes(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(test_it="def test_it(): pass")
    assert pytester.runpytest_subprocess(*REPORT).ret == 0
    assert read_result(pytester.path / "out", 0).result == PASS
    (pytester.path / "out" / "report.json").rename(pytester.path / "forged.json")

    pytester.makepyfile(test_it=FORGES)
    assert pytester.runpytest_subprocess(*REPORT).ret == 0
    answer = read_result(pytester.path / "out", 0)
    assert answer.result == ERROR
    assert "pytest ended before the run was judged" in answer.why
    assert main(["ci", "result", "out", "--pytest-exit", "0"]) == 3
    assert main(["report", "out", "--output", "merged"]) == 3
    assert "pytest ended before the run was judged" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--collect-only", "--help", "--fixtures"])
def test_what_runs_no_test_leaves_no_mark(pytester: pytest.Pytester, option: str) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest_subprocess(*REPORT, option)
    assert list(pytester.path.rglob(f"*{UNFINISHED}")) == []


def test_an_interrupted_run_has_ended(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): raise KeyboardInterrupt")
    pytester.runpytest_subprocess(*REPORT)
    assert list(pytester.path.rglob(f"*{UNFINISHED}")) == []


def test_a_report_directory_that_a_test_makes_itself_is_no_report(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(test_it="import os\ndef test_it():\n    os.mkdir('out'); os._exit(0)\n")
    assert pytester.runpytest_subprocess(*REPORT).ret == 0
    answer = read_result(pytester.path / "out", 0)
    assert answer.result == ERROR
    assert "pytest ended before the run was judged" in answer.why


@pytest.mark.parametrize("ini", [False, True], ids=["options", "ini file"])
def test_a_conftest_that_cannot_be_imported_is_the_reason_that_the_gate_gives(
    pytester: pytest.Pytester, ini: bool
) -> None:
    pytester.makeconftest("import no_such_module")
    pytester.makepyfile("def test_it(): pass")
    if ini:
        pytester.makeini("[pytest]\nleakguard = true\nleakguard_report = out\n")
    result = pytester.runpytest_subprocess(*(() if ini else REPORT))
    answer = read_result(pytester.path / "out", int(result.ret))
    assert answer.result == ERROR
    assert answer.why.startswith("pytest could not start: ModuleNotFoundError: No module named")
    assert "'no_such_module'" in answer.why and "conftest.py" in answer.why
    pytester.makeconftest("")
    assert pytester.runpytest_subprocess(*REPORT).ret == 0
    assert read_result(pytester.path / "out", 0).result == PASS, "the word of before is gone"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--leakgaurd-strict", "it does not know --leakgaurd-strict"),
        ("--leakguard-baseline=absent.toml", "*absent.toml: no such baseline*"),
        ("absent.py", "file or directory not found: absent.py"),
    ],
    ids=["option", "baseline", "file"],
)
def test_what_pytest_refuses_is_the_reason_that_the_gate_gives(
    pytester: pytest.Pytester, argument: str, told: str
) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess(*REPORT, argument)
    answer = read_result(pytester.path / "out", int(result.ret))
    assert answer.result == ERROR
    assert fnmatch(answer.why, f"pytest could not start: {told}")
    assert pytester.runpytest_subprocess(*REPORT).ret == 0
    assert read_result(pytester.path / "out", 0).result == PASS, "the word of before is gone"


@pytest.mark.parametrize("body", ["assert False", "pytest.skip('later')"])
def test_a_run_in_which_nothing_was_screened_says_why(pytester: pytest.Pytester, body: str) -> None:
    pytester.makepyfile(f"import pytest\ndef test_it():\n    {body}\n")
    result = pytester.runpytest_subprocess(*REPORT)
    answer = read_result(pytester.path / "out", int(result.ret))
    assert answer.result == ERROR
    assert answer.why.startswith("nothing was measured: 1 test ran, and none was screened: all of")


def test_a_conftest_that_fails_is_nobodys_affair_without_leakguard(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest("import no_such_module")
    pytester.runpytest_subprocess("-o", "leakguard_report=out")
    assert not (pytester.path / "out").exists()
    assert list(pytester.path.rglob(f"*{UNFINISHED}")) == []


def test_files_that_could_not_be_collected_are_the_reason_that_the_gate_gives(
    pytester: pytest.Pytester,
) -> None:
    for number in range(5):
        pytester.makepyfile(**{f"test_{number}": "import no_such_module"})
    result = pytester.runpytest_subprocess(*REPORT)
    reason = "5 files could not be collected: test_0.py: ModuleNotFoundError: No module named"
    result.stdout.fnmatch_lines([f"FAIL leakguard: nothing was measured; {reason}*and 2 more"])
    answer = read_result(pytester.path / "out", 2)
    assert answer.result == ERROR and answer.why.startswith(f"nothing was measured: {reason}")
