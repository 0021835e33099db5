"""valgrind's memcheck: how to start it so that its answer can be trusted, and how to read it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from pytest_leakguard.core.programs import Launch, Report, RunStatus, Target
from pytest_leakguard.programs.tools import valgrind_text, valgrind_xml
from pytest_leakguard.programs.tools.base import incomplete, root_is_missing

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


class Valgrind:
    """Runs any dynamically linked program; sees every kind of leak; 20 to 60 times slower."""

    name = "valgrind"
    executable = "valgrind"
    artifacts = "vg.*.xml"

    def plan(self, target: Target, workdir: Path) -> Launch:
        """memcheck with one XML file per process; there must be no --log-file beside it (see ``valgrind_xml``)."""
        pattern = str(workdir).replace("%", "%%") + "/vg.%p.xml"
        argv = (
            self.executable,
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
            # A program that ignores TERM still makes valgrind write its report when it dies of SEGV.
            stop_signals=((signal.SIGTERM, 10.0), (signal.SIGSEGV, 10.0)),
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """XML by its root element, text by its ``==PID==`` lines that no sanitizer writes."""
        if b"<valgrindoutput>" in head or re.search(
            rb"^==\d{1,10}== Memcheck, ", head, re.MULTILINE
        ):
            return True
        text = re.search(rb"^==\d{1,10}== ", head, re.MULTILINE) is not None
        return text and re.search(rb"(Leak|Address)Sanitizer", head) is None

    def parse(self, artifact: Path) -> Report:
        """One file, XML or text; raises ``MalformedReport`` when it does not prove a whole leak check."""
        with artifact.open("rb") as stream:
            head = stream.read(4096)
        if b"<valgrindoutput>" in head or head.lstrip().startswith(b"<?xml"):
            return valgrind_xml.parse(artifact)
        return valgrind_text.parse(artifact)

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started process and every child of it must have finished a leak check."""
        return root_is_missing(report, status, "valgrind report") + incomplete(report.processes)
