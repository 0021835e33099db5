"""Where a run comes from: project, commit, branch, command and time, for people.

Reads files and variables and starts no program, since git may be missing or slow.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_leakguard.core import clock
from pytest_leakguard.core.text import one_line, shortened, without_secrets

KEYS = ("project", "commit", "branch", "command", "started")
"""In the order in which a page shows them; one that nobody knows is absent."""
_COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
_BRANCHES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BRANCH_NAME")
"""GitHub, GitLab and Jenkins check out a commit, so that the repository itself names no branch."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LONGEST = 300
"""Characters of a value; a command line may name thousands of tests."""
_MOST_BYTES = 4 << 20
"""Of a file that is read for one line; lists of packed branches are smaller."""


def provenance(
    root: Path,
    repository: Path,
    environment: Mapping[str, str] = os.environ,
    arguments: Sequence[str] | None = None,
) -> dict[str, str]:
    """What is known of the run, by the names in ``KEYS``."""
    commit, branch = _head(repository)
    found = {
        "project": _project(root) or repository.resolve().name,
        "commit": _first(environment, _COMMITS) or commit,
        "branch": _first(environment, _BRANCHES) or branch,
        "command": _command(sys.argv if arguments is None else arguments),
        "started": clock.now(),
    }
    return {key: shortened(one_line(text), _LONGEST) for key, text in found.items() if text}


def commits(repository: Path, environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Every commit that a run made here and now could name; empty where nobody knows any."""
    told = [environment.get(name, "") for name in _COMMITS]
    return frozenset(filter(None, (*told, _head(repository)[0])))


def _first(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _command(arguments: Sequence[str]) -> str:
    """As it was typed: ``pytest``, ``python -m pytest``, without the folders of programs."""
    if not arguments:
        return ""
    program = Path(arguments[0])
    words = [program.name]
    if program.name == "__main__.py":
        words = ["python", "-m", program.parent.name]
    return shlex.join([*words, *without_secrets(arguments[1:])])


def _project(root: Path) -> str:
    try:
        data = tomllib.loads(_read(root / "pyproject.toml"))
    except (tomllib.TOMLDecodeError, RecursionError):
        return ""
    about = data.get("project")
    name = about.get("name") if isinstance(about, dict) else None
    return name if isinstance(name, str) else ""


def _head(repository: Path) -> tuple[str, str]:
    """Commit and branch that are checked out; empty where there is no repository of git."""
    folder = repository / ".git"
    if folder.is_file():  # of a worktree or a submodule
        folder = repository / _read(folder).removeprefix("gitdir:").strip()
    head = _read(folder / "HEAD").strip()
    if not head.startswith("ref:"):
        return (head, "") if _COMMIT.fullmatch(head) else ("", "")
    name = head.removeprefix("ref:").strip()
    for commit in _of_reference(folder, name):
        if _COMMIT.fullmatch(commit):
            return commit, name.removeprefix("refs/heads/")
    return "", name.removeprefix("refs/heads/")


def _of_reference(folder: Path, name: str) -> Iterator[str]:
    shared = _read(folder / "commondir").strip()  # where a worktree keeps its branches
    for place in (folder, folder / shared):
        yield _read(place / name).strip()
        for line in _read(place / "packed-refs").splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name:
                yield commit


def _read(path: Path) -> str:
    """Nothing for what is not there, too large, or no text."""
    try:
        if path.is_file() and path.stat().st_size <= _MOST_BYTES:
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        pass
    return ""
