"""Plants a leak through every backend and says which of them saw it on this machine, and what to do otherwise."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs import check as pipeline
from pytest_leakguard.programs.tools import BACKENDS

CANARY_BYTES = 4321
_CANARY_C = f"""\
#include <stdlib.h>
static void *volatile planted;
static void __attribute__((noinline)) plant_canary(void) {{ planted = malloc({CANARY_BYTES}); }}
static void __attribute__((noinline)) scrub(void) {{
    volatile char room[4096];
    for (int i = 0; i < 4096; i++) room[i] = 0;
}}
int main(void) {{ plant_canary(); planted = 0; scrub(); return 0; }}
"""
_CANARY_PY = """\
KEPT = []
def plant_canary():
    KEPT.append(bytearray(1000))
for _ in range(200):
    plant_canary()
"""
_CANARY_CTYPES = f"""\
import ctypes
def plant_canary():
    allocate = ctypes.CDLL(None).malloc
    allocate.restype = ctypes.c_void_p
    allocate({CANARY_BYTES})
plant_canary()
"""
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one tool can do here."""

    tool: str
    variant: str = ""
    """Compiler and flag for sanitizers."""
    path: str = ""
    """Empty when the tool was not found."""
    version: str = ""
    sees_leaks: bool = False
    why: str = ""
    fix: str = ""


def examine() -> tuple[Answer, ...]:
    """One answer per backend and variant, each from a real leak in a real run."""
    with tempfile.TemporaryDirectory(prefix="leakguard-doctor-") as name:
        workdir = Path(name)
        (workdir / "canary.c").write_text(_CANARY_C, encoding="utf-8")
        (workdir / "canary.py").write_text(_CANARY_PY, encoding="utf-8")
        (workdir / "canary_ctypes.py").write_text(_CANARY_CTYPES, encoding="utf-8")
        return (_valgrind(workdir), *_sanitizers(workdir), _memray(workdir))


def render(answers: tuple[Answer, ...]) -> Iterator[str]:
    """The answers as lines for a terminal, then what of the machine bears on them."""
    for answer in answers:
        label = f"{answer.tool} {answer.variant}".strip()
        found = f"{answer.version} ({answer.path})" if answer.path else "not found"
        yield f"{label}: {found}"
        yield f"    sees leaks: {'yes' if answer.sees_leaks else 'NO'}: {answer.why}"
        if answer.fix:
            yield f"    fix: {answer.fix}"
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "    statically linked programs cannot be checked by any tool; `pytest-leakguard run` says so for each"


def as_json(answers: tuple[Answer, ...]) -> str:
    """The answers as JSON text."""
    return json.dumps([asdict(answer) for answer in answers], indent=2) + "\n"


def _valgrind(workdir: Path) -> Answer:
    path = shutil.which("valgrind")
    if path is None:
        return Answer("valgrind", why="it is not installed", fix="apt-get install valgrind")
    version = _version([path, "--version"]).removeprefix("valgrind-")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    canary = _compile(compiler, (), workdir, "canary-plain") if compiler else None
    argv = (str(canary),) if canary else (sys.executable, str(workdir / "canary_ctypes.py"))
    answer = _plant("valgrind", "", path, version, Target(argv, timeout_s=_TIMEOUT_S))
    return _with_protocol_advice(answer)


def _with_protocol_advice(answer: Answer) -> Answer:
    """Before 3.26 valgrind's XML has no heap summary, so an allocator it cannot see looks like no leak."""
    digits = answer.version.split(".")
    is_old = len(digits) > 1 and digits[0] == "3" and digits[1].isdecimal() and int(digits[1]) < 26
    if not (answer.sees_leaks and is_old):
        return answer
    why = (
        f"{answer.why}; XML protocol 4, without totals: programs with an allocator of their own inside (static "
        "jemalloc or tcmalloc) need valgrind 3.26 or newer, or --tool-arg=--soname-synonyms=somalloc=NONE"
    )
    return Answer(answer.tool, answer.variant, answer.path, answer.version, True, why)


