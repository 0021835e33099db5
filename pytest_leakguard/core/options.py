"""Every option, declared once: command line, ini, marker, help and docs read this.

Imports next to nothing, since the plugin imports it in every run of pytest.
"""

from __future__ import annotations

from typing import NamedTuple

BASELINE_NAME = "leakguard-baseline.toml"
TOOLS = ("auto", "valgrind", "sanitizer", "memray")


class Option(NamedTuple):
    """One option in all its places."""

    name: str
    """Without ``--leakguard-``; the ini name has underscores for dashes."""
    help: str
    kind: str = "text"
    """What ``options`` reads it as: text, flag, size, kinds, seconds."""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    in_marker: str = ""
    """Keyword of ``@pytest.mark.leakguard`` that sets it for one test."""

    @property
    def is_flag(self) -> bool:
        """Whether it stands on the command line without a value."""
        return self.kind == "flag"

    @property
    def flag(self) -> str:
        """As written on the command line."""
        return f"--leakguard-{self.name}" if self.name else "--leakguard"

    @property
    def ini(self) -> str:
        """As written in the ini file."""
        return f"leakguard_{self.name.replace('-', '_')}" if self.name else "leakguard"


OPTIONS = (
    Option("", "look for leaks; without it the plugin does nothing", "flag"),
    Option("scope", "which tests are screened (default: all)", choices=("all", "marked")),
    Option(
        "tool",
        "tool for programs (default: auto)",
        choices=TOOLS,
        in_marker="tool",
    ),
    Option(
        "baseline",
        f"accepted leaks (default: {BASELINE_NAME} beside the ini file), or a run's report.json",
        metavar="PATH",
    ),
    Option(
        "accept",
        "write the leaks of this run into the baseline, with this reason; refused in CI",
        metavar="REASON",
    ),
    Option("prune", "remove the accepted leaks that are gone; refused in CI", "flag"),
    Option(
        "report",
        "write report.json, report.html, junit.xml, report.sarif, summary.md and more into this "
        "directory",
        metavar="DIR",
    ),
    Option(
        "budget",
        "growth per iteration that is not yet a leak (default 0)",
        "size",
        "SIZE",
        in_marker="budget",
    ),
    Option(
        "native",
        "whether native memory is tracked in tests (default: auto); off leaves the calls of malloc "
        "and mmap alone",
        choices=("auto", "off"),
    ),
    Option(
        "missing-tool",
        "when a tool is not installed (default: skip, in CI fail)",
        choices=("skip", "fail"),
    ),
    Option(
        "strict", "fixed or expired baseline entries and unrepeatable tests fail the run", "flag"
    ),
    Option(
        "kinds",
        "leak kinds that fail a check, comma-separated, or all (default: all but still_reachable)",
        "kinds",
        "KINDS",
        in_marker="kinds",
    ),
    Option(
        "errors",
        "memory errors in a tool's report, such as an invalid read (default: fail)",
        choices=("fail", "report"),
        in_marker="errors",
    ),
    Option(
        "confirm",
        "seconds one suspect test may be repeated for a verdict (default 10)",
        "seconds",
        "SECONDS",
        in_marker="confirm",
    ),
    Option(
        "timeout",
        "seconds a program may run under a tool (default 300)",
        "seconds",
        "SECONDS",
        in_marker="timeout",
    ),
)
