"""Both compilers and both of their sanitizers: each is there, finds a leak, and gives it the name that valgrind does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.core.fingerprint import own_names
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


INTERNAL = """
    #include <cstdlib>
    #include <functional>
    #include <memory>
    #include <thread>
    void *volatile sink;
    namespace shop {
    static void in_static(int n) { sink = malloc(n); }
    namespace {
    void in_anonymous(int n) { sink = malloc(n); }
    struct Box { void put(int n) { sink = malloc(n); } };
    struct Shelf { virtual ~Shelf() {} virtual void put(int n) { sink = malloc(n); } };
    template <class T> void anonymous_template(T n) { sink = malloc(n); }
    }
    template <class T> static void static_template(T n) { sink = malloc(n); }
    void external(int n) { sink = malloc(n); }
    }
    static void call(std::function<void(int)> work, int n) { work(n); }
    int main(int, char **argument) {
        switch (atoi(argument[1])) {
        case 0: shop::in_static(77); break;
        case 1: shop::in_anonymous(77); break;
        case 2: { shop::Box box; box.put(77); break; }
        case 3: { std::unique_ptr<shop::Shelf> shelf(new shop::Shelf); shelf->put(77); break; }
        case 4: shop::anonymous_template<int>(77); break;
        case 5: shop::static_template<long>(77); break;
        case 6: { auto work = [](int n) { sink = malloc(n); }; work(77); break; }
        case 7: call([](int n) { sink = malloc(n); }, 77); break;
        case 8: { std::thread one([] { sink = malloc(77); }); one.join(); break; }
        case 9: shop::external(77); break;
        }
        sink = nullptr;
        return 0;
    }
"""
KINDS_OF_LINKAGE = 10


@pytest.mark.parametrize("flag", ["-fsanitize=address", "-fsanitize=leak"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_function_of_internal_linkage_has_one_name_under_every_tool(
    compiler: str, flag: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    require_runtime(tool(compiler), flag, tmp_path)
    (tmp_path / "kinds.cpp").write_text(INTERNAL)
    for name, flags in (("sanitized", [flag]), ("plain", [])):
        argv = [tool({"gcc": "g++", "clang": "clang++"}[compiler]), "-g", "-O0", "-pthread", *flags]
        code, _, errors = capture(
            [*argv, "-o", str(tmp_path / name), str(tmp_path / "kinds.cpp")], 90
        )
        assert code == 0, errors.decode()
    for kind in range(KINDS_OF_LINKAGE):
        under = {}
        for name, tool_name in (("sanitized", "sanitizer"), ("plain", "valgrind")):
            target = Target((str(tmp_path / name), str(kind)), timeout_s=60.0)
            check = check_program(target, Settings(), name, tool_name)
            (under[name],) = [found for found in check.findings if found.size_bytes == 77]
        assert under["sanitized"].fingerprint == under["plain"].fingerprint, (
            kind,
            own_names(under["sanitized"].stack),
            own_names(under["plain"].stack),
        )
