"""The C code itself: under sanitizers, without Python, and on another processor."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracker.conftest import HERE, NATIVE, Scenarios, missing, run_program
from tests.variants import variants

CORE = ("core", "table", "ranges", "runs", "stacks", "pages", "lock")
"""The parts that know nothing of hooks."""
FLAGS = (
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-O2",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
)


@pytest.mark.programs
@pytest.mark.parametrize(
    "sanitizer", variants(["address,undefined", "thread"], quick=["address,undefined"])
)
def test_the_table_does_what_its_reference_does(build: Callable[..., Path], sanitizer: str) -> None:
    sources = [str(NATIVE / f"{name}.c") for name in CORE]
    driver = build(
        f"table_{sanitizer.replace(',', '_')}",
        "-O1",
        f"-fsanitize={sanitizer}",
        "-fno-sanitize-recover=all",
        f"-I{NATIVE}",
        str(HERE / "native" / "table_driver.c"),
        *sources,
        "-pthread",
        "-ldl",
    )
    assert run_program([str(driver)]) == "as the references\n"


SANITIZED = ("-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
EVERYWHERE = (
    "python_objects",
    "list_growth",
    "shrinking",
    "grows_in_own_run",
    "nothing",
    "runs",
    "bad_runs",
    "python_threads",
)
"""Scenarios of Python's blocks alone: a sanitizer's own allocator is never hooked."""


def _sanitized(build: Callable[..., Path], sanitizer: str) -> str:
    sources = [str(path) for path in sorted(NATIVE.glob("*.c"))]
    flags = ("-shared", "-fPIC", "-fvisibility=hidden", "-std=c11", *SANITIZED)
    name = f"tracker_{sanitizer.replace(',', '_')}.so"
    return str(build(name, *flags, f"-fsanitize={sanitizer}", *sources, "-ldl", "-pthread"))


@pytest.mark.programs
def test_the_whole_library_does_nothing_undefined(
    build: Callable[..., Path], scenarios: Scenarios
) -> None:
    library = _sanitized(build, "undefined")
    names = ("c_functions", "native_growth", "mappings", "survivors", "cpp", "stacks", "stale")
    seen = scenarios(*EVERYWHERE, *names, "threads", "fork", TRACKER_LIBRARY=library)
    assert seen["threads"] == [0, 0]
    assert seen["python_objects"][1] == [[0, 0]] * 3


@pytest.mark.programs
def test_the_whole_library_touches_no_memory_that_is_not_its_own(
    build: Callable[..., Path], scenarios: Scenarios
) -> None:
    library = _sanitized(build, "address,undefined")
    runtime = run_program(["gcc", "-print-file-name=libasan.so"]).strip()
    seen = scenarios(
        *EVERYWHERE,
        TRACKER_LIBRARY=library,
        LD_PRELOAD=runtime,
        ASAN_OPTIONS="detect_leaks=0",
        NOT_HOOKED="1",
    )
    assert seen["python_objects"][1] == [[0, 0]] * 3
    assert seen["python_threads"] == 0


@pytest.mark.programs
def test_owners_are_found_and_no_object_is_read_beyond_its_end(build: Callable[..., Path]) -> None:
    driver = build(
        "owners",
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{NATIVE}",
        str(HERE / "native" / "owners_driver.c"),
        str(NATIVE / "owners.c"),
    )
    assert run_program([str(driver)]) == "as expected\n"


@pytest.mark.programs
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "how", variants(["-pie", "-no-pie", "-Wl,-z,now", "-Wl,-z,lazy"], quick=["-Wl,-z,lazy"])
)
def test_a_program_without_python_is_exact(
    build: Callable[..., Path], compiler: str, how: str
) -> None:
    assert _program(build, compiler, how, ()) == "exact\n"


@pytest.mark.programs
@pytest.mark.parametrize("how", variants(["-pie", "-no-pie", "-Wl,-z,now"], quick=["-pie"]))
def test_a_program_under_musl_is_exact(build: Callable[..., Path], how: str) -> None:
    if shutil.which("musl-gcc") is None:
        pytest.skip("there is no compiler for musl here")
    assert _program(build, "musl-gcc", how, ()) == "exact\n"


@pytest.mark.slow
@pytest.mark.programs
def test_aarch64_is_exact(build: Callable[..., Path]) -> None:
    if shutil.which("qemu-aarch64") is None or shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("there is no compiler and emulator for aarch64 here")
    emulator = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
    assert _program(build, "aarch64-linux-gnu-gcc", "-pie", emulator) == "exact\n"


def _program(build: Callable[..., Path], compiler: str, how: str, emulator: tuple[str, ...]) -> str:
    """The tracker built by a compiler, used by a program that was linked in some way."""
    sources = [str(path) for path in sorted(NATIVE.glob("*.c"))]
    name = f"{compiler}{how.replace(',', '_')}"
    tracker = build(f"tracker_{name}.so", *FLAGS, *sources, "-ldl", "-pthread", compiler=compiler)
    library = build(
        f"library_{name}.so",
        "-shared",
        "-fPIC",
        "-O0",
        str(HERE / "native" / "library.c"),
        "-pthread",
        compiler=compiler,
    )
    source = str(HERE / "native" / "program.c")
    position = "-fPIE" if how == "-pie" else "-fno-pie" if how == "-no-pie" else "-fPIC"
    program = build(
        f"program_{name}",
        "-O0",
        "-fno-builtin",
        f"-I{NATIVE}",
        position,
        how,
        source,
        "-ldl",
        compiler=compiler,
    )
    return run_program([*emulator, str(program), str(tracker), str(library)])


@pytest.mark.programs
def test_the_library_needs_nothing_of_python_and_exports_only_its_functions(
    tracker_library: Path,
) -> None:
    if shutil.which("nm") is None:
        missing("nm is not installed")
    symbols = run_program(["nm", "-D", str(tracker_library)]).splitlines()
    undefined = {line.split()[-1] for line in symbols if " U " in line}
    exported = {line.split()[-1] for line in symbols if " T " in line}
    assert not [name for name in undefined if name.startswith(("Py", "_Py"))]
    assert exported
    assert all(name.startswith("tracker_") for name in exported)
