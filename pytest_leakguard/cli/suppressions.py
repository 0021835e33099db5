"""``pytest-leakguard baseline import`` and ``export``: suppression files of other tools."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from pytest_leakguard.baseline import store, suppressions
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.fingerprint import qualified_name
from pytest_leakguard.core.options import BASELINE_NAME
from pytest_leakguard.programs.symbolize import demangled
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.verdict import CLEAN

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
FORMATS = dict(zip(BACKENDS, (suppressions.as_valgrind, suppressions.as_lsan), strict=False))
"""By the tool that reads them; the others take none."""


def add_commands(actions: Commands) -> None:
    """Both under ``baseline``."""
    reading = actions.add_parser(
        "import", help="print suppression files of valgrind or LSan as ignore in pyproject.toml"
    )
    reading.add_argument("files", nargs="+", type=Path, metavar="FILE")
    reading.set_defaults(action=_import)
    writing = actions.add_parser(
        "export", help="print the accepted leaks as a suppression file of another tool"
    )
    writing.add_argument("format", choices=tuple(FORMATS))
    writing.add_argument("--baseline", default=BASELINE_NAME, type=Path)
    writing.set_defaults(action=_export)


def _import(arguments: argparse.Namespace) -> int:
    print("[tool.leakguard]\nignore = [")
    for path in arguments.files:
        if not path.is_file():
            raise UsageProblem(f"{path}: no such file")
        for rule in map(_readable, suppressions.rules(store.read_text(path), path.name)):
            # JSON's texts and lists are TOML's as well.
            fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in rule.items())
            print(f"    {{ {fields} }},")
    print("]")
    return CLEAN


def _readable(rule: dict[str, object]) -> dict[str, object]:
    """``rule`` with C++ functions as reports name them; valgrind's files have their symbols."""
    calls = rule.get("stack")
    if not isinstance(calls, list):
        return rule
    symbols = {call[4:] for call in calls if call.startswith("fun:_Z") and "*" not in call}
    names = demangled(symbols) if symbols else {}
    return {**rule, "stack": [_renamed(call, names) for call in calls]}


def _renamed(call: str, names: Mapping[str, str]) -> str:
    name = names.get(call.removeprefix("fun:"), "")
    return f"fun:{qualified_name(name)}" if name else call


def _export(arguments: argparse.Namespace) -> int:
    if not arguments.baseline.is_file():
        raise UsageProblem(f"{arguments.baseline}: no such file")
    leaks = store.read_baseline(arguments.baseline).leaks.values()
    sys.stdout.writelines(FORMATS[arguments.format](leaks))
    return CLEAN
