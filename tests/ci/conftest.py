"""A project under git that gains leaks, the action and the runner that performs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ci.runner import ActionFailed, Result, Runner, Step

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "ci" / "github-action"
UPLOAD = "actions/upload-artifact"


def command(argv: list[str], where: Path, environment: Mapping[str, str] | None = None) -> str:
    """Runs a command that must succeed; returns what it printed."""
    done = subprocess.run(
        argv,
        cwd=where,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def upload(kept: list[Step]) -> Callable[[Step], Mapping[str, str]]:
    """Stands in for actions/upload-artifact: refuses what it refuses, and gives an address."""

    def run(step: Step) -> Mapping[str, str]:
        kept.append(step)
        if (
            not Path(step.inputs["path"]).exists()
            and step.inputs.get("if-no-files-found") == "error"
        ):
            raise ActionFailed({})
        return {"artifact-url": f"https://example.test/artifacts/{len(kept)}"}

    return run


class Gate:
    """The action on one workspace."""

    def __init__(self, workspace: Path, scratch: Path) -> None:
        self.workspace, self._scratch, self._runs = workspace, scratch, 0
        self.uploads: list[Step] = []
        self.sent: list[Step] = []
        self.event: dict[str, Any] = {}
        keep = ("PATH", "HOME", "LANG", "TMPDIR", "LEAKGUARD_REQUIRE_TOOLS")
        self.environment = {key: os.environ[key] for key in keep if key in os.environ}
        self.environment["PYTHONPATH"] = str(ROOT)

    def run(self, **inputs: str) -> Result:
        """Runs the action in a new job, with this interpreter; keyword names have underscores for dashes."""
        self._runs += 1
        uses = {UPLOAD: upload(self.uploads), "github/codeql-action/upload-sarif": self._send}
        runner = Runner(self.workspace, self._scratch / f"job-{self._runs}", self.environment, uses)
        runner.github["event"] = self.event
        given = {
            "python": sys.executable,
            **{key.replace("_", "-"): value for key, value in inputs.items()},
        }
        return runner.run_action(ACTION, given)

    def _send(self, step: Step) -> Mapping[str, str]:
        self.sent.append(step)
        return {}


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """The action on an empty workspace."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return Gate(workspace, tmp_path / "scratch")


@pytest.fixture
def git() -> str:
    """git, which ci/install-tools installs."""
    found = shutil.which("git")
    if found is None and os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
        pytest.fail("git is not installed")
    if found is None:
        pytest.skip("git is not installed")
    return found
