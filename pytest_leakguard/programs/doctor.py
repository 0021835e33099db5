"""Plants a leak through every tool and says which of them saw it on this machine, and what helps.

A tool that gives no answer for a program without leaks is of no use either, so each has to pass
one.

Knows no tool by name: each says itself how it is tried here.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.canary import CANARY_BYTES, Canaries
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.programs.tools.base import Backend, Trial

_TIMEOUT_S = 60.0
"""Seconds one planted leak may run under its tool; valgrind needs about two on a loaded machine."""

_WITHOUT_NAMES = "without function names"


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
    note: str = ""
    """What a user should know of a tool that does see them."""


def examine() -> tuple[Answer, ...]:
    """One answer per tool and variant, each from a real leak in a real run."""
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory(prefix="leakguard-doctor-") as name:
        canaries = Canaries(Path(name))
        for backend in BACKENDS.values():
            for trial in backend.trials(canaries):
                blank = Answer(backend.name, trial.variant, trial.path, trial.version)
                answers.append(_outcome(blank, backend, trial))
    return tuple(answers)


def render(answers: tuple[Answer, ...]) -> Iterator[str]:
    """The answers as lines for a terminal, then what of the machine bears on them."""
    for answer in answers:
        label = f"{answer.tool} {answer.variant} {answer.version}".replace("  ", " ").strip()
        path = f" ({answer.path})" if answer.path else ""
        if answer.sees_leaks:
            yield from row(answer, f"{label} detects leaks{path}")
        elif answer.path:
            yield from row(answer, f"{label} is of no use here{path}: {answer.why}")
        else:
            yield from row(answer, f"{label}: {answer.why}")
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield (
        "    statically linked programs cannot be checked by any tool; "
        "`pytest-leakguard run` says so for each"
    )


def row(answer: Answer, text: str) -> Iterator[str]:
    """One row of doctor: whether it is all right, what should be known, what helps."""
    yield f"{'OK' if answer.sees_leaks else 'NO'}  {text}"
    if answer.note:
        yield f"    note: {answer.note}"
    if answer.fix:
        yield f"    fix: {answer.fix}"


def as_json(answers: tuple[Answer, ...]) -> str:
    """The answers as JSON text."""
    return json.dumps([asdict(answer) for answer in answers], indent=2) + "\n"


def _outcome(blank: Answer, backend: Backend, trial: Trial) -> Answer:
    """Whether the tool sees leaks, why, and what helps.

    Only a finding of at least the planted size counts.
    """
    if not trial.argv:
        return replace(blank, why=trial.why, fix=trial.fix)
    target = Target(trial.argv, timeout_s=_TIMEOUT_S)
    check = check_program(target, Settings(missing_tool="fail"), "canary", backend.name)
    found = [finding for finding in check.findings if finding.size_bytes >= CANARY_BYTES]
    if check.problems or not found:
        why = "; ".join(check.problems) or "it ran and did not report the planted leak"
        return replace(blank, why=why, fix=backend.advice(why))
    why = f"found a planted leak of {found[0].size_bytes:,} bytes"
    functions = {frame.function for finding in found for frame in finding.stack}
    has_names = "plant_canary" in functions
    why += " in plant_canary" if has_names else f", but {_WITHOUT_NAMES}"
    if blame := _blame(backend, trial):
        why += f", but does not pass a program without leaks: {blame}"
        return replace(blank, why=why, fix=backend.advice(blame))
    fix = "" if has_names else trial.how_to_get_names
    note = "; ".join(filter(None, ("" if has_names else _WITHOUT_NAMES, trial.caveat)))
    if trial.caveat:
        why += f"; {trial.caveat}"
    return replace(blank, sees_leaks=True, why=why, fix=fix, note=note)


def _blame(backend: Backend, trial: Trial) -> str:
    """What keeps a program without leaks from being clean; empty when nothing does."""
    if not trial.clean_argv:
        return ""
    target = Target(trial.clean_argv, timeout_s=_TIMEOUT_S)
    check = check_program(target, Settings(missing_tool="fail"), "canary", backend.name)
    if check.problems:
        return "; ".join(check.problems)
    blamed = sum(finding.size_bytes for finding in check.findings if finding.is_gating)
    return f"{blamed:,} bytes are leaked in it" if blamed else ""
