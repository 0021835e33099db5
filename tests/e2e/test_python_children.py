"""What a Python program starts, or calls past memray: tracked as well, or never called clean."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.programs import Process, Report, RunStatus, Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.programs.tools.memray import Memray
from tests.e2e.test_inconclusive import HEAD

pytest.importorskip("memray")
pytestmark = pytest.mark.programs
KEEPS = """
KEPT = []

def remember(number):
    KEPT.append(bytearray(3000 + number % 7))

def work(count):
    for number in range(count):
        remember(number)

if __name__ == "__main__":
    work(2000)
"""
POOL = """
import multiprocessing
from keeps import work

if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    process = multiprocessing.Process(target=work, args=(2000,))
    process.start()
    process.join()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    (tmp_path / "keeps.py").write_text(KEEPS)
    (tmp_path / "clean.py").write_text("print(1)\n")
    return tmp_path


def run(place: Path, text: str, **options: bool) -> Check:
    (place / "parent.py").write_text(text)
    target = Target((sys.executable, "parent.py"), timeout_s=60.0, **options)  # type: ignore[arg-type]  # mypy takes any option for a bool
    return check_program(target, Settings(), "it")


def leaking_functions(check: Check) -> list[str | None]:
    assert check.tool == "memray" and check.problems == ()
    return [finding.stack[0].function for finding in check.findings]


@pytest.mark.parametrize(
    "statement",
    [
        "subprocess.run([sys.executable, 'keeps.py'])",
        "subprocess.run([sys.executable, '-u', '-m', 'keeps'])",
        "subprocess.run([sys.executable, 'keeps.py'], env={})",
        "subprocess.run('true; python keeps.py', shell=True)",
        "os.system('python keeps.py')",
        "os.execv(sys.executable, [sys.executable, 'keeps.py'])",
    ],
)
def test_a_python_program_that_a_script_starts_is_tracked_as_well(
    place: Path, statement: str
) -> None:
    check = run(place, f"import os, subprocess, sys\n{statement}\n")
    assert leaking_functions(check) == ["remember"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing_is_tracked_however_it_is_started(
    place: Path, method: str
) -> None:
    assert leaking_functions(run(place, POOL.format(method=method))) == ["remember"]


def test_workers_of_a_pool_that_keep_nothing_are_clean(place: Path) -> None:
    text = (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "def square(number): return number * number\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(2) as pool: print(sum(pool.map(square, range(300))))\n"
    )
    assert leaking_functions(run(place, text)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "subprocess.run([sys.executable, '-E', 'clean.py'])",
        "subprocess.run(['env', '-i', sys.executable, 'clean.py'])",
        "os.spawnve(os.P_WAIT, sys.executable, [sys.executable, 'clean.py'], {})",
    ],
)
def test_a_python_program_that_could_not_be_tracked_is_named_with_the_way_out(
    place: Path, statement: str
) -> None:
    text = f"import os, subprocess, sys\n{statement}\n"
    (problem,) = run(place, text).problems
    assert "`clean.py`, which left no capture" in problem and "--no-follow-children" in problem
    assert run(place, text, follows_children=False).problems == ()


@pytest.mark.parametrize(
    "statement",
    [
        "subprocess.run(['git', '--version'])",
        "subprocess.run([sys.executable, '-m', 'pip', '--version'])",
        "os.system('ls > listing')",
        "os.execvp('ls', ['ls'])",
        "import pty; pty.spawn(['ls'])",
        "subprocess.run([sys.executable, 'clean.py'])",
    ],
)
def test_a_tool_of_the_system_and_a_clean_program_do_not_fail(place: Path, statement: str) -> None:
    assert leaking_functions(run(place, f"import os, subprocess, sys\n{statement}\n")) == []


def test_a_compiled_program_is_found_in_the_directory_it_is_started_in(
    place: Path, compile_c: Callable[..., Path]
) -> None:
    program = compile_c(f"{HEAD}int main(void) {{ lose(5); return 0; }}")
    (place / "build").mkdir()
    program.rename(place / "build" / "convert")
    (problem,) = run(
        place, "import subprocess\nsubprocess.run(['./convert'], cwd='build')"
    ).problems
    assert f"it starts {place}/build/convert, which memray does not see into" in problem


def test_blocks_that_ctypes_takes_from_the_c_library_are_not_called_clean(place: Path) -> None:
    text = (
        "import ctypes\nmalloc = ctypes.CDLL(None).malloc\nmalloc.restype = ctypes.c_void_p\n"
        "for number in range(1000): malloc(100)\n"
    )
    (problem,) = run(place, text).problems
    assert "it calls malloc of the C library through ctypes" in problem and "valgrind" in problem


