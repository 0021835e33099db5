"""LeakSanitizer, alone or inside AddressSanitizer: how to start it so that it proves its check.

A clean run leaves no report at all, so the plan asks for ``log_threads=1``; see ``sanitizer_log``
for what is written then, and for the hole that stays.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target
from pytest_leakguard.programs import binary, launchers, symbolize
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import CLEAN, Canaries, find_versioned, version_of
from pytest_leakguard.programs.tools import sanitizer_forks, sanitizer_log
from pytest_leakguard.programs.tools.base import Backend, Trial, incomplete, root_is_missing

FRAME_FORMAT = "FRAME\t%n\t%p\t%m\t%o\t%f\t%s\t%l\t%c"
"""Fields by tabs: module and function stay apart, which the default format does not promise."""
LINK_MAP = "ld"
"""Prefix of the loader's own log, which tells where libraries were that are closed by now."""

_OWN_END = (
    "abort_on_error=1:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"
)
"""A program that crashes ends by its own signal, one with a memory error by SIGABRT, never with
status 0."""
MOST_RANDOM_BITS = 28
"""Bits of address randomisation that runtimes before gcc 13 and clang 17 bear.

Newer kernels draw 32.
"""
_RUNTIME_LIBRARIES = (b"file=libasan.so", b"file=liblsan.so", b"libclang_rt.", b"has a leak check")
"""As the loader names them, or as our own list says of a runtime wherever it is."""
_SECOND_RUNTIME = b"libubsan.so"
"""In a program that is linked to it: gcc's, since clang has one runtime for both."""
_RUNTIME_PACKAGES = {
    "gcc": "apt-get install libasan8 liblsan0 gcc",
    "clang": "apt-get install libclang-rt-dev",
}
_NAMES = "apt-get install llvm (for llvm-symbolizer), or binutils (for addr2line)"
_RUNTIME = re.compile(
    rb"(Leak|Address)Sanitizer(:| has | can | failed |\x1b)|^[ \t]*Suppressions used:[ \t]*$"
    rb"|==\d{1,10}==(Leak|Address)Sanitizer"
    rb"|(Direct|Indirect) leak of \d{1,19} byte"
    rb"|^==\d{1,10}==(Processing|Running) thread "
    rb"|^ERROR: Can't open file: .* \(reason: ",
    re.MULTILINE,
)
"""What only a sanitizer's runtime writes, with or without a leak."""
_SILENT = (
    "an instrumented child that left no proof of a leak check (killed, _exit, or its log was lost)"
)

_SILENT_FORK = (
    "a forked child that left no proof of a leak check (a signal ended it, or its log was lost); "
    "--no-follow-children leaves children out"
)


