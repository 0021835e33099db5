"""CTest's tests and GoogleTest's cases: one check for each, with the runner's idea of success."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.programs import Target
from pytest_leakguard.processes.supervisor import capture
from pytest_leakguard.programs import cases, ctest, gtest
from pytest_leakguard.programs.cases import Case

pytestmark = pytest.mark.programs
LISTS = """CMAKE_MINIMUM_REQUIRED(VERSION 3.14)
project(demo C)
enable_testing()
add_executable(ends ends.c)
add_executable(loses loses.c)
set_target_properties(ends loses PROPERTIES COMPILE_FLAGS -g)
add_test(NAME fine COMMAND ends 0)
add_test(NAME leaks COMMAND loses)
set_tests_properties(leaks PROPERTIES ENVIRONMENT "SIZE=33")
add_test(NAME fails COMMAND ends 1)
add_test(NAME may_fail COMMAND ends 1)
set_tests_properties(may_fail PROPERTIES WILL_FAIL TRUE)
add_test(NAME must_fail COMMAND ends 0)
set_tests_properties(must_fail PROPERTIES WILL_FAIL TRUE)
add_test(NAME skips COMMAND ends 77)
set_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)
add_test(NAME off COMMAND ends 0)
set_tests_properties(off PROPERTIES DISABLED TRUE)
add_test(NAME unbuilt COMMAND ${CMAKE_BINARY_DIR}/nothing)
"""
ENDS = "#include <stdlib.h>\nint main(int n, char **v) { return atoi(v[1]); }\n"
LOSES = """#include <stdlib.h>
__attribute__((noinline)) void lose(int n) { volatile char *p = malloc(n); p[0] = 1; }
int main(void) { lose(atoi(getenv("SIZE"))); return 0; }
"""
LIST = """Running main() from gtest_main.cc
Codec.
  Reads
  DISABLED_Writes
All/Sizes.
  Work/0  # GetParam() = 1
Typed/0.  # TypeParam = int
  Works
"""


@pytest.fixture
def build(tmp_path: Path, tool: Callable[[str], str]) -> Path:
    cmake = tool("cmake")
    (tmp_path / "CMakeLists.txt").write_text(LISTS)
    (tmp_path / "ends.c").write_text(ENDS)
    (tmp_path / "loses.c").write_text(LOSES)
    for arguments in (["-S", str(tmp_path), "-B"], ["--build"]):
        code, _, errors = capture([cmake, *arguments, str(tmp_path / "build")], 120)
        assert code == 0, errors.decode()
    return tmp_path / "build"


def test_every_test_of_ctest_has_the_answer_that_fits(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(["ctest", "--test-dir", "build", "--tool", "valgrind", "--json", "out.json"])
    assert status == 1
    report = json.loads((tmp_path / "out.json").read_text())
    assert {check["id"]: check["outcome"] for check in report["checks"]} == {
        "fine": "clean",
        "leaks": "leak",
        "fails": "inconclusive",
        "may_fail": "clean",
        "must_fail": "inconclusive",
        "skips": "skipped",
        "off": "skipped",
        "unbuilt": "inconclusive",
    }
    assert [each["size_bytes"] for each in report["findings"].values() if each["gates"]] == [33]
    # From where the command was started: the report is read on other machines as well.
    (again,) = [check["reproduce"] for check in report["checks"] if check["id"] == "leaks"]
    assert again.startswith("cd build && pytest-leakguard run ")


def test_ctests_own_choice_is_kept(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ctest", "--test-dir", "build", "-R", "fine|may", "-E", "may"]) == 0


def test_a_directory_without_tests_is_a_usage_error(tmp_path: Path) -> None:
    assert main(["ctest", "--test-dir", str(tmp_path)]) == 2


def test_a_test_module_has_an_item_per_test_of_ctest(
    build: Path, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        f"""
        import pytest_leakguard as leakguard
        test_native = leakguard.ctest({str(build)!r}, "-R", "fine|leaks")
        test_nowhere = leakguard.ctest("nowhere")
        """
    )
    result = pytester.runpytest_subprocess("--leakguard", "-v")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*test_native?fine?*PASSED*", "*test_native?leaks?*LEAK*"])


def lister(folder: Path, text: str = LIST) -> Path:
    """A program that lists its cases as GoogleTest does, and fails what it is to fail."""
    program = folder / "codec_test"
    program.write_text(
        f"#!/bin/sh\ncase \"$1\" in\n--gtest_list_tests) cat <<'END'\n{text}END\n;;\nesac\n"
    )
    program.chmod(0o755)
    return program


def test_the_cases_of_googletest_are_listed(tmp_path: Path) -> None:
    found = gtest.read_cases(str(lister(tmp_path)), 60.0)
    assert [case.name for case in found] == [
        "Codec.Reads",
        "Codec.DISABLED_Writes",
        "All/Sizes.Work/0",
        "Typed/0.Works",
    ]
    assert [case.name for case in found if case.skipped] == ["Codec.DISABLED_Writes"]
    first = found[0].target
    assert first is not None and first.argv[1:] == ("--gtest_filter=Codec.Reads",)


def test_what_lists_no_case_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="shows no case"):
        gtest.read_cases(str(lister(tmp_path, "")), 60.0)


def test_cases_wait_for_what_they_depend_on() -> None:
    target = Target(("true",))
    one = Case("one", target, after=frozenset({"three"}))
    two = Case("two", target, is_alone=True)
    three = Case("three", target)
    circle = Case("circle", target, after=frozenset({"ring"}))
    ring = Case("ring", target, after=frozenset({"circle"}))
    waves = [[case.name for case in wave] for wave in cases._waves((one, two, three, circle, ring))]
    assert waves == [["three"], ["one"], ["two"], ["circle"], ["ring"]]


def test_two_tests_of_one_name_are_refused(tmp_path: Path) -> None:
    if shutil.which("ctest") is None:
        pytest.skip("ctest is not installed")
    text = "add_test(one /bin/true)\nsubdirs(below)\n"
    (tmp_path / "CTestTestfile.cmake").write_text(text)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "CTestTestfile.cmake").write_text("add_test(one /bin/false)\n")
    with pytest.raises(UsageProblem, match="two tests are called 'one'"):
        ctest.read_cases(tmp_path, 60.0)
