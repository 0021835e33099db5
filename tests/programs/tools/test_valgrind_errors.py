"""Faults besides leaks in valgrind's reports: they fail, and descriptors are findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes.supervisor import capture
from pytest_leakguard.programs.existing_reports import check_files

pytestmark = pytest.mark.programs

SOURCE = """
#include <fcntl.h>
#include <stdlib.h>
int scan(int *block) { free(block); return block[1]; }
void twice(void) { void *volatile block = malloc(8); free(block); free(block); }
void leave_open(void) { open("/dev/null", O_RDONLY); }
int main(int count, char **word) {
    switch (word[1][0]) {
    case 'r': return scan(calloc(4, 4)) & 0;
    case 'b': *(char *volatile)malloc(24) = 1; return scan(calloc(4, 4)) & 0;
    case 'f': twice(); return 0;
    case 'd': leave_open(); return 0;
    }
    return 0;
}
"""
KINDS = {"r": "Invalid read of size 4 at scan", "f": "Invalid free() "}


@pytest.fixture(params=["xml", "text"])
def report(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tool: Callable[[str], str],
    compile_c: Callable[..., Path],
) -> Callable[[str], Path]:
    program = compile_c(SOURCE)

    def made(kind: str) -> Path:
        path = tmp_path / f"report.{kind}"
        form = ["--xml=yes", f"--xml-file={path}"]
        if request.param == "text":
            form = [f"--log-file={path}"]
        argv = [tool("valgrind"), "--leak-check=full", "--track-fds=yes", *form, str(program), kind]
        code, _, errors = capture(argv, 60)
        assert code == 0, errors.decode()
        return path

    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_error_without_a_leak_is_told_and_never_clean(
    report: Callable[[str], Path],
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = report(kind)
    assert main(["check", str(path)]) != 0
    assert f"memory error: {KINDS[kind]}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_error_can_be_reported_without_failing(
    report: Callable[[str], Path], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = report(kind)
    assert main(["check", "--errors=report", str(path)]) == 0
    assert f"not failing: memory error: {KINDS[kind]}" in capsys.readouterr().out


def test_a_descriptor_that_is_left_open_is_a_finding(report: Callable[[str], Path]) -> None:
    (check,) = check_files([report("d")], Settings())
    assert check.problems == ()
    (finding,) = check.findings
    assert finding.kind is LeakKind.FILE_DESCRIPTORS
    assert (finding.blocks, finding.is_gating) == (1, True)
    assert "leave_open" in [frame.function for frame in finding.stack]


def test_a_leak_beside_a_memory_error_is_still_a_leak(
    report: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(report("b"))]) == 1
    out = capsys.readouterr().out
    assert "24 B definitely lost" in out
    assert "memory error: Invalid read of size 4 at scan" in out


def test_a_report_without_faults_stays_clean(report: Callable[[str], Path]) -> None:
    (check,) = check_files([report("n")], Settings())
    assert (check.findings, check.problems, check.faults) == ((), (), ())
