"""The ready files for GitHub, GitLab and Jenkins, run as they are: the jobs that must pass pass, the others fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.conftest import ROOT, command
from tests.ci.github_stub import serving
from tests.ci.runner import ActionFailed, Result, Runner, Step
from tests.ci.test_action import CLEAN, LEAKY
from tests.ci.test_validators import NODE, find, node

pytestmark = pytest.mark.programs


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment whose ``python`` is this one with pip that only takes note: what is installed stays as it is."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python").write_text(
        f'#!/bin/sh\nif [ "$1 $2" = "-m pip" ]; then echo "$*" >> "{tmp_path}/pip"; exit 0; fi\n'
        f'if [ "$1" = -I ]; then shift; fi\nexec "{sys.executable}" "$@"\n'
    )
    (tools / "python").chmod(0o755)
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
    # Shards that shuffle each by its own seed overlap: pytest-split needs one order.
    ordered = {"PYTEST_ADDOPTS": "-p no:randomly"}
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**kept, **ordered, "PATH": path, "PYTHONPATH": str(ROOT), "CI": "true"}


def nothing(step: Step) -> Mapping[str, str]:
    """Stands in for an action whose work the test has already done."""
    return {}


class Job:
    """One workspace for the jobs of a workflow."""

    def __init__(self, workspace: Path, scratch: Path, environment: Mapping[str, str]) -> None:
        self.workspace, self.scratch, self.environment = workspace, scratch, environment
        self.artifacts = scratch / "artifacts"
        self.artifacts.mkdir(parents=True)
        self.github: dict[str, Any] = {}
        self._count = 0

    def run(
        self, workflow: Path, name: str, matrix: Mapping[str, str] | None = None, **needs: str
    ) -> Result:
        self._count += 1
        runner = Runner(self.workspace, self.scratch / f"job-{self._count}", self.environment)
        runner.github |= self.github
        runner.needs = {name: {"result": result} for name, result in needs.items()}
        ours = {"./": self._action, "./.github/actions/leakguard": self._action}
        others = ("actions/checkout", "actions/setup-python")
        runner.uses = {
            **dict.fromkeys(others, nothing), **ours,
            "actions/upload-artifact": self._upload, "actions/download-artifact": self._download,
        }  # fmt: skip
        return runner.run_job(workflow, name, matrix)

    def _action(self, step: Step) -> Mapping[str, str]:
        self._count += 1
        uses = {
            "actions/upload-artifact": self._upload,
            "github/codeql-action/upload-sarif": nothing,
        }
        runner = Runner(
            self.workspace, self.scratch / f"action-{self._count}", self.environment, uses
        )
        is_published = step.uses == "./"
        action = ROOT if is_published else ROOT / "ci" / "github-action"
        result = runner.run_action(action, step.inputs)
        step.log = result.log
        if result.status == "failure":
            raise ActionFailed(result.outputs)
        return result.outputs

    def _upload(self, step: Step) -> Mapping[str, str]:
        shutil.copytree(self.workspace / step.inputs["path"], self.artifacts / step.inputs["name"])
        return {"artifact-url": "https://example.test/artifact"}

    def _download(self, step: Step) -> Mapping[str, str]:
        place = self.workspace / step.inputs["path"]
        if "name" in step.inputs:  # one artifact: its files, without a folder of its name
            if not (self.artifacts / step.inputs["name"]).is_dir():
                raise ActionFailed({})
            shutil.copytree(self.artifacts / step.inputs["name"], place)
            return {}
        for found in self.artifacts.glob(step.inputs["pattern"]):
            shutil.copytree(found, place / found.name)
        return {}


def suite(folder: Path, **files: str) -> Path:
    """A project with these test files."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="session")
