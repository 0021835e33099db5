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
    def placeholder(self) -> str:
        """What stands for the value in help: ``PATH``, ``{skip,fail}``."""
        return self.metavar or f"{{{','.join(self.choices)}}}"

    @property
    def flag(self) -> str:
        """As written on the command line."""
        return f"--leakguard-{self.name}" if self.name else "--leakguard"

    @property
    def ini(self) -> str:
        """As written in the ini file."""
        return f"leakguard_{self.name.replace('-', '_')}" if self.name else "leakguard"


OPTIONS = (
    Option("", "check for leaks; without it the plugin does nothing", "flag"),
    Option("scope", "which tests are screened (default: all)", choices=("all", "marked")),
    Option(
        "tool",
        "tool for programs (default: auto)",
        choices=TOOLS,
        in_marker="tool",
    ),
    Option(
        "baseline",
        f"file with accepted leaks (default: {BASELINE_NAME} beside the ini file), "
        "or the report.json of another run",
        metavar="PATH",
    ),
    Option(
        "accept",
        "add the leaks of this run to the baseline, with this reason; refused in CI",
        metavar="REASON",
    ),
    Option(
        "prune",
        "remove accepted leaks that no longer occur from the baseline; refused in CI",
        "flag",
    ),
    Option(
        "report",
        "write report.json, report.html, junit.xml, report.sarif, summary.md and more into this "
        "directory",
        metavar="DIR",
    ),
    Option(
        "budget",
        "allowed growth per run; less is not reported (default 0)",
        "size",
        "SIZE",
        in_marker="budget",
    ),
    Option(
        "native",
        "track native memory in tests (default: auto); off leaves malloc and mmap untouched",
        choices=("auto", "off"),
    ),
    Option(
        "missing-tool",
        "what to do when a required tool is missing (default: skip, in CI fail)",
        choices=("skip", "fail"),
    ),
    Option(
        "strict",
        "also fail on stale or expired baseline entries and on tests that cannot be re-run",
        "flag",
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
        "memory errors in a tool's report: fail, or only report them (default: fail)",
        choices=("fail", "report"),
        in_marker="errors",
    ),
    Option(
        "confirm",
        "seconds that one suspected test may be repeated (default 10)",
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
