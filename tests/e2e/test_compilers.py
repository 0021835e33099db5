"""Both compilers and both of their sanitizers: each is there, finds a leak, and gives it the name that valgrind does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes.supervisor import capture
from pytest_leakguard.programs.check import check_program

pytestmark = pytest.mark.programs

IN_A_THREAD = """
    #include <pthread.h>
    #include <stdlib.h>
    void *work(void *argument) { *(char *)malloc(77) = 1; return argument; }
    int main(void) { pthread_t one; pthread_create(&one, 0, work, 0); return pthread_join(one, 0); }
"""


def only_finding(program: Path, tool: str) -> Finding:
    check = check_program(Target((str(program),), timeout_s=60.0), Settings(), program.name, tool)
    assert check.problems == ()
    (finding,) = check.findings
    return finding


def require_runtime(compiler: str, flag: str, folder: Path) -> None:
    """A compiler whose runtime is missing is a failure where tools are required: a check would be left out silently."""
    (folder / "empty.c").write_text("int main(void) { return 0; }")
    code, _, errors = capture(
        [compiler, flag, "-o", str(folder / "empty"), str(folder / "empty.c")], 60
    )
    if code:
        problem = f"{compiler} {flag} cannot link; ci/install-tools test installs its runtime: {errors.decode()}"
        (pytest.fail if os.environ.get("LEAKGUARD_REQUIRE_TOOLS") else pytest.skip)(problem)


@pytest.mark.parametrize("flag", ["-fsanitize=address", "-fsanitize=leak"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_leak_in_a_thread_has_the_same_fingerprint_under_every_sanitizer_and_valgrind(
    compiler: str,
    flag: str,
    tool: Callable[[str], str],
    compile_c: Callable[..., Path],
    tmp_path: Path,
) -> None:
    require_runtime(tool(compiler), flag, tmp_path)
    sanitized = only_finding(
        compile_c(IN_A_THREAD, flag, "-pthread", compiler=compiler), "sanitizer"
    )
    plain = only_finding(compile_c(IN_A_THREAD, "-pthread", name="plain"), "valgrind")
    assert sanitized.fingerprint == plain.fingerprint, (sanitized.stack, plain.stack)
    assert sanitized.size_bytes == plain.size_bytes == 77
