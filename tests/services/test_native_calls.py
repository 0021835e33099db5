"""A leak of C, C++ and Rust is told with its line, without a tool, whatever way it is compiled."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.leaks import Frame, LeakKind
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.live_heap import HeapReader
from pytest_leakguard.services.native_calls import interpreted, own_calls
from pytest_leakguard.tracker.live import LIBRARY

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="services are measured through /proc"),
    pytest.mark.skipif(not LIBRARY.exists(), reason="the native library was not built"),
]
HERE = Path(__file__).parent
CXX, RUST = HERE / "native_leaks.cpp", HERE / "native_leaks.rs"
COMPILERS = {CXX: ("g++", "-g", "-pthread"), RUST: ("rustc", "-g")}
Build = Callable[..., str]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("native-leaks")

    def compile_service(source: Path, *options: str) -> str:
        compiler, *always = COMPILERS[source]
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is not here")
        output = folder / "-".join((source.suffix[1:], *options)).replace("=", "-")
        if not output.exists():
            command = [compiler, *always, *options, "-o", str(output), str(source)]
            subprocess.run(command, check=True, timeout=120)
        return str(output)

    return compile_service


def line_of(source: Path, mode: str) -> int:
    lines = source.read_text().splitlines()
    (number,) = [at for at, text in enumerate(lines, 1) if text.endswith(f"// LINE {mode}")]
    return number


def checked(bench: Any, server: str, mode: str, requests: int = 2000) -> Check:
    target = ServiceTarget((server, "{port}", mode))
    check: Check = bench.run(target, requests=requests).check
    return check


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("lost", "lost"),
        ("copied", "copied"),
        ("by_key", "by_key"),
        slow("grown", "grown"),
        slow("mapped", "mapped"),
        slow("listened", "listened"),
        ("beside_cache", "beside_cache"),
        slow("rare", "rare"),
        slow("in_thread", "lost"),
        slow("in_worker", "lost"),
    ],
)
@pytest.mark.parametrize("optimised", ["-O0", slow("-O2")])
def test_a_leak_of_compiled_code_is_told_with_its_line(
    bench: Any, build: Build, mode: str, line: str, optimised: str
) -> None:
    check = checked(bench, build(CXX, optimised), mode)
    finding = check.findings[0]
    assert finding.sites == (f"{CXX}:{line_of(CXX, line)}",)
    assert any(detail.startswith("line: ") and "LINE" in detail for detail in finding.details)
    is_lost = any("the pointer is lost" in detail for detail in finding.details)
    if mode in ("lost", "copied", "by_key", "listened"):
        assert is_lost == (mode in ("lost", "copied"))
    holder = {"by_key": "shop::by_key", "listened": "shop::listeners"}.get(mode)
    program = Path(build(CXX, optimised)).name
    assert finding.held_by == (f"{holder} (global variable in {program})" if holder else "")
    assert not (holder and any("can still reach it" in detail for detail in finding.details))
    is_mapping = finding.kind is LeakKind.MAPPINGS
    assert is_mapping == (mode == "mapped")


@pytest.mark.parametrize(
    ("mode", "metric", "named"),
    [
        ("opened", "fds", " x /dev/null in process "),
        slow("streamed", "fds", " x /dev/zero in process "),
        slow("connected", "fds", " x unix socket in process "),
        slow("polled", "fds", " x eventpoll in process "),
        ("threaded", "threads", " x thread "),
        ("forked", "procs", "(ended, not waited for)' in process "),
    ],
)
def test_what_compiled_code_opens_or_starts_is_told_with_its_line(
    bench: Any, build: Build, mode: str, metric: str, named: str
) -> None:
    check = checked(bench, build(CXX, "-O0"), mode)
    (finding,) = [one for one in check.findings if one.rate and one.rate.metric == metric]
    assert finding.sites == (f"{CXX}:{line_of(CXX, mode)}",)
    assert any(named in detail for detail in finding.details), finding.details


def test_a_text_that_is_only_added_to_is_a_leak_with_the_line_that_adds(
    bench: Any, build: Build
) -> None:
    check = checked(bench, build(CXX, "-O0"), "written")
    (finding,) = check.findings
    assert finding.sites == (f"{CXX}:{line_of(CXX, 'written')}",)
    assert finding.rate is not None
    assert finding.rate.per_iteration == pytest.approx(27, rel=0.15)
    assert check.diagnosis is not None and check.diagnosis.iterations <= 1500


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pushed", "forgotten", "keyed"])
@pytest.mark.parametrize("optimised", ["-Copt-level=0", "-Copt-level=3"])
def test_a_leak_of_rust_is_told_with_the_programs_own_line(
    bench: Any, build: Build, mode: str, optimised: str
) -> None:
    check = checked(bench, build(RUST, optimised), mode)
    (finding,) = check.findings
    assert finding.sites == (f"{RUST}:{line_of(RUST, mode)}",)


def test_without_debug_information_the_functions_are_told(bench: Any, build: Build) -> None:
    check = checked(bench, build(CXX, "-O1", "-g0"), "lost")
    (finding,) = check.findings
    assert finding.stack[0].function == "shop::lost(int)"
    assert finding.sites == ()
    assert finding.former, "the name of growth, under which it may have been accepted"


def test_stacks_are_taken_of_a_leaking_service_only(
    bench: Any, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("stacks were asked for")

    monkeypatch.setattr(HeapReader, "trace", refuse)
    check = checked(bench, build(CXX, "-O0"), "clean", requests=600)
    assert bench.judged.outcome is Outcome.CLEAN and not check.findings


def test_an_extension_is_told_without_the_interpreter_around_it() -> None:
    malloc = Frame("__libc_malloc", module="/lib/libc.so.6")
    parse = Frame("parse", "parse.c", 7, module="/app/_parse.so")
    evaluate = Frame("_PyEval_EvalFrameDefault", module="/usr/bin/python3.12")
    main = Frame("main", module="/usr/bin/python3.12")
    assert own_calls((malloc, parse, evaluate, main)) == (parse,)
    assert own_calls((malloc, evaluate, main)) == ()


def test_what_has_called_the_python_code_that_calls_a_library_is_not_where_it_allocates() -> None:
    malloc = Frame("__libc_malloc", module="/lib/libc.so.6")
    call = Frame("ffi_call", module="/lib/libffi.so.8")
    evaluate = Frame("_PyEval_EvalFrameDefault", module="/usr/bin/python3.12")
    step = Frame("task_step_impl", "_asynciomodule.c", 2690, module="/lib-dynload/_asyncio.so")
    assert own_calls((malloc, call, evaluate, step, evaluate)) == ()


def test_calls_of_the_interpreter_are_read_and_one_that_is_cut_off_is_left_out() -> None:
    text = (
        "Current thread 0x00007f (most recent call first):\n"
        '  File "/app/shop.py", line 12 in handle\n'
        '  File "/app/shop.py", line 40 in <module>\n'
        '  File "/app/sh'
    )
    assert interpreted(text) == (
        Frame("handle", "/app/shop.py", 12),
        Frame("<module>", "/app/shop.py", 40),
    )
