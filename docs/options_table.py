"""Writes the table of ``options.md`` from ``pytest_leakguard.core.options``.

That module is the one place where options are declared. ``python docs/options_table.py`` writes the
table, ``python docs/options_table.py --check`` says whether that is needed.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

from made_page import MadePage

from pytest_leakguard.cli import main as cli
from pytest_leakguard.core.options import OPTIONS, Option

PAGE = Path(__file__).with_name("options.md")
BEGIN, END = "<!-- made by docs/options_table.py -->\n\n", "\n<!-- end -->\n"
HEAD = (
    "| command line of `pytest` | ini value | marker keyword "
    "| `pytest-leakguard run` | `pytest-leakguard check` "
    "| values | meaning |\n|---|---|---|---|---|---|---|\n"
)
_VALUES = {"flag": "flag", "size": "size", "seconds": "seconds", "kinds": "list of kinds, or `all`"}
_METAVARS = {"PATH": "path", "DIR": "directory", "REASON": "reason"}


def table() -> str:
    """The table as Markdown."""
    return HEAD + "".join(_row(option) for option in OPTIONS)


def _row(option: Option) -> str:
    values = (
        ", ".join(f"`{one}`" for one in option.choices)
        or _VALUES.get(option.kind)
        or _METAVARS[option.metavar]
    )
    marker = f"`{option.in_marker}`" if option.in_marker else "-"
    places = (
        f"`{option.flag}`",
        f"`{option.ini}`",
        marker,
        _in_console(option, "run"),
        _in_console(option, "check"),
    )
    return f"| {' | '.join((*places, values, _marked_up(option.help)))} |\n"


def _in_console(option: Option, command: str) -> str:
    """The option of the console script, when its command takes it."""
    flag = f"--{option.name}"
    value = [] if option.is_flag else [option.choices[0] if option.choices else "1"]
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            cli._parser().parse_args([command, flag, *value, "some.file"])
        except SystemExit:
            return "-"
    return f"`{flag}`" if option.name else "-"


def _marked_up(text: str) -> str:
    """Names of files and of kinds as code."""
    return re.sub(
        r"\b(leakguard-baseline\.toml|[\w-]+\.(?:json|xml|html|sarif|md)|[a-z]+_[a-z]+)\b",
        r"`\1`",
        text,
    )


PAGE_OF_DOCS = MadePage(PAGE, BEGIN, END, table, "docs/options_table.py")


if __name__ == "__main__":
    sys.exit(PAGE_OF_DOCS.main())
