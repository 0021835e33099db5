"""valgrind's memcheck: how to start it so that its answer can be trusted, and how to read it."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.core.programs import Launch, Report, RunStatus, Target
from pytest_leakguard.programs import binary, launchers
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import CLEAN, Canaries, find_versioned, version_of
from pytest_leakguard.programs.tools import valgrind_text, valgrind_xml
from pytest_leakguard.programs.tools.base import Backend, Trial, incomplete, root_is_missing

_OPTIONS = (
    "--tool=memcheck",
    "--xml=yes",
    "--leak-check=full",
    "--show-leak-kinds=all",
    "--leak-resolution=high",
    "--num-callers=40",
    "--keep-debuginfo=yes",  # names for code of libraries that were closed again
    "--undef-value-errors=no",  # only leaks are asked for; a fifth faster
    "--child-silent-after-fork=no",
    "--vgdb=no",  # no pipes left in the temporary directory when a run is killed
)
_OWN_LINE = re.compile(
    rb"==\d{1,10}== (?:HEAP SUMMARY:|LEAK SUMMARY:|ERROR SUMMARY: |All heap blocks were freed"
    rb"| *[\d,]{1,25} [^\n]{0,80}blocks are (?:definitely|indirectly|possibly|still) "
    rb"|\w{3,20}, an? [a-z -]{3,60}\n)"
    rb"|</valgrindoutput>|<kind>Leak_|<leakedbytes>"
    rb"|^valgrind: ",
    re.MULTILINE,
)
"""What only valgrind writes, wherever in a line it stands."""
_STOP_S = 10.0
"""Seconds after each signal that stops a run; valgrind's leak check at the end needs several."""
_SYNONYMS = "--soname-synonyms="
"""The option that tells valgrind where else to look for malloc; NONE is the program itself."""
_FIRST_WITH_TOTALS = (3, 26)
"""The release whose XML (protocol 6) has a leak summary; see docs/internals in its sources."""
_CAVEAT = (
    "XML protocol 4, without totals: programs with an allocator of their own inside (static "
    "jemalloc or tcmalloc) need valgrind 3.26 or newer, or "
    "--tool-arg=--soname-synonyms=somalloc=NONE"
)

_UNREADABLE = b"Valgrind: debuginfo reader: Possibly corrupted debuginfo file"
_NO_DEBUG_INFORMATION = (
    "this valgrind cannot read the program's debug information and gave up: build it without "
    "-gsplit-dwarf (or with -gdwarf-4), or use a newer valgrind"
)


