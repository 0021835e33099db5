"""Programs behind launchers and scripts: the right tool is taken, and what counts is the user's."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs import launchers
from pytest_leakguard.programs.check import check_program
from tests.e2e.test_inconclusive import HEAD, judged

pytestmark = pytest.mark.programs
LEAKY = f"{HEAD}int main(void) {{ lose(33); return 0; }}"
CLEAN = f"{HEAD}int main(void) {{ return 0; }}"
LOSES_TOO = f"{HEAD}int main(void) {{ lose(5); return 0; }}"
Compile = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(*argv: str, tool: str = "auto", follow: tuple[str, ...] = ()) -> Check:
    return check_program(Target(argv, timeout_s=60.0, follow=follow), Settings(), "it", tool)


def sizes(check: Check) -> list[int]:
    assert check.problems == ()
    return [finding.size_bytes for finding in check.findings if finding.is_gating]


@pytest.mark.parametrize(
    "command",
    [
        "env NAME=1 ./program",
        "timeout 30 ./program",
        "bash -c './program; true'",
        "./run.sh",
        "bash run.sh",
        "nice -n 1 ./program",
        "env NAME=1 bash -c 'timeout 30 ./program'",
        """sh -c "env NAME=1 bash -c './program; true'" """,
    ],
)
def test_a_sanitizer_build_is_found_behind_what_starts_it(
    place: Path, compile_c: Compile, command: str
) -> None:
    compile_c(LEAKY, "-fsanitize=address")
    script(place / "run.sh", '#!/bin/sh\n"$(dirname "$0")/program" "$@"\n')
    check = run(*shlex.split(command))
    assert check.tool == "sanitizer"
    assert sizes(check) == [33]


def test_a_sanitizer_build_behind_ctest_is_found(place: Path, compile_c: Compile) -> None:
    program = compile_c(LEAKY, "-fsanitize=address")
    (place / "CTestTestfile.cmake").write_text(f'add_test([=[one]=] "{program}")\n')
    found = launchers.sanitized(("ctest", "--test-dir", str(place)), None)
    assert found is not None and found.path == program


@pytest.mark.parametrize("command", ["./run.sh", "bash run.sh", "sh -c 'cd . && ./program'"])
def test_a_script_fails_for_the_users_program_and_not_for_the_systems(
    place: Path, compile_c: Compile, command: str
) -> None:
    compile_c(LEAKY)
    script(place / "run.sh", "#!/bin/sh\necho one | sed s/o/e/ > /dev/null\n./program\n")
    check = run(*shlex.split(command), tool="valgrind")
    assert sizes(check) == [33]


def test_the_systems_tools_are_noted_and_do_not_fail(place: Path, compile_c: Compile) -> None:
    compile_c(CLEAN)
    script(place / "run.sh", "#!/bin/sh\necho one | sed s/o/e/ > /dev/null\n./program\n")
    check = run("./run.sh", tool="valgrind")
    assert judged(check).outcome is Outcome.CLEAN
    assert "not checked: run.sh, sed" in " ".join(check.notes)


def test_a_system_tool_that_is_named_is_checked() -> None:
    check = run("sed", "--version", tool="valgrind")
    assert check.problems == ()
    assert not any("not checked" in note for note in check.notes)


def test_a_script_that_starts_nothing_of_the_users_is_no_answer(place: Path) -> None:
    script(place / "run.sh", "#!/bin/sh\necho one | sed s/o/e/ > /dev/null\n")
    answer = judged(run("./run.sh", tool="valgrind"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "only programs of the system ran" in answer.reasons[0]


def test_only_programs_that_are_to_be_followed_count(place: Path, compile_c: Compile) -> None:
    compile_c(LEAKY)
    compile_c(LOSES_TOO, name="other")
    script(place / "run.sh", "#!/bin/sh\n./program\n./other\n")
    assert sizes(run("./run.sh", tool="valgrind")) == [38]  # of one name
    assert sizes(run("./run.sh", tool="valgrind", follow=("oth*",))) == [5]
    none = judged(run("./run.sh", tool="valgrind", follow=("missing",)))
    assert none.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.run(['./program'])",
        "subprocess.run('./program', shell=True)",
        "os.system('./program')",
        "os.posix_spawn('./program', ['./program'], {})",
    ],
)
def test_memray_is_no_answer_for_a_script_that_starts_a_program_of_the_users(
    place: Path, compile_c: Compile, start: str
) -> None:
    pytest.importorskip("memray")
    compile_c(LEAKY)
    (place / "starts.py").write_text(f"import os, subprocess\n{start}\n")
    answer = judged(run(sys.executable, "starts.py"))
    assert answer.check.tool == "memray"
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "program, which memray does not see into" in answer.reasons[0]


def test_memray_does_not_mind_the_systems_tools_nor_python(place: Path) -> None:
    pytest.importorskip("memray")
    (place / "starts.py").write_text(
        "import subprocess, sys\n"
        "subprocess.run(['sed', '--version'], stdout=subprocess.DEVNULL)\n"
        "subprocess.run([sys.executable, '-c', '1'])\n"
    )
    assert judged(run(sys.executable, "starts.py")).outcome is Outcome.CLEAN


def test_a_launcher_without_anything_to_start_is_meant_itself() -> None:
    assert not launchers.is_launcher(("env",), None)
    assert launchers.is_launcher(("env", "ls"), None)
    assert launchers.behind(("env", os.devnull), None) == ()
