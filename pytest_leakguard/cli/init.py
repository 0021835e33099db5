"""``pytest-leakguard init``: writes the files that a build system, or a runner of tests, needs."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pytest_leakguard import __version__
from pytest_leakguard.baseline import store
from pytest_leakguard.ci.project import Project, default_branch
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.verdict import CLEAN

REQUIREMENT = f"pytest-leakguard[memray]=={__version__}"


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    """Relative to the root of the project."""
    template: str
    is_optional: bool = False
    """Left alone where it is there already."""
    rivals: tuple[tuple[str, str], ...] = ()
    """Files that the tool would read instead of this one, where they hold such a text."""


@dataclass(frozen=True, slots=True)
class _System:
    files: tuple[_File, ...]
    is_for_repository: bool
    """Read at the root of a repository and nowhere else."""
    after: tuple[str, ...]
    """What is to be done next; before that come the commit, and after it the baseline."""


_ACTION = ".github/actions/leakguard"
_ACTION_FILES = ("action.yml", "gate.sh")
_TOX = (("tox.ini", ""), ("setup.cfg", "[tox:tox]"), ("pyproject.toml", "[tool.tox"))
"""Where tox looks before it looks for tox.toml."""
_SYSTEMS: Mapping[str, _System] = {
    "github": _System(
        (_File(".github/workflows/leakguard.yml", "github.yml"),),
        True,
        ("make `leaks` a required check: Settings, Rulesets, Require status checks to pass",),
    ),
    "gitlab": _System(
        (
            _File(".gitlab/leakguard.gitlab-ci.yml", "gitlab.yml"),
            _File(".gitlab-ci.yml", "gitlab-include.yml", is_optional=True),
        ),
        True,
        ('switch on "Pipelines must succeed": Settings, Merge requests',),
    ),
    "jenkins": _System(
        (_File("Jenkinsfile", "Jenkinsfile"),),
        False,
        ("create a multibranch pipeline of this repository, and require its status for merges",),
    ),
    "pre-commit": _System(
        (
            _File(
                ".pre-commit-config.yaml",
                "pre-commit.yaml",
                rivals=((".pre-commit-config.yml", ""),),
            ),
        ),
        True,
        ("pre-commit install --hook-type pre-push",),
    ),
    "tox": _System((_File("tox.toml", "tox.toml", rivals=_TOX),), False, ("tox -e leakguard",)),
    "nox": _System((_File("noxfile.py", "noxfile.py"),), False, ("nox -s leakguard",)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``init``."""
    parser.add_argument("system", choices=tuple(_SYSTEMS), help="what the files are for")
    parser.add_argument(
        "--installer", choices=("pip", "uv"), help="default: uv where there is a uv.lock, or pip"
    )
    parser.add_argument("--branch", metavar="NAME", help="whose pushes are checked (default: main)")
    parser.add_argument(
        "--copy-action",
        action="store_true",
        help=f"github: copy the action to {_ACTION} instead of naming its release",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")
    parser.add_argument(
        "--print", action="store_true", help="print the files instead of writing them"
    )
    parser.set_defaults(action=_init)


def _init(arguments: argparse.Namespace) -> int:
    root, system = Path.cwd(), _SYSTEMS[arguments.system]
    copies = arguments.copy_action
    if copies and arguments.system != "github":
        raise UsageProblem("--copy-action: only GitHub has actions")
    project = Project.of(root, arguments.installer)
    values = _values(project, arguments.branch or default_branch(root), copies)
    texts = {file: _render(file.template, values) for file in system.files}
    if copies:
        texts |= dict(_action())
    if arguments.print:
        _print(texts)
        return CLEAN
    _refuse_elsewhere(root, arguments.system, system)
    left = [] if arguments.force else _refuse_overwriting(root, texts, arguments.system)
    written = [file for file in texts if file not in left]
    for file in written:
        _write(root / file.path, texts[file])
        print(f"wrote {file.path}")
    for number, step in enumerate(_next_steps(written, left, system), start=1):
        print(f"{'next:' if number == 1 else '     '} {number}. {step}")
    return CLEAN


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(path, text)
    if path.suffix == ".sh":
        path.chmod(0o755)


def _print(texts: Mapping[_File, str]) -> None:
    for number, (file, text) in enumerate(texts.items()):
        if len(texts) > 1:
            print(f"{chr(10) if number else ''}# --- {file.path}")
        print(text, end="")


def _next_steps(written: Sequence[_File], left: Sequence[_File], system: _System) -> Iterator[str]:
    for file in left:
        text = _render(file.template, {}).strip().replace("\n", " ")
        yield f"{file.path} is there already and was left alone; add to it: {text}"
    yield f"git add {shlex.join(file.path for file in written)}, and commit"
    yield from system.after
    yield (
        'what leaks today, and may stay for now: pytest --leakguard --leakguard-accept "reason", '
        "and commit leakguard-baseline.toml"
    )


def _refuse_elsewhere(root: Path, name: str, system: _System) -> None:
    """A workflow below the root of a repository would never run, and nobody would be told."""
    if not system.is_for_repository or (root / ".git").exists():
        return
    for folder in root.parents:
        if (folder / ".git").exists():
            raise UsageProblem(
                f"{name} reads its files at the root of a repository only: run this in {folder}"
            )


def _refuse_overwriting(root: Path, texts: Mapping[_File, str], name: str) -> list[_File]:
    """Files that are left alone; raises ``UsageProblem`` where one would be overwritten."""
    left = []
    for file in texts:
        if (root / file.path).exists():
            if not file.is_optional:
                raise UsageProblem(
                    f"{file.path} is there already, and nothing was written; see what it would "
                    f"hold: pytest-leakguard init {name} --print; overwrite it: --force"
                )
            left.append(file)
        for rival, text in file.rivals:
            if (root / rival).exists() and text in store.read_text(root / rival):
                raise UsageProblem(
                    f"{rival} is read instead of {file.path}, and nothing was written; see what "
                    f"to add to it: pytest-leakguard init {name} --print"
                )
    return left


def _values(project: Project, branch: str, copies_action: bool) -> dict[str, Any]:
    """What the templates are filled with; nothing of it is a text that somebody else chose."""
    interpreter = ".venv/bin/python" if project.uses_uv else "python"
    plugin = shlex.quote(REQUIREMENT)
    installs = "uv pip install" if project.uses_uv else "python -m pip install --quiet"
    needs = [f"-r {project.requirements}"] if project.requirements else []
    return {
        "version": __version__,
        "requirement": REQUIREMENT,
        "branch": json.dumps(branch),
        "python": project.python,
        "uses_uv": project.uses_uv,
        "cached_by": project.cached_by,
        "install": project.install(),
        "install_plugin": f"{installs} {plugin}",
        "install_words": ", ".join(json.dumps(word) for word in project.words),
        "interpreter": interpreter,
        "copies_action": copies_action,
        "is_package": project.is_package,
        "extras": list(project.extras),
        "groups": list(project.groups),
        "dependencies": [*needs, "pytest", REQUIREMENT],
    }


@cache
def _environment() -> Environment:
    """Its own marks, since workflows and shells have braces and brackets of their own."""
    return Environment(
        loader=PackageLoader("pytest_leakguard", "templates/init"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
    )


def _render(template: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(f"{template}.j2").render(values)


def _action() -> Iterator[tuple[_File, str]]:
    """The action itself: in a wheel beside the templates, in a checkout where GitHub finds it."""
    installed = Path(str(files("pytest_leakguard"))) / "templates" / "action"
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "ci/github-action"
    for name in _ACTION_FILES:
        yield _File(f"{_ACTION}/{name}", ""), store.read_text(folder / name)
