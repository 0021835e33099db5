"""Project, commit, branch, command and time of a run, read from files and variables alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_leakguard.reporters.provenance import provenance

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def of(folder: Path, **environment: str) -> dict[str, str]:
    return provenance(folder, folder, environment, ["/opt/bin/pytest", "--leakguard"])


def repository(folder: Path) -> Path:
    (folder / ".git" / "refs" / "heads").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/feature/orders\n")
    return folder / ".git"


def test_a_run_outside_of_any_repository_has_a_name_a_command_and_a_time(tmp_path: Path) -> None:
    told = of(tmp_path)
    assert (told["project"], told["command"]) == (tmp_path.name, "pytest --leakguard")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", told["started"])
    assert "commit" not in told and "branch" not in told


def test_the_project_is_called_as_it_calls_itself(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    assert of(tmp_path)["project"] == "shop"
    (tmp_path / "pyproject.toml").write_text("[project\n")
    assert of(tmp_path)["project"] == tmp_path.name


def test_commit_and_branch_are_those_that_are_checked_out(tmp_path: Path) -> None:
    git = repository(tmp_path)
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/feature/orders\n")
    assert (of(tmp_path)["commit"], of(tmp_path)["branch"]) == (COMMIT, "feature/orders")
    loose = git / "refs/heads/feature/orders"
    loose.parent.mkdir()
    loose.write_text("f" * 40)
    assert of(tmp_path)["commit"] == "f" * 40, "a loose reference is newer than a packed one"
    (git / "HEAD").write_text(COMMIT)
    assert of(tmp_path)["commit"] == COMMIT and "branch" not in of(tmp_path)


def test_real_git_agrees_in_a_repository_and_in_a_worktree(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")

    def run(*words: str, where: Path) -> str:
        argv = [git, "-c", "user.name=a", "-c", "user.email=a@example.test", *words]
        return subprocess.check_output(argv, cwd=where, text=True).strip()

    first = tmp_path / "first"
    first.mkdir()
    run("init", "-q", "-b", "trunk", where=first)
    run("commit", "-q", "--allow-empty", "-m", "Start", where=first)
    run("worktree", "add", "-q", "-b", "side", str(tmp_path / "second"), where=first)
    for folder, branch in ((first, "trunk"), (tmp_path / "second", "side")):
        assert of(folder)["commit"] == run("rev-parse", "HEAD", where=folder)
        assert of(folder)["branch"] == branch


def test_a_build_system_knows_better_than_its_checkout(tmp_path: Path) -> None:
    (repository(tmp_path) / "HEAD").write_text(COMMIT)
    told = of(tmp_path, GITHUB_SHA="a" * 40, GITHUB_HEAD_REF="", GITHUB_REF_NAME="main")
    assert (told["commit"], told["branch"]) == ("a" * 40, "main")


def test_the_command_holds_no_secret_and_no_folder(tmp_path: Path) -> None:
    argv = ["/srv/env/pytest/__main__.py", "--token=hunter2", "-k", "a b"]
    told = provenance(tmp_path, tmp_path, {}, argv)
    assert told["command"] == "python -m pytest '--token=***' -k 'a b'"
