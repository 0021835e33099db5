"""What a project says of its own installation: package, extras, groups, requirements, branch.

Reads files and runs nothing.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_leakguard.baseline import store
from pytest_leakguard.core.errors import UsageProblem

_PYTHON = "3.13"
"""The interpreter for a project that names none; one that every dependency has wheels for."""
_NAMES = ("test", "tests", "testing", "dev")
"""What projects call the requirements of their tests, as an extra or a dependency group."""
_REQUIREMENTS = (
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements/test.txt",
    "requirements/dev.txt",
    "requirements.txt",
)
"""What they call such files; the first that is there has all that the later ones have."""
_SUPPORTED = range(11, 16)
"""Minor versions of Python 3 that the plugin runs on."""


@dataclass(frozen=True, slots=True)
class Project:
    """What the project in a folder says of its own installation."""

    uses_uv: bool
    has_lock: bool
    is_package: bool
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    requirements: str
    """The file of requirements; empty where there is none."""
    python: str

    @classmethod
    def of(cls, root: Path, installer: str | None) -> Project:
        data = _pyproject(root / "pyproject.toml")
        has_lock = (root / "uv.lock").is_file()
        about = _table(data, "project")
        is_package = bool(about or "build-system" in data) or (root / "setup.py").is_file()
        found = (name for name in _REQUIREMENTS if (root / name).is_file())
        return cls(
            uses_uv=has_lock if installer is None else installer == "uv",
            has_lock=has_lock,
            is_package=is_package,
            extras=_first_of(_table(about, "optional-dependencies")),
            groups=_first_of(_table(data, "dependency-groups")),
            requirements=next(found, ""),
            python=_python_of(root / ".python-version"),
        )

    @property
    def words(self) -> list[str]:
        """What ``pip install`` and ``uv pip install`` take alike; empty where nothing is known."""
        words = []
        if self.is_package:
            extras = f"[{','.join(self.extras)}]" if self.extras else ""
            words += ["-e", f".{extras}"]
        for group in self.groups:
            words += ["--group", group]
        return [*words, "-r", self.requirements] if self.requirements else words

    @property
    def cached_by(self) -> str:
        """The file whose change makes another cache of pip's downloads."""
        return self.requirements or ("pyproject.toml" if self.is_package else "")

    def install(self) -> list[str]:
        """The lines of a shell that install it."""
        if not self.uses_uv:
            if not self.words:
                return []
            newer = ["python -m pip install --quiet 'pip>=25.1'"] if self.groups else []
            return [*newer, f"python -m pip install --quiet {shlex.join(self.words)}"]
        if self.has_lock:
            chosen = [word for name in self.extras for word in ("--extra", name)]
            chosen += [word for name in self.groups for word in ("--group", name)]
            return [shlex.join(["uv", "sync", "--locked", *chosen])]
        lines = ["uv venv"]
        return [*lines, f"uv pip install {shlex.join(self.words)}"] if self.words else lines


def _pyproject(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(store.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageProblem(f"{path.name}: {error}") from None


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _first_of(table: Mapping[str, Any]) -> tuple[str, ...]:
    return next(((name,) for name in _NAMES if name in table), ())


def _python_of(path: Path) -> str:
    """``3.12`` of a file that says ``3.12.4``, where the plugin runs on it."""
    if path.is_file():
        match = re.match(r"\s*(?:cpython-)?3\.(\d{1,2})\b", store.read_text(path))
        if match and int(match.group(1)) in _SUPPORTED:
            return f"3.{int(match.group(1))}"
    return _PYTHON


def default_branch(root: Path) -> str:
    """As the repository that this one was cloned from has it."""
    head = root / ".git" / "refs" / "remotes" / "origin" / "HEAD"
    if head.is_file():
        match = re.fullmatch(r"ref: refs/remotes/origin/(\S+)\s*", store.read_text(head))
        if match:
            return match.group(1)
    return "main"
