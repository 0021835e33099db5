"""A small tool in one file: programs write ``lost BYTES FUNCTION`` lines, and ``done`` at the end.

As a plugin (``-p tests.programs.tools.line_tool``) it registers itself and writes golden reports.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import Launch, Process, Report, RunStatus, Target
from pytest_leakguard.programs.canary import CANARY_BYTES, Canaries
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.programs.tools.base import Backend, Trial, incomplete, root_is_missing
from tests import golden_files

GOLDEN = {
    "clean": "lines of 7\ndone\n",
    "leaky": "lines of 7\nlost 40 push\nlost 2 pop\ndone\n",
    "truncated": "lines of 7\nlost 40 push\n",
}


class LineTool(Backend):
    """The program writes its report itself, into the file that ``LINES`` names."""

    name = "lines"
    artifacts = "lines.txt"

    def plan(self, target: Target, workdir: Path) -> Launch:
        """The program as it is, with a place to write to."""
        env = (*target.env, ("LINES", str(workdir / self.artifacts)))
        return Launch(target.argv, env, cwd=target.cwd, timeout_s=target.timeout_s)

    def recognises(self, head: bytes) -> bool:
        """By its first line."""
        return head.startswith(b"lines of ")

    def parse(self, artifact: Path) -> Report:
        """Complete when the last line says so."""
        lines = artifact.read_text(encoding="utf-8", errors="replace").splitlines()
        if not lines or not lines[0].startswith("lines of "):
            raise MalformedReport(f"{artifact}: no pid", Report(self.name))
        pid = int(lines[0].split()[-1])
        leaks = []
        for line in lines:
            if line.startswith("lost "):
                _, size_bytes, function = line.split()
                stack = (Frame(function, "a.c", 3),)
                leaks.append(Leak(LeakKind.DEFINITELY_LOST, int(size_bytes), 1, stack, pid))
        process = Process(pid, is_complete=lines[-1] == "done", reason="no done")
        report = Report(self.name, tuple(leaks), (process,))
        if not process.is_complete:
            raise MalformedReport(f"{artifact}: no done", report)
        return report

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started process has to be done."""
        return root_is_missing(report, status, "lines") + incomplete(report.processes)

    def refuses(self, target: Target) -> str:
        """Arguments, for which it has no place."""
        return "lines takes no tool arguments" if target.tool_args else ""

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """A shell that says what it lost."""
        yield Trial(shell(f"lost {CANARY_BYTES} plant_canary"), path="/bin/sh", version="1")


def shell(*losses: str) -> tuple[str, ...]:
    """A program that writes these lines as its report."""
    lines = "".join(f"{loss}\\n" for loss in (*losses, "done"))
    return ("/bin/sh", "-c", f'printf "lines of $$\\n{lines}" > "$LINES"')


def pytest_configure(config: pytest.Config) -> None:
    """Registers the tool, with golden reports in place of those of the tree."""
    BACKENDS[LineTool.name] = LineTool()
    directory = tempfile.TemporaryDirectory(prefix="lines-")
    config.add_cleanup(directory.cleanup)
    folder = Path(directory.name)
    (folder / LineTool.name).mkdir()
    for name, text in GOLDEN.items():
        (folder / LineTool.name / f"{name}.txt").write_text(text, encoding="utf-8")
    golden_files.GOLDEN = folder
