"""``pytest-leakguard init``: files that say what they are, overwrite nothing, and follow the project."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_leakguard import __version__
from pytest_leakguard.cli.main import main

PINNED = f"pytest-leakguard[memray]=={__version__}"
FILES = {
    "github": (".github/workflows/leakguard.yml",),
    "gitlab": (".gitlab/leakguard.gitlab-ci.yml", ".gitlab-ci.yml"),
    "jenkins": ("Jenkinsfile",),
    "pre-commit": (".pre-commit-config.yaml",),
    "tox": ("tox.toml",),
    "nox": ("noxfile.py",),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a repository with a small project."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def package(folder: Path, more: str = "") -> None:
    (folder / "pyproject.toml").write_text(f'[project]\nname = "shop"\nversion = "1"\n{more}')


def init(folder: Path, system: str, *options: str) -> str:
    """The text of the first file that it writes."""
    assert main(["init", system, *options]) == 0
    return (folder / FILES[system][0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [[], ["--installer", "uv"]], ids=["pip", "uv"])
@pytest.mark.parametrize("system", FILES)
def test_each_file_is_written_with_the_plugins_version_and_the_next_steps_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], system: str, options: list[str]
) -> None:
    package(folder)
    init(folder, system, *options)
    texts = [(folder / name).read_text(encoding="utf-8") for name in FILES[system]]
    assert PINNED in texts[0] and "<<" not in "".join(texts) and "<%" not in "".join(texts)
    said = capsys.readouterr().out
    for name in FILES[system]:
        assert f"wrote {name}\n" in said
    assert f"next: 1. git add {' '.join(FILES[system])}, and commit" in said
    assert '--leakguard-accept "reason"' in said


@pytest.mark.parametrize("system", FILES)
def test_what_is_there_already_is_overwritten_by_force_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], system: str
) -> None:
    first = folder / FILES[system][0]
    first.parent.mkdir(parents=True, exist_ok=True)
    first.write_text("mine\n")
    assert main(["init", system]) == 2
    assert f"{FILES[system][0]} is there already, and nothing was written" in (
        capsys.readouterr().err
    )
    assert first.read_text() == "mine\n"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [first.name]
    assert main(["init", system, "--force"]) == 0
    assert first.read_text() != "mine\n"


@pytest.mark.parametrize("system", FILES)
def test_printing_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], system: str
) -> None:
    (folder / FILES[system][0]).parent.mkdir(parents=True, exist_ok=True)
    (folder / FILES[system][0]).write_text("mine\n")
    assert main(["init", system, "--print"]) == 0
    assert f"version {__version__}" in capsys.readouterr().out
    assert (folder / FILES[system][0]).read_text() == "mine\n"


def test_the_workflow_runs_in_merge_queues_and_for_other_workflows(folder: Path) -> None:
    package(folder)
    data: Any = yaml.safe_load(init(folder, "github"))
    triggers = data[True]  # YAML 1.1 reads the key `on` so
    assert set(triggers) == {"pull_request", "merge_group", "push", "workflow_call"}
    assert data["permissions"] == {}
    steps = data["jobs"]["leaks"]["steps"]
    assert steps[-1]["uses"] == f"pytest-leakguard/pytest-leakguard@v{__version__}"
    assert steps[-1]["with"]["install"] == PINNED
    assert steps[1]["with"]["cache"] == "pip"


def test_a_lock_of_uv_makes_files_for_uv(folder: Path) -> None:
    package(folder, '[dependency-groups]\ntest = ["pytest"]\n')
    (folder / "uv.lock").touch()
    text = init(folder, "github")
    assert "uv sync --locked --group test" in text and "enable-cache: true" in text
    assert yaml.safe_load(text)["jobs"]["leaks"]["steps"][-1]["with"]["python"] == (
        ".venv/bin/python"
    )
    assert f"uv pip install 'pytest-leakguard[memray]=={__version__}'" in init(folder, "gitlab")
    assert f"uv run --with {PINNED} python -m pytest" in init(folder, "pre-commit")


@pytest.mark.parametrize(
    ("project", "file", "wanted"),
    [
        ('[project.optional-dependencies]\ntests = ["x"]\n', "", "pip install --quiet -e '.[tests]'"),
        ('[dependency-groups]\ndev = ["x"]\n', "", "pip install --quiet -e . --group dev"),
        ("", "requirements-dev.txt", "pip install --quiet -e . -r requirements-dev.txt"),
        (None, "requirements.txt", "pip install --quiet -r requirements.txt"),
        (None, "", "# Install here the project and what its tests need."),
    ],
)  # fmt: skip
def test_the_project_is_installed_as_it_says_itself(
    folder: Path, project: str | None, file: str, wanted: str
) -> None:
    if project is not None:
        package(folder, project)
    if file:
        (folder / file).touch()
    for system in ("github", "gitlab", "jenkins"):
        assert wanted in init(folder, system)


def test_the_python_and_the_branch_are_those_of_the_project(folder: Path) -> None:
    (folder / ".python-version").write_text("3.12.4\n")
    head = folder / ".git/refs/remotes/origin/HEAD"
    head.parent.mkdir(parents=True)
    head.write_text("ref: refs/remotes/origin/trunk\n")
    data: Any = yaml.safe_load(init(folder, "github"))
    assert data[True]["push"]["branches"] == ["trunk"]
    assert data["jobs"]["leaks"]["steps"][1]["with"]["python-version"] == "3.12"
    assert yaml.safe_load(init(folder, "gitlab"))["leaks"]["image"] == "python:3.12"
    (folder / ".python-version").write_text("3.8\n")  # on which the plugin does not run
    assert yaml.safe_load(init(folder, "gitlab", "--force"))["leaks"]["image"] == "python:3.13"


def test_a_branch_cannot_add_anything_to_the_workflow(folder: Path) -> None:
    name = 'a"], x: [b\nname: other'
    data: Any = yaml.safe_load(init(folder, "github", "--branch", name))
    assert data[True]["push"]["branches"] == [name]
    assert data["name"] == "leakguard"


def test_the_action_can_be_copied_instead_of_named(folder: Path) -> None:
    data: Any = yaml.safe_load(init(folder, "github", "--copy-action"))
    assert data["jobs"]["leaks"]["steps"][-1]["uses"] == "./.github/actions/leakguard"
    copied = folder / ".github/actions/leakguard"
    ours = Path(__file__).parents[2] / "ci/github-action"
    for name in ("action.yml", "gate.sh"):
        assert (copied / name).read_bytes() == (ours / name).read_bytes()
    assert (copied / "gate.sh").stat().st_mode & 0o111
    assert main(["init", "gitlab", "--copy-action"]) == 2


def test_a_configuration_of_gitlab_is_left_alone_and_the_user_told_what_to_add(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".gitlab-ci.yml").write_text("stages: [test]\n")
    init(folder, "gitlab")
    assert (folder / ".gitlab-ci.yml").read_text() == "stages: [test]\n"
    assert "add to it: include:   - local: .gitlab/leakguard.gitlab-ci.yml" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("system", "rival", "text"),
    [
        ("tox", "tox.ini", ""),
        ("tox", "setup.cfg", "[tox:tox]\n"),
        ("tox", "pyproject.toml", "[tool.tox]\n"),
        ("pre-commit", ".pre-commit-config.yml", ""),
    ],
)
def test_a_file_that_would_hide_ours_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], system: str, rival: str, text: str
) -> None:
    (folder / rival).write_text(text)
    assert main(["init", system]) == 2
    assert f"{rival} is read instead of {FILES[system][0]}" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["github", "gitlab", "pre-commit"])
def test_below_the_root_of_a_repository_nothing_is_written_that_nobody_would_read(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    system: str,
) -> None:
    (folder / "service").mkdir()
    monkeypatch.chdir(folder / "service")
    assert main(["init", system]) == 2
    assert f"run this in {folder}" in capsys.readouterr().err
    assert list((folder / "service").iterdir()) == []


def test_a_project_file_that_is_no_toml_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pyproject.toml").write_text("[project\n")
    assert main(["init", "tox"]) == 2
    assert "pyproject.toml: " in capsys.readouterr().err


def test_tox_installs_the_project_or_says_that_there_is_none(folder: Path) -> None:
    data = tomllib.loads(init(folder, "tox"))
    assert data["no_package"] is True and PINNED in data["env"]["leakguard"]["deps"]
    package(folder, '[project.optional-dependencies]\ntest = ["x"]\n')
    data = tomllib.loads(init(folder, "tox", "--force"))
    assert "no_package" not in data and data["env"]["leakguard"]["extras"] == ["test"]


def test_the_session_of_nox_is_python(folder: Path) -> None:
    package(folder, '[dependency-groups]\ntest = ["x"]\n')
    tree = ast.parse(init(folder, "nox"))
    assert [node.name for node in tree.body if isinstance(node, ast.FunctionDef)] == ["leakguard"]
    assert '"-e", ".", "--group", "test"' in (folder / "noxfile.py").read_text()
