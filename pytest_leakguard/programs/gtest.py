"""The cases inside a GoogleTest program, as ``--gtest_list_tests`` prints them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.programs import Target
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs import binary
from pytest_leakguard.programs.cases import Case

_LIST_TIMEOUT_S = 60.0
"""Seconds a test program may take to list its cases; it runs none of them."""
_DISABLED = "DISABLED_"


def read_cases(
    program: str, timeout_s: float, filter_text: str = "", cwd: Path | None = None
) -> tuple[Case, ...]:
    """The cases of ``program``; ``filter_text`` is GoogleTest's own, such as ``Codec.*``.

    Raises ``UsageProblem`` for what is no GoogleTest program, or has no case.
    """
    path = binary.find(program, cwd)
    if path is None:
        raise UsageProblem(f"{program}: no such program; build it first")
    path = path.absolute()
    argv = [str(path), "--gtest_list_tests"]
    if filter_text:
        argv.append(f"--gtest_filter={filter_text}")
    # What the program loses while it lists says nothing, and must not fail the listing.
    quiet = {"ASAN_OPTIONS": "detect_leaks=0", "LSAN_OPTIONS": "detect_leaks=0"}
    env = {**os.environ, **quiet}
    code, out, _ = supervisor.capture(argv, _LIST_TIMEOUT_S, env)
    names = list(_names(out.decode("utf-8", "replace")))
    if code != 0 or not names:
        chosen = f" that {filter_text!r} chooses" if filter_text else ""
        raise UsageProblem(
            f"{program}: --gtest_list_tests shows no case{chosen} (exit status {code}); "
            "is it a GoogleTest program?"
        )
    return tuple(_case(name, path, timeout_s, cwd) for name in names)


def _names(text: str) -> Iterator[str]:
    """``Suite.Case`` of each line; a suite stands at the margin, its cases are indented."""
    suite = ""
    for line in text.splitlines():
        name = line.partition("#")[0].rstrip()  # a comment tells types and parameters
        if not name.strip():
            continue
        if not name.startswith(" "):
            suite = name if name.endswith(".") and " " not in name else ""
        elif suite:
            yield suite + name.strip()


def _case(name: str, path: Path, timeout_s: float, cwd: Path | None) -> Case:
    if any(part.startswith(_DISABLED) for part in name.replace("/", ".").split(".")):
        return Case(name, skipped="disabled in GoogleTest")
    return Case(name, Target((str(path), f"--gtest_filter={name}"), cwd=cwd, timeout_s=timeout_s))