class Sanitizer(Backend):
    """Programs built with ``-fsanitize=address`` or ``=leak``.

    They run at half the speed. Sees lost memory only.
    """

    name = "sanitizer"
    artifacts = "san.*"
    is_linked_by_addresses = True

    def suits(self, program: Binary) -> str:
        """Programs with a runtime inside."""
        return f"built with -fsanitize={program.sanitizer}" if program.sanitizer else ""

    def refuses(self, target: Target) -> str:
        """Programs without a runtime, and what its options have no place for."""
        program = binary.inspect(target.argv[0], target.cwd)
        is_preloaded = "LD_PRELOAD" in dict(target.env)
        inner = launchers.sanitized(target.argv, target.cwd)
        is_plain = program.is_elf and not program.sanitizer and inner is None
        if is_plain and not is_preloaded:
            return (
                f"{target.argv[0]} has no sanitizer inside; build it with -fsanitize=address "
                "or -fsanitize=leak"
            )
        if program.path and program.sanitizer and (inside := binary.own_allocator(program.path)):
            return (
                f"{target.argv[0]} has an allocator of its own inside ({inside.function}), whose "
                "blocks the sanitizer's runtime does not see: build it without that allocator "
                '(such as -DUSE_JEMALLOC=OFF), or without the sanitizer for tool="valgrind"'
            )
        if target.tool_args or len(target.suppressions) > 1:
            return "sanitizer takes no tool arguments, and one suppression file"
        return ""

    def prepare(self, target: Target) -> Target:
        """With the caller's sanitizer options, and a symbolizer for clang's runtime."""
        given = dict(target.env)
        for name in ("ASAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                given.setdefault(name, os.environ[name])
        symbolizer = find_versioned("llvm-symbolizer")
        if symbolizer is not None and "ASAN_SYMBOLIZER_PATH" not in os.environ:
            given.setdefault("ASAN_SYMBOLIZER_PATH", symbolizer)
            given.setdefault("LSAN_SYMBOLIZER_PATH", symbolizer)
        return replace(target, env=tuple(sanitizer_forks.with_library(given).items()))

    def plan(self, target: Target, workdir: Path) -> Launch:
        """The program as it is; everything is asked of the runtime through its options."""
        given = dict(target.env)
        suppressions = "".join(f':suppressions="{path}"' for path in target.suppressions[:1])
        common = (
            f'log_path="{workdir / "san"}":fast_unwind_on_malloc=0:malloc_context_size=40'
            f':color=never:symbolize=1:stack_trace_format="{FRAME_FORMAT}":{_OWN_END}'
            ":verify_asan_link_order=0"  # our library may come before the runtime
        )
        # The leak check must not replace the program's own exit status; the log is the judge.
        given["LSAN_OPTIONS"] = _joined(
            given.get("LSAN_OPTIONS"),
            f"{common}:detect_leaks=1:log_threads=1:exitcode=0{suppressions}",
        )
        given["ASAN_OPTIONS"] = _joined(
            given.get("ASAN_OPTIONS"), f"{common}:detect_leaks=1:leak_check_at_exit=1"
        )
        if _has_second_runtime(target):
            given["UBSAN_OPTIONS"] = _joined(
                given.get("UBSAN_OPTIONS", os.environ.get("UBSAN_OPTIONS")),
                f'log_path="{workdir / "san"}"',
            )
        given[sanitizer_forks.PLACE] = str(workdir / sanitizer_forks.NOTES)
        if sanitizer_forks.has_library(given):
            given[sanitizer_forks.LIST] = str(workdir / LINK_MAP)
        else:
            given["LD_DEBUG"], given["LD_DEBUG_OUTPUT"] = "files", str(workdir / LINK_MAP)
        return Launch(
            argv=target.argv,
            env=tuple(given.items()),
            cwd=target.cwd,
            timeout_s=target.timeout_s,
            stop_signals=((signal.SIGTERM, 5.0),),
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """By the runtime's name in its own lines."""
        return _RUNTIME.search(head) is not None

    def parse(self, artifact: Path) -> Report:
        """One log; raises ``MalformedReport`` unless it shows a leak check from start to end."""
        return sanitizer_log.parse(artifact)

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started process must have left the proof of a check, and no process a broken one."""
        reasons = root_is_missing(report, status, _absent(status)) + incomplete(report.processes)
        if not reasons and (status.signal is not None or status.timed_out):
            reasons = (
                f"process {status.pid} was killed: nothing shows that the leak check at its end "
                "was made",
            )
        text = status.stderr.decode("utf-8", "backslashreplace")
        return reasons + sanitizer_log.failures_in(text)

    def after_run(self, report: Report, target: Target, workdir: Path, status: RunStatus) -> Report:
        """With names for calls into closed libraries, and with the children that reported nothing.

        There is a list of libraries for each program that is started, so a process without one is
        a forked child.
        """
        logs: dict[int, Path] = {}
        mappings: list[symbolize.Mapping] = []
        for path in workdir.glob(f"{LINK_MAP}.*"):
            if path.suffix[1:].isdecimal():
                logs[int(path.suffix[1:])] = path
                mappings.extend(symbolize.read_link_map(path))
        processes = [
            replace(process, is_fork=bool(logs) and process.pid not in logs)
            for process in report.processes
        ]
        is_launched = launchers.is_launcher(target.argv, target.cwd) and bool(processes)
        if is_launched and all(process.pid != status.pid for process in processes):
            # The launcher itself has no runtime; those of its children that do are all here.
            processes.insert(0, Process(status.pid, command=target.argv[0]))
        reported = {status.pid, *(process.pid for process in processes)}
        for pid in sorted(logs.keys() - reported):
            if _is_instrumented(logs[pid]):
                processes.append(Process(pid, is_complete=False, reason=_SILENT))
        for pid in sorted(sanitizer_forks.forked(workdir) - logs.keys() - reported):
            processes.append(
                Process(pid, status.pid, is_fork=True, is_complete=False, reason=_SILENT_FORK)
            )
        resolved = symbolize.resolve(report, mappings, target.cwd)
        resolved = symbolize.qualify(resolved, target.cwd)
        notes = (
            report.notes if sanitizer_forks.library() else (*report.notes, sanitizer_forks.MISSED)
        )
        return replace(resolved, processes=tuple(processes), notes=notes)

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """Both runtimes of each compiler."""
        compilers = {name: find_versioned(name) for name in ("gcc", "clang")}
        if not any(compilers.values()):
            yield Trial(why="no C compiler to build a canary with", fix="apt-get install gcc")
        for name, path in compilers.items():
            if path is not None:
                yield from _trials_of_compiler(name, path, canaries)

    def advice(self, problem: str) -> str:
        """What helps where the runtime could not start or could not make its check."""
        if "ptrace" in problem:
            return (
                "docker run --cap-add SYS_PTRACE ...; sysctl -w kernel.yama.ptrace_scope=0; "
                "no debugger around it"
            )
        may_be_layout = any(
            mark in problem for mark in ("crash", "address layout", "left no proof")
        )
        if may_be_layout and _random_bits() > MOST_RANDOM_BITS:
            return (
                "sysctl -w vm.mmap_rnd_bits=28, or a compiler newer than gcc 12 / clang 16, "
                "or run under `setarch -R`"
            )
        if "left no" in problem:
            return (
                "run the canary by hand with ASAN_OPTIONS=verbosity=1 and read what stops "
                "the runtime"
            )
        return ""


def _trials_of_compiler(name: str, path: str, canaries: Canaries) -> Iterator[Trial]:
    version = version_of(path, "-dumpversion")
    for flag in ("address", "leak"):
        variant = f"({name} -fsanitize={flag})"
        canary = canaries.compiled(path, f"canary-{name}-{flag}", f"-fsanitize={flag}")
        if canary is None:
            yield Trial(
                variant=variant,
                path=path,
                version=version,
                why="the runtime is not installed",
                fix=_RUNTIME_PACKAGES[name],
            )
        else:
            argv, clean_argv = (str(canary),), (str(canary), CLEAN)
            yield Trial(argv, clean_argv, variant, path, version, how_to_get_names=_NAMES)


def _random_bits() -> int:
    """How many bits of an address Linux draws at random; 0 where it does not say."""
    try:
        return int(Path("/proc/sys/vm/mmap_rnd_bits").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _is_instrumented(loader_log: Path) -> bool:
    """Whether the program that wrote this log had a sanitizer's runtime loaded."""
    content = loader_log.read_bytes()
    return any(mark in content for mark in _RUNTIME_LIBRARIES)


def _has_second_runtime(target: Target) -> bool:
    """Whether gcc has linked the library of ``-fsanitize=undefined`` beside the other runtime.

    It begins last, and sets the place of all reports back to standard error unless it is told.
    """
    inner = launchers.sanitized(target.argv, target.cwd)
    path = (inner or binary.inspect(target.argv[0], target.cwd)).path
    return path is not None and _SECOND_RUNTIME in Path(path).read_bytes()


def _absent(status: RunStatus) -> str:
    if status.signal is not None or status.timed_out:
        return "proof of a leak check (LeakSanitizer makes none in a program that is killed)"
    return (
        "proof of a leak check (LeakSanitizer makes none after _exit, quick_exit or abort, nor in "
        "a program that was not built with -fsanitize=address or =leak, or is static)"
    )


def _joined(given: str | None, ours: str) -> str:
    return f"{given}:{ours}" if given else ours
