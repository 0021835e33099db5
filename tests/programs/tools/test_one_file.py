"""A tool is one file: nothing outside ``programs/tools`` knows one by name, and a new one just works."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_leakguard
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs import doctor
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.programs.existing_reports import check_files
from pytest_leakguard.programs.tools import BACKENDS
from tests.programs.tools.line_tool import GOLDEN, LineTool, shell

PACKAGE = Path(pytest_leakguard.__file__).parent
ROOT = PACKAGE.parent
MAY_NAME_TOOLS = (
    PACKAGE / "programs" / "tools",
    PACKAGE / "core" / "options.py",
    PACKAGE / "agents" / "memray",  # a part of that tool, which runs in other interpreters
)


MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not any(path.is_relative_to(place) for place in MAY_NAME_TOOLS)
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_names_a_tool(path: Path) -> None:
    named = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in BACKENDS
    ]
    assert named == []


@pytest.fixture
def line_tool(monkeypatch: pytest.MonkeyPatch) -> LineTool:
    tool = LineTool()
    monkeypatch.setitem(BACKENDS, tool.name, tool)
    return tool


def test_a_new_tool_checks_programs(line_tool: LineTool) -> None:
    check = check_program(Target(shell("lost 40 push")), Settings(), "program", line_tool.name)
    assert check.problems == ()
    assert [(finding.size_bytes, finding.is_gating) for finding in check.findings] == [(40, True)]
    refused = Target(shell(), tool_args=("--fast",))
    check = check_program(refused, Settings(), "program", line_tool.name)
    assert check.problems == ("lines takes no tool arguments",)


def test_reports_of_a_new_tool_are_read(line_tool: LineTool, tmp_path: Path) -> None:
    for name, text in GOLDEN.items():
        (tmp_path / name).write_text(text)
    (leaky,) = check_files([tmp_path / "leaky"], Settings())
    assert (leaky.tool, sum(finding.size_bytes for finding in leaky.findings)) == ("lines", 42)
    (truncated,) = check_files([tmp_path / "truncated"], Settings())
    assert truncated.problems


def test_doctor_tries_a_new_tool(line_tool: LineTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "BACKENDS", {line_tool.name: line_tool})
    (answer,) = doctor.examine()
    assert (answer.tool, answer.sees_leaks) == ("lines", True)


def test_a_new_tool_is_held_to_the_conformance_suite() -> None:
    """In a process of its own, since the suite takes its tools from the registry on import."""
    plugin = ("-p", "tests.programs.tools.line_tool", "-p", "no:randomly", "-p", "no:cacheprovider")
    suite = "tests/programs/tools/test_conformance.py"
    argv = [sys.executable, "-m", "pytest", *plugin, "-q", "-k", "[lines", suite]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    count = int(done.stdout.rpartition(" passed")[0].split()[-1])
    source = (ROOT / suite).read_text(encoding="utf-8")
    assert count >= source.count("(backend: Backend")  # each test of one tool, some more than once