def own_sample_apps(apps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample programs, as a checkout and a build would leave them."""
    workspace = tmp_path_factory.mktemp("checkout")
    shutil.copytree(apps.parent, workspace / "sample_apps", symlinks=True)
    return workspace


CI = ROOT / ".github" / "workflows" / "ci.yml"
CASES = yaml.safe_load(CI.read_text(encoding="utf-8"))["jobs"]["gate"]["strategy"]["matrix"][
    "include"
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_our_own_workflow_sees_the_action_pass_and_fail(
    case: dict[str, str], own_sample_apps: Path, tmp_path: Path, machine: dict[str, str]
) -> None:
    result = Job(own_sample_apps, tmp_path / "scratch", machine).run(CI, "gate", case)
    assert result.status == "success", result.log
    action = next(step for step in result.steps if step.uses == "./")
    assert action.outputs["result"] == case["expected"]
    assert action.outcome == ("success" if case["expected"] == "pass" else "failure")


def test_the_last_step_of_our_own_workflow_can_fail(
    own_sample_apps: Path, tmp_path: Path, machine: dict[str, str]
) -> None:
    case = {**CASES[0], "expected": "fail"}
    assert (
        Job(own_sample_apps, tmp_path / "scratch", machine).run(CI, "gate", case).status
        == "failure"
    )


@pytest.mark.parametrize(
    ("text", "status"), [(CLEAN, "success"), (LEAKY, "failure")], ids=["clean", "leaky"]
)
def test_the_plain_workflow(
    tmp_path: Path, machine: dict[str, str], text: str, status: str
) -> None:
    job = Job(suite(tmp_path / "workspace", test_it=text), tmp_path / "scratch", machine)
    result = job.run(ROOT / "ci/workflows/leakguard.yml", "leaks")
    assert result.status == status, result.log
    assert (job.artifacts / "leakguard-report" / "report.json").is_file()
    assert "pytest-leakguard[memray]" in (tmp_path / "pip").read_text()


def test_the_matrix_workflow_joins_its_shards_and_misses_a_lost_one(
    tmp_path: Path, machine: dict[str, str]
) -> None:
    workflow = ROOT / "ci/workflows/leakguard-matrix.yml"
    tests = "\n\n".join(
        f"def test_{number}(leakguard):\n    leakguard.loop(int, iterations=20)\n"
        for number in range(4)
    )
    job = Job(suite(tmp_path / "workspace", test_it=tests), tmp_path / "scratch", machine)
    for shard in ("1", "2", "3", "4"):
        assert job.run(workflow, "shard", {"shard": shard}).status == "success"
    joined = job.run(workflow, "leaks", shard="success")
    assert joined.status == "success", joined.log
    assert "4 tests clean" in joined.log
    assert "4 tests clean" in joined.summary
    assert (
        json.loads((job.artifacts / "leakguard-report" / "report.json").read_text())["summary"][
            "clean"
        ]
        == 4
    )

    job.workspace = tmp_path / "again"  # the merging job begins with an empty machine
    job.workspace.mkdir()
    shutil.rmtree(job.artifacts / "leakguard-report")
    assert job.run(workflow, "leaks", shard="failure").status == "failure", (
        "a shard failed without a leak"
    )

    job.workspace = tmp_path / "lost"
    job.workspace.mkdir()
    shutil.rmtree(job.artifacts / "leakguard-report")
    shutil.rmtree(job.artifacts / "leakguard-shard-3")
    lost = job.run(workflow, "leaks", shard="success")
    assert lost.status == "failure"
    assert [level for level, _, text in lost.annotations if "shard" in text] != []
    assert (job.artifacts / "leakguard-report" / "report.html").is_file(), (
        "what the others have measured is kept"
    )


@pytest.mark.parametrize("has_report", [True, False])
def test_the_comment_workflow_reads_the_artifact_and_nothing_of_the_pull_request(
    tmp_path: Path, machine: dict[str, str], has_report: bool
) -> None:
    workspace = tmp_path / "workspace"
    job = Job(suite(workspace, test_it=LEAKY), tmp_path / "scratch", machine)
    job.run(ROOT / "ci/workflows/leakguard.yml", "leaks")
    if not has_report:
        shutil.rmtree(job.artifacts / "leakguard-report")
    job.workspace = tmp_path / "empty"
    job.workspace.mkdir()
    commit = "5f2c" * 10
    event = {
        "workflow_run": {
            "id": 77, "conclusion": "failure", "head_sha": commit, "head_branch": "leak",
            "head_repository": {"owner": {"login": "forker"}}, "html_url": "https://example.test/runs/77",
        }
    }  # fmt: skip
    (tmp_path / "event.json").write_text(json.dumps(event))
    with serving() as github:
        github.pulls = [{"number": 7, "label": "forker:leak", "head": {"sha": commit}}]
        job.github = {"event": event, "token": "a-token"}
        job.environment = {
            **machine, "GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": "acme/shop",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        }  # fmt: skip
        result = job.run(ROOT / "ci/workflows/leakguard-comment.yml", "comment")
    assert result.status == "success", result.log
    assert list(job.workspace.iterdir()) == [], "nothing was checked out"
    (comment,) = github.comments.values()
    assert comment["on"] == 7
    assert ("1 new leak (" in comment["body"]) == has_report
    assert ("inconclusive" in comment["body"]) != has_report


GITLAB_CI = "include:\n  - local: ci/leakguard.gitlab-ci.yml\n\nleaks:\n  extends: .leakguard\n"


@pytest.mark.parametrize(
    ("text", "options", "passes", "told"),
    [
        (CLEAN, "", True, "leakguard gate: pass: 1 test clean"),
        (LEAKY, "", False, "leakguard gate: fail: 1 new leak ("),
        (CLEAN, "-k no_test_has_this_name", False, "leakguard gate: error: nothing was measured"),
        (
            CLEAN,
            "-p no:leakguard",
            False,
            "leakguard gate: error: pytest did not accept its options: pytest-leakguard was not active",
        ),
    ],
    ids=["clean", "leaky", "nothing selected", "plugin off"],
)
def test_the_gitlab_template(
    tmp_path: Path,
    machine: dict[str, str],
    git: str,
    text: str,
    options: str,
    passes: bool,
    told: str,
) -> None:
    find("rsync")
    folder = suite(tmp_path / "workspace", test_it=text)
    (folder / "ci").mkdir()
    shutil.copy(ROOT / "ci" / "gitlab" / "leakguard.gitlab-ci.yml", folder / "ci")
    first = f"export PATH={tmp_path}/bin:$PATH PYTHONPATH={ROOT}"  # the shell is a login shell, which forgets ours
    more = f'  variables:\n    PYTEST_ADDOPTS: "{options}"\n  before_script:\n    - {first}\n'
    (folder / ".gitlab-ci.yml").write_text(GITLAB_CI + more)
    for argv in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "git@git.example.test:acme/shop.git"],
        ["config", "user.name", "Ann"],
        ["config", "user.email", "ann@example.test"],
        ["add", "-A"],
        ["commit", "-q", "-m", "Start"],
    ):
        command([git, *argv], folder)
    script = (
        (NODE / "gitlab-ci-local").resolve()
        if (NODE / "gitlab-ci-local").exists()
        else find("gitlab-ci-local")
    )
    done = subprocess.run(
        [node(), str(script), "leaks", "--force-shell-executor", "--home", str(tmp_path / "home")],
        cwd=folder, env=machine, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert (done.returncode == 0) == passes, log
    assert told in log
    kept = list((folder / ".gitlab-ci-local" / "artifacts").rglob("report.json"))
    assert bool(kept) == ("plugin" not in told and "options" not in told)


def jenkins_scripts() -> list[str]:
    text = (ROOT / "ci" / "jenkins" / "Jenkinsfile").read_text(encoding="utf-8")
    return re.findall(r"sh '''(.*?)'''", text, re.DOTALL)


@pytest.mark.parametrize(
    ("text", "code"), [(CLEAN, 0), (LEAKY, 1), ("", 3)], ids=["clean", "leaky", "nothing"]
)
def test_the_scripts_of_the_jenkinsfile(
    tmp_path: Path, machine: dict[str, str], text: str, code: int
) -> None:
    folder = suite(tmp_path / "workspace", test_it=text)
    install, check = jenkins_scripts()
    for script, wanted in ((install, 0), (check, code)):
        done = subprocess.run(
            ["sh", "-xe"],
            input=script,
            cwd=folder,
            env=machine,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == wanted, done.stdout + done.stderr
    assert (folder / "leakguard-report" / "junit.xml").is_file(), (
        "what the junit step of the pipeline reads"
    )
