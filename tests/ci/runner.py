"""A small runner for composite actions and jobs: real bash, real files for outputs, environment, path and summary.

It does what GitHub's own runner does with the few keys that our actions and workflows use, and raises for any other
key: a step that is silently left out would be a gate that is silently open. Actions of others (``uses:``) are handed to
functions of the test; one that nobody has given a function for is an error too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.ci.expressions import Status, fill, is_true

Uses = Callable[["Step"], Mapping[str, str]]
_STEP_KEYS = {
    "name",
    "id",
    "if",
    "uses",
    "with",
    "run",
    "shell",
    "env",
    "working-directory",
    "continue-on-error",
}
_SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
TIMEOUT_S = 300


@dataclass
class Step:
    """One step that has been run, or was passed over."""

    name: str
    outcome: str
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    uses: str = ""
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Result:
    """What a run of an action or of a job came to."""

    steps: list[Step]
    outputs: dict[str, str]
    summary: str
    status: str

    @property
    def log(self) -> str:
        """Everything that was printed."""
        return "\n".join(step.log for step in self.steps)

    @property
    def annotations(self) -> list[tuple[str, dict[str, str], str]]:
        """The annotations in the log as GitHub reads them: level, properties, message."""
        return read_annotations(self.log)


def read_annotations(log: str) -> list[tuple[str, dict[str, str], str]]:
    """Level, properties and message of each annotation; obeys ``stop-commands`` as GitHub does."""
    found, stopped = [], ""
    for line in log.splitlines():
        if stopped:
            stopped = "" if line.strip() == f"::{stopped}::" else stopped
        elif match := re.match(r"\s*::stop-commands::(.+)$", line):
            stopped = match.group(1).strip()
        elif match := re.match(r"\s*::(error|warning|notice)(?: ([^:]*))?::(.*)$", line):
            pairs = (pair.partition("=") for pair in (match.group(2) or "").split(",") if pair)
            found.append(
                (
                    match.group(1),
                    {key.strip(): _unescaped(value) for key, _, value in pairs},
                    _unescaped(match.group(3)),
                )
            )
    return found


def _unescaped(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


class Runner:
    """One job on one workspace."""

    def __init__(
        self,
        workspace: Path,
        scratch: Path,
        environment: Mapping[str, str],
        uses: Mapping[str, Uses] | None = None,
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.workspace, self.scratch, self.uses = workspace, scratch, dict(uses or {})
        self.summary = scratch / "summary.md"
        self.summary.touch()
        self.environment = {
            **environment,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(workspace),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(scratch),
        }
        self.github: dict[str, Any] = {
            "job": "leaks",
            "workspace": str(workspace),
            "repository": "acme/shop",
        }
        self.needs: dict[str, Any] = {}
        self._count = 0

    def run_action(self, folder: Path, inputs: Mapping[str, str]) -> Result:
        """Runs the composite action in ``folder``."""
        action = yaml.safe_load((folder / "action.yml").read_text(encoding="utf-8"))
        assert action["runs"]["using"] == "composite"
        unknown = inputs.keys() - action["inputs"].keys()
        assert not unknown, f"the action has no input {unknown}"
        given = {
            name: inputs.get(name, one.get("default", "")) for name, one in action["inputs"].items()
        }
        contexts = self._contexts({"inputs": given})
        steps, status = self._run_steps(action["runs"]["steps"], contexts, folder)
        outputs = {
            name: fill(one["value"], contexts, status)
            for name, one in action.get("outputs", {}).items()
        }
        return Result(steps, outputs, self.summary.read_text(encoding="utf-8"), status)

    def run_job(self, workflow: Path, name: str, matrix: Mapping[str, Any] | None = None) -> Result:
        """Runs one job of a workflow, one member of its matrix."""
        data = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        job = data["jobs"][name]
        self.github["job"] = name
        # Whoever starts a workflow by an event gives it no inputs, which are empty then.
        contexts = self._contexts({"matrix": dict(matrix or {}), "inputs": {}})
        self.environment |= self._filled(
            {**data.get("env", {}), **job.get("env", {})}, contexts, Status("success")
        )
        steps, status = self._run_steps(job["steps"], contexts, None)
        return Result(steps, {}, self.summary.read_text(encoding="utf-8"), status)

    def _contexts(self, more: Mapping[str, Any]) -> dict[str, Any]:
        base = {"github": self.github, "steps": {}, "runner": {"temp": str(self.scratch)}}
        return {**base, "strategy": {"job-index": 0}, "matrix": {}, "needs": self.needs, **more}

    def _run_steps(
        self, steps: list[dict[str, Any]], contexts: dict[str, Any], folder: Path | None
    ) -> tuple[list[Step], Status]:
        status, done = Status("success"), []
        for spec in steps:
            unknown = spec.keys() - _STEP_KEYS
            assert not unknown, f"this runner does not know {unknown}"
            step = self._run_step(spec, contexts, status, folder)
            done.append(step)
            concluded = (
                "success"
                if step.outcome == "failure" and spec.get("continue-on-error")
                else step.outcome
            )
            if spec.get("id"):
                contexts["steps"][spec["id"]] = {
                    "outputs": step.outputs, "outcome": step.outcome, "conclusion": concluded
                }  # fmt: skip
            if concluded == "failure":
                status = Status("failure")
        return done, status

    def _run_step(
        self, spec: dict[str, Any], contexts: dict[str, Any], status: Status, folder: Path | None
    ) -> Step:
        name = spec.get("name") or spec.get("uses") or spec["run"]
        if not is_true(spec.get("if"), contexts, status):
            return Step(name, "skipped")
        environment = self._filled(spec.get("env", {}), contexts, status)
        if "uses" in spec:
            inputs = self._filled(spec.get("with", {}), contexts, status)
            return self._use(Step(name, "success", uses=spec["uses"], inputs=inputs))
        assert "${{" not in spec["run"], f"step {name!r} builds its script from values"
        assert folder is None or spec.get("shell") == "bash", (
            f"step {name!r} of an action needs shell: bash"
        )
        where = self.workspace / fill(spec.get("working-directory", "."), contexts, status)
        return self._run_script(name, spec["run"], environment, where, folder)

    def _use(self, step: Step) -> Step:
        key = step.uses.partition("@")[0]
        assert key in self.uses, f"nothing stands in for {key}"
        try:
            step.outputs = dict(self.uses[key](step))
        except ActionFailed as failed:
            step.outcome, step.outputs = "failure", dict(failed.outputs)
        return step

    def _filled(
        self, values: Mapping[str, Any], contexts: dict[str, Any], status: Status
    ) -> dict[str, str]:
        return {key: fill(str(value), contexts, status) for key, value in values.items()}

    def _run_script(
        self,
        name: str,
        script: str,
        environment: Mapping[str, str],
        where: Path,
        folder: Path | None,
    ) -> Step:
        self._count += 1
        place = self.scratch / f"step-{self._count}"
        place.mkdir()
        files = {
            key: place / key.lower()
            for key in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE")
        }
        for file in files.values():
            file.touch()
        (place / "script.sh").write_text(script, encoding="utf-8")
        full = {
            **self.environment,
            **environment,
            **{key: str(file) for key, file in files.items()},
        }
        if folder is not None:
            full["GITHUB_ACTION_PATH"] = str(folder)
        with (place / "log").open(
            "wb"
        ) as log:  # a file, so that no child can hold the run open by keeping a pipe
            code = subprocess.run(
                [*_SHELL, str(place / "script.sh")],
                cwd=where, env=full, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, timeout=TIMEOUT_S,
            ).returncode  # fmt: skip
        self.environment |= read_values(files["GITHUB_ENV"])
        for line in files["GITHUB_PATH"].read_text(encoding="utf-8").splitlines():
            self.environment["PATH"] = f"{line}{os.pathsep}{self.environment['PATH']}"
        text = (place / "log").read_text(encoding="utf-8", errors="replace")
        return Step(
            name, "success" if code == 0 else "failure", read_values(files["GITHUB_OUTPUT"]), text
        )


class ActionFailed(Exception):
    """Raised by a stand-in whose action failed."""

    def __init__(self, outputs: Mapping[str, str]) -> None:
        super().__init__("the action failed")
        self.outputs = outputs


def read_values(path: Path) -> dict[str, str]:
    """``name=value`` and ``name<<END`` lines of one of the runner's files."""
    values, lines = {}, iter(path.read_text(encoding="utf-8").split("\n"))
    for line in lines:
        if match := re.fullmatch(r"([^=<]+)<<(.+)", line):
            body = []
            for part in lines:
                if part == match.group(2):
                    break
                body.append(part)
            values[match.group(1)] = "\n".join(body)
        elif "=" in line:
            name, _, value = line.partition("=")
            values[name] = value
        elif line:
            raise AssertionError(f"{path.name}: GitHub would refuse {line!r}")
    return values