def _sanitizers(workdir: Path) -> Iterator[Answer]:
    compilers = [(name, path) for name in ("gcc", "clang") if (path := _find_compiler(name))]
    if not compilers:
        yield Answer(
            "sanitizer", why="no C compiler to build a canary with", fix="apt-get install gcc"
        )
    for name, path in compilers:
        version = _version([path, "-dumpversion"])
        for flag in ("address", "leak"):
            variant = f"({name} -fsanitize={flag})"
            canary = _compile(path, (f"-fsanitize={flag}",), workdir, f"canary-{name}-{flag}")
            if canary is None:
                fix = (
                    "apt-get install libclang-rt-dev"
                    if name == "clang"
                    else "apt-get install libasan8 liblsan0 gcc"
                )
                yield Answer(
                    "sanitizer", variant, path, version, False, "the runtime is not installed", fix
                )
                continue
            yield _plant(
                "sanitizer", variant, path, version, Target((str(canary),), timeout_s=_TIMEOUT_S)
            )


def _find_compiler(name: str) -> str | None:
    names = (name, *(f"{name}-{version}" for version in range(22, 10, -1)))
    return next((found for one in names if (found := shutil.which(one))), None)


def _memray(workdir: Path) -> Answer:
    if not pipeline.is_present(BACKENDS["memray"]):
        return Answer(
            "memray", why="it is not installed", fix="pip install 'pytest-leakguard[memray]'"
        )
    from importlib.metadata import version

    target = Target((sys.executable, str(workdir / "canary.py")), timeout_s=_TIMEOUT_S)
    return _plant("memray", "", sys.executable, version("memray"), target)


def _plant(tool: str, variant: str, path: str, version: str, target: Target) -> Answer:
    """Runs the canary under the tool; only a finding of the planted size in the planting function counts."""
    check = pipeline.check_program(target, Settings(missing_tool="fail"), "canary", tool)
    found = [finding for finding in check.findings if finding.size_bytes >= CANARY_BYTES]
    if check.problems or not found:
        why = "; ".join(check.problems) or "it ran and did not report the planted leak"
        return Answer(tool, variant, path, version, False, why, _fix(why))
    named = any(frame.function == "plant_canary" for finding in found for frame in finding.stack)
    why = f"found a planted leak of {found[0].size_bytes:,} bytes"
    if named:
        return Answer(tool, variant, path, version, True, f"{why} in plant_canary")
    fix = (
        "apt-get install llvm (for llvm-symbolizer), or binutils (for addr2line)"
        if tool == "sanitizer"
        else ""
    )
    return Answer(tool, variant, path, version, True, f"{why}, but without function names", fix)


def _fix(why: str) -> str:
    """The command that helps against what was seen."""
    if "ptrace" in why:
        return "docker run --cap-add SYS_PTRACE ...; sysctl -w kernel.yama.ptrace_scope=0; no debugger around it"
    if _random_bits() > 28 and (
        "crash" in why or "address layout" in why or "left no proof" in why
    ):
        return "sysctl -w vm.mmap_rnd_bits=28, or a compiler newer than gcc 12 / clang 16, or run under `setarch -R`"
    if "left no" in why:
        return (
            "run the canary by hand with ASAN_OPTIONS=verbosity=1 and read what stops the runtime"
        )
    return ""


def _random_bits() -> int:
    try:
        return int(Path("/proc/sys/vm/mmap_rnd_bits").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _compile(compiler: str | None, flags: tuple[str, ...], workdir: Path, name: str) -> Path | None:
    if compiler is None:
        return None
    output = workdir / name
    # -O0: optimisers delete allocations that nobody reads
    argv = [compiler, "-g", "-O0", *flags, "-o", str(output), str(workdir / "canary.c")]
    try:
        code, _, _ = supervisor.capture(argv, _TIMEOUT_S)
    except LeakguardError:
        return None
    return output if code == 0 and output.is_file() else None


def _version(argv: list[str]) -> str:
    try:
        _, out, _ = supervisor.capture(argv, 20.0)
    except LeakguardError:
        return "unknown"
    return out.decode("utf-8", "backslashreplace").strip().partition("\n")[0]
