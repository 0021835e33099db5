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
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.canary import CANARY_BYTES, Canaries
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.programs.tools.base import Backend, Trial

_TIMEOUT_S = 60.0
"""Seconds one planted leak may run under its tool; valgrind needs about two on a loaded machine."""


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


def examine() -> tuple[Answer, ...]:
    """One answer per tool and variant, each from a real leak in a real run."""
    answers: list[Answer] = []
    with tempfile.TemporaryDirectory(prefix="leakguard-doctor-") as name:
        canaries = Canaries(Path(name))
        for backend in BACKENDS.values():
            for trial in backend.trials(canaries):
                sees_leaks, why, fix = _outcome(backend, trial)
                answers.append(
                    Answer(
                        backend.name,
                        trial.variant,
                        trial.path,
                        trial.version,
                        sees_leaks,
                        why,
                        fix,
                    )
                )
    return tuple(answers)


def render(answers: tuple[Answer, ...]) -> Iterator[str]:
    """The answers as lines for a terminal, then what of the machine bears on them."""
    for answer in answers:
        label = f"{answer.tool} {answer.variant}".strip()
        found = f"{answer.version} ({answer.path})" if answer.path else "not found"
        yield f"{label}: {found}"
        yield f"    sees leaks: {'yes' if answer.sees_leaks else 'NO'}: {answer.why}"
        if answer.fix:
            yield f"    fix: {answer.fix}"
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield (
        "    statically linked programs cannot be checked by any tool; "
        "`pytest-leakguard run` says so for each"
    )


def as_json(answers: tuple[Answer, ...]) -> str:
    """The answers as JSON text."""
    return json.dumps([asdict(answer) for answer in answers], indent=2) + "\n"


def _outcome(backend: Backend, trial: Trial) -> tuple[bool, str, str]:
    """Whether the tool sees leaks, why, and what helps.

    Only a finding of at least the planted size counts.
    """
    if not trial.argv:
        return False, trial.why, trial.fix
    target = Target(trial.argv, timeout_s=_TIMEOUT_S)
    check = check_program(target, Settings(missing_tool="fail"), "canary", backend.name)
    found = [finding for finding in check.findings if finding.size_bytes >= CANARY_BYTES]
    if check.problems or not found:
        why = "; ".join(check.problems) or "it ran and did not report the planted leak"
        return False, why, backend.advice(why)
    why = f"found a planted leak of {found[0].size_bytes:,} bytes"
    functions = {frame.function for finding in found for frame in finding.stack}
    fix = ""
    if "plant_canary" in functions:
        why += " in plant_canary"
    else:
        why += ", but without function names"
        fix = trial.how_to_get_names
    if blame := _blame(backend, trial):
        why += f", but does not pass a program without leaks: {blame}"
        return False, why, backend.advice(blame)
    if trial.caveat:
        why += f"; {trial.caveat}"
    return True, why, fix


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