def test_a_library_that_ctypes_calls_into_is_seen(place: Path) -> None:
    text = (
        "import ctypes\nstrdup = ctypes.CDLL(None).strdup\nstrdup.restype = ctypes.c_void_p\n"
        "def copy(): strdup(b'x' * 100)\n"
        "for number in range(1000): copy()\n"
    )
    assert leaking_functions(run(place, text)) == ["copy"]


@pytest.mark.parametrize(
    "command",
    [
        "env NAME=1 python keeps.py",
        "timeout 30 python keeps.py",
        "bash -c 'cd . && python keeps.py'",
        "env NAME=1 bash -c 'timeout 30 python keeps.py'",
        "./run.sh",
        "bash run.sh",
        "shims/python keeps.py",
    ],
)
def test_python_behind_what_starts_it_is_checked_as_python(place: Path, command: str) -> None:
    scripts = {"run.sh": "python keeps.py", "shims/python": f'exec {sys.executable} "$@"'}
    for name, line in scripts.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(f"#!/bin/bash\n{line}\n")
        (place / name).chmod(0o755)
    target = Target(tuple(shlex.split(command)), timeout_s=60.0)
    assert leaking_functions(check_program(target, Settings(), "it")) == ["remember"]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ("python -E keeps.py", "it starts a Python program that left no capture"),
        ("python -I keeps.py", "it starts a Python program that left no capture"),
        ("PYTHONPATH= python keeps.py", "it starts a Python program that left no capture"),
        (f"env -i {sys.executable} keeps.py", "what it starts by `env -i` is not tracked"),
    ],
)
@pytest.mark.parametrize("is_script", [True, False])
def test_a_second_python_that_a_shell_starts_past_memray_leaves_no_answer(
    place: Path, second: str, why: str, is_script: bool
) -> None:
    (place / "run.sh").write_text(f"#!/bin/sh\npython clean.py\n{second}\n")
    if is_script:
        check = check_program(Target(("sh", "run.sh"), timeout_s=60.0), Settings(), "it")
    else:
        line = f"python clean.py; {second}"
        check = run(place, f"import subprocess\nsubprocess.run({line!r}, shell=True)\n")
    assert any(why in problem or "left no capture" in problem for problem in check.problems)


def test_a_shell_that_starts_tools_beside_a_tracked_python_is_clean(place: Path) -> None:
    lines = "env | grep -q PATH\nls\npython clean.py\npython -m pip --version\n"
    (place / "run.sh").write_text(f"#!/bin/sh\n{lines}")
    check = check_program(Target(("sh", "run.sh"), timeout_s=60.0), Settings(), "it")
    assert leaking_functions(check) == []


CFFI = """
class Library:
    def load_function(self, kind, name):
        return len

def load_library(name, flags):
    return Library()

class FFI:
    def dlopen(self, name):
        return type("Lib", (), {"malloc": len})() if name is None else Library()
"""
"""What cffi asks its C code for, and what a module that it has written asks for."""
IN_LINE = "_cffi_backend.load_library(None, 0).load_function(None, 'malloc')"
WRITTEN = "_cffi_backend.FFI().dlopen(None)"


@pytest.mark.parametrize("statement", [IN_LINE, WRITTEN])
def test_blocks_that_cffi_takes_from_the_c_library_are_not_called_clean(
    place: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "installed").mkdir()
    (place / "installed" / "_cffi_backend.py").write_text(CFFI)
    monkeypatch.setenv("PYTHONPATH", f"{place / 'installed'}:{os.environ.get('PYTHONPATH', '')}")
    (problem,) = run(place, f"import _cffi_backend\n{statement}\n").problems
    assert "it calls malloc of the C library through ctypes or cffi" in problem
    harmless = "_cffi_backend.load_library('m', 0).load_function(None, 'sqrt')"
    assert run(place, f"import _cffi_backend\n{harmless}\n").problems == ()


FULL = """
import ctypes, os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
library, held = ctypes.CDLL(None), []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for _ in range(1000):
    library.malloc(1000)
"""


def test_what_could_not_be_noted_for_want_of_a_descriptor_is_noted_later(place: Path) -> None:
    (problem,) = run(place, FULL + "for one in held: os.close(one)\n").problems
    assert "it calls malloc of the C library" in problem


def test_what_could_never_be_noted_leaves_no_answer(place: Path) -> None:
    check = run(place, FULL)
    assert check.problems and not check.findings


def test_notes_that_were_cut_are_no_proof(tmp_path: Path) -> None:
    report = Report("memray", processes=(Process(7, command="python"),))
    target, status = Target((sys.executable, "x.py")), RunStatus(7, 0)
    whole = '{"followed": ["x.py"]}\n'
    for text, is_told in ((whole, False), (whole[:15], True), ("", True)):
        (tmp_path / "started").write_text(text)
        after = Memray().after_run(report, target, tmp_path, status)
        assert any("written down" in problem for problem in after.problems) is is_told, text
