"""doctor's rows on what is private to CPython, pytest and its plugins, and still where we look."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from pytest_leakguard.core.probes import Probe, problems
from pytest_leakguard.counters import _cpython
from pytest_leakguard.programs.doctor import Answer, row

_FIX = (
    "pip install --upgrade pytest-leakguard, or report it; "
    "the counts of tests cannot be relied on until then"
)


def examine() -> tuple[Answer, ...]:
    """One row for the interpreter, and where pytest is there one for it and one for its plugins."""
    interpreter = f"of {platform.python_implementation()}"
    rows = [_row(interpreter, _cpython.__file__, platform.python_version(), _cpython.probes())]
    if find_spec("pytest") is not None:
        from pytest_leakguard.pytest_integration import _other_plugins, _pytest_probes

        of_pytest = _pytest_probes.probes()
        rows.append(_row("of pytest", _file_of("pytest"), version("pytest"), of_pytest))
        of_plugins = _other_plugins.probes()
        if of_plugins:
            packages = dict.fromkeys(probe.name.split(" ")[0].split(".")[0] for probe in of_plugins)
            names = ", ".join(packages)
            rows.append(_row("of other plugins", _file_of("pytest"), names, of_plugins))
    return tuple(rows)


def render(answers: Iterable[Answer]) -> Iterator[str]:
    """The rows as lines for a terminal."""
    for answer in answers:
        yield from row(answer, f"{answer.tool} {answer.variant} {answer.version}: {answer.why}")


def _row(variant: str, path: str, release: str, probes: Iterable[Probe]) -> Answer:
    probes = tuple(probes)
    missing = tuple(problems(probes))
    if missing:
        why = "; ".join(missing)
        return Answer("private names", variant, path, release, False, why, _FIX)
    return Answer("private names", variant, path, release, True, f"all {len(probes)} found")


def _file_of(package: str) -> str:
    spec = find_spec(package)
    origin = spec.origin if spec is not None else None
    return str(Path(origin).parent) if origin else ""
