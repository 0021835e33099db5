"""The end of a run: tells the verdict, and tells GitHub Actions where it listens."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_leakguard.reporters import terminal
from pytest_leakguard.verdict import Run, Verdict

HOW_TO_ACCEPT = "pytest --leakguard --leakguard-accept"


_COLOURS = {"red": "\x1b[31m", "yellow": "\x1b[33m", "green": "\x1b[32m", "": ""}


def tell(
    verdict: Verdict,
    run: Run,
    verbosity: int,
    also: Iterable[str] = (),
    how_to_accept: str = HOW_TO_ACCEPT,
) -> None:
    """The verdict on standard output, in colour where that is a terminal."""
    in_colour = (
        sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    )
    lines = list(terminal.render(verdict, run.policy, run.root, verbosity, how_to_accept))
    for line in (*lines, *map(terminal.Line, also)):
        colour = _COLOURS[line.colour] if in_colour else ""
        print(f"{colour}{line.text}\x1b[0m" if colour else line.text)


def is_github(environment: Mapping[str, str]) -> bool:
    """Whether this process is a step of a GitHub Actions job."""
    return environment.get("GITHUB_ACTIONS") == "true"


def add_job_summary(
    verdict: Verdict, run: Run, environment: Mapping[str, str] = os.environ
) -> None:
    """Appends ``summary.md`` to the job summary, within what GitHub takes of a step. Raises ``OSError``."""
    name = environment.get("GITHUB_STEP_SUMMARY", "")
    if not is_github(environment) or not name:
        return
    from pytest_leakguard.reporters import markdown

    path = Path(name)
    taken = path.stat().st_size if path.exists() else 0
    room = markdown.MOST_BYTES - taken
    if room < markdown.LEAST_BYTES:
        return  # more would make GitHub drop what others wrote there too
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
        stream.write(markdown.render(verdict, run, room))


def repository_of(root: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The repository that ``root`` lies in; ``root`` itself where none is to be seen."""
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"):
        given = environment.get(name)
        if given and root.resolve().is_relative_to(Path(given).resolve()):
            return Path(given).resolve()
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def relative_to(path: Path, folder: Path) -> str:
    """``path`` as seen from ``folder``, with slashes; empty when it is not an existing file inside."""
    if not path.is_file() or not path.resolve().is_relative_to(folder):
        return ""
    return path.resolve().relative_to(folder).as_posix()