class Valgrind(Backend):
    """Runs any dynamically linked program; sees every kind of leak; 20 to 60 times slower."""

    name = "valgrind"
    artifacts = "vg.*.xml"
    how_to_get = (
        "valgrind is not installed: `apt-get install valgrind` (dnf, pacman, brew likewise)"
    )
    is_system_package = True

    def is_present(self) -> bool:
        """Whether valgrind is on ``PATH``."""
        return shutil.which(self.name) is not None

    def suits(self, program: Binary) -> str:
        """Every program; better tools for some are asked before it."""
        return "a Python program" if program.is_python else "no sanitizer runtime in the binary"

    def refuses(self, target: Target) -> str:
        """A sanitizer's runtime wants the allocator as well; another allocator may be hidden."""
        program = binary.inspect(target.argv[0], target.cwd)
        inner = launchers.sanitized(target.argv, target.cwd)
        if program.sanitizer or inner:
            name = inner.path if inner else target.argv[0]
            return (
                f"{name} is built with a sanitizer, which does not work under valgrind; "
                'use tool="sanitizer"'
            )
        return _unseen(target.argv[0], program, target.tool_args)

    def plan(self, target: Target, workdir: Path) -> Launch:
        """memcheck with one XML file per process.

        There must be no --log-file beside it (see ``valgrind_xml``).
        """
        pattern = str(workdir).replace("%", "%%") + "/vg.%p.xml"
        argv = (
            self.name,
            *_OPTIONS,
            f"--xml-file={pattern}",
            f"--trace-children={'yes' if target.follows_children else 'no'}",
            *(f"--suppressions={path}" for path in target.suppressions),
            *target.tool_args,
            *target.argv,
        )
        return Launch(
            argv=argv,
            env=target.env,
            unset=("DEBUGINFOD_URLS",),  # would wait for the network
            cwd=target.cwd,
            timeout_s=target.timeout_s,
            # Also for a program that ignores TERM valgrind writes its report when it dies of SEGV.
            stop_signals=((signal.SIGTERM, _STOP_S), (signal.SIGSEGV, _STOP_S)),
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """XML by its root element, text by its ``==PID==`` lines that no sanitizer writes."""
        if b"<valgrindoutput>" in head or re.search(
            rb"^==\d{1,10}== Memcheck, ", head, re.MULTILINE
        ):
            return True
        if _OWN_LINE.search(head):
            return True
        text = re.search(rb"^==\d{1,10}== ", head, re.MULTILINE) is not None
        return text and re.search(rb"(Leak|Address)Sanitizer", head) is None

    def parse(self, artifact: Path) -> Report:
        """One file, XML or text.

        Raises ``MalformedReport`` when it does not prove a whole leak check.
        """
        with artifact.open("rb") as stream:
            head = stream.read(4096)
        is_text = re.search(rb"^==\d{1,10}== ", head, re.MULTILINE) is not None
        if head.lstrip().startswith(b"<?xml") or (b"<valgrindoutput>" in head and not is_text):
            return valgrind_xml.parse(artifact)
        return valgrind_text.parse(artifact)

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started process and every child of it must have finished a leak check."""
        unreadable = (_NO_DEBUG_INFORMATION,) if _UNREADABLE in status.stderr else ()
        missing = root_is_missing(report, status, "valgrind report")
        return unreadable + missing + incomplete(report.processes)

    def after_run(self, report: Report, target: Target, workdir: Path, status: RunStatus) -> Report:
        """With a problem for each child whose allocations are not seen."""
        if not target.follows_children:
            return report
        programs = set()
        for process in report.processes:
            if process.command and not process.is_fork:
                programs.add(process.command.split(" ", 1)[0])
        unseen: list[str] = []
        for name in sorted(programs - {target.argv[0]}):
            program = binary.inspect(name, target.cwd)
            if program.is_static:
                why = f"{name} is statically linked: no tool can see its allocations"
            else:
                why = _unseen(name, program, target.tool_args)
            if why:
                unseen.append(f"its child {why}")
        return replace(report, problems=(*report.problems, *unseen))

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """A C program, or a Python script that calls malloc where there is no compiler."""
        path = shutil.which(self.name)
        if path is None:
            yield Trial(why="it is not installed", fix="apt-get install valgrind")
            return
        version = version_of(path, "--version").removeprefix("valgrind-")
        caveat = "" if _has_totals(version) else _CAVEAT
        argv = _canary(canaries)
        yield Trial(argv, (*argv, CLEAN), path=path, version=version, caveat=caveat)


def _unseen(name: str, program: Binary, tool_args: tuple[str, ...]) -> str:
    """Why valgrind would not see what ``program`` allocates; empty when it would."""
    if program.path is None or any(arg.startswith(_SYNONYMS) for arg in tool_args):
        return ""
    if "/ld-musl" in program.loader:
        return (
            f"{name} is linked with musl, whose malloc valgrind does not look for: "
            f"give it --tool-arg={_SYNONYMS}somalloc=NONE"
        )
    allocator = binary.own_allocator(program.path)
    if allocator is None or not allocator.is_hidden:
        return ""
    if allocator.function == "malloc":
        return (
            f"{name} has an allocator of its own inside whose malloc is hidden from valgrind: "
            f"give it --tool-arg={_SYNONYMS}somalloc=NONE, or build it without that allocator"
        )
    return (
        f"{name} has an allocator of its own inside ({allocator.function}), whose blocks valgrind "
        "does not see: build it without that allocator for the check (for Rust, without "
        "#[global_allocator])"
    )


def _canary(canaries: Canaries) -> tuple[str, ...]:
    """The command line of a leaking program: compiled where that is possible."""
    for name in ("cc", "gcc", "clang"):
        compiler = find_versioned(name)
        compiled = canaries.compiled(compiler, "canary-plain") if compiler else None
        if compiled:
            return (str(compiled),)
    return sys.executable, str(canaries.ctypes())


def _has_totals(version: str) -> bool:
    """Whether an allocator that valgrind cannot see would show; so where no number is known."""
    number = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    return number is None or (int(number[1]), int(number[2])) >= _FIRST_WITH_TOTALS
