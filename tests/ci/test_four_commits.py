"""The gate over a repository's life: clean, a leak comes in, it is accepted with a reason, it is fixed."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.conftest import Gate, command
from tests.ci.runner import Result

pytestmark = pytest.mark.programs

PROJECT = """[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]

[tool.leakguard.targets.export]
command = ["./build/export"]
tool = "valgrind"
"""
C_CLEAN = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *format_order(int number)
{
    char *line = malloc(48);
    if (line)
        snprintf(line, 48, "order %d", number);
    return line;
}

static void export_orders(void)
{
    for (int number = 0; number < 10; number++) {
        char *line = format_order(number);
        puts(line);
        free(line);
    }
}

int main(void)
{
    export_orders();
    puts("done");
    return 0;
}
"""
C_LEAKY = C_CLEAN.replace("        free(line);\n", "")
C_LINE = 1 + C_CLEAN.splitlines().index("    char *line = malloc(48);")
PYTHON_CLEAN = """_SESSIONS = {}


def open_session(user):
    session = {"user": user, "cart": []}
    return session
"""
PYTHON_LEAKY = PYTHON_CLEAN.replace(
    "    return session", "    _SESSIONS[object()] = session\n    return session"
)
TEST = "from shop import open_session\n\n\ndef test_session():\n    assert open_session('ann')['cart'] == []\n"


class Repository:
    """A real git repository with a C program and a Python module."""

    def __init__(self, gate: Gate, git: str, compiler: str, say: Callable[[str], None]) -> None:
        self.gate, self.git, self.compiler, self.say = gate, git, compiler, say
        self.root = gate.workspace
        self._run(git, "init", "-q", "-b", "main")
        for key, value in (("user.name", "Ann"), ("user.email", "ann@example.test")):
            self._run(git, "config", key, value)
        (self.root / "src").mkdir()
        (self.root / "tests").mkdir()
        (self.root / ".gitignore").write_text(
            "build/\nleakguard-report/\n__pycache__/\n.pytest_cache/\n"
        )
        (self.root / "pyproject.toml").write_text(PROJECT)
        (self.root / "tests" / "test_shop.py").write_text(TEST)

    def _run(self, *argv: str) -> str:
        return command(list(argv), self.root, self.gate.environment)

    def commit(self, message: str, c: str, python: str) -> None:
        (self.root / "src" / "orders.c").write_text(c)
        (self.root / "shop.py").write_text(python)
        self.commit_all(message)

    def commit_all(self, message: str) -> None:
        self._run(self.git, "add", "-A")
        self._run(self.git, "commit", "-q", "-m", message)
        self.say(f"$ git log --oneline -1\n{self._run(self.git, 'log', '--oneline', '-1')}")

    def check(self) -> Result:
        """What the workflow does with the head of main: a fresh clone, a build, the action."""
        (self.root / "build").mkdir(exist_ok=True)
        self._run(self.compiler, "-g", "-O0", "-o", "build/export", "src/orders.c")
        result = self.gate.run(artifact="none", args="-q")
        assert self._run(self.git, "status", "--porcelain") == "", (
            "the gate changes nothing in the repository"
        )
        self.say(result.log)
        told = " ".join(
            f"{name}={value}"
            for name, value in result.outputs.items()
            if "/" not in value and value
        )
        self.say(f"step: {result.status}  outputs: {told}\n")
        return result

    def locally(self, *arguments: str) -> str:
        """What a developer runs on her own machine, where no CI is set."""
        self.say(f"$ pytest {' '.join(arguments)}")
        return self._run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)


def _lines(result: Result, level: str) -> dict[tuple[str, int], str]:
    """Message of each annotation of a level that stands on a line."""
    return {
        (one["file"], int(one["line"])): text
        for kind, one, text in result.annotations
        if kind == level and "file" in one
    }


def test_four_commits(
    gate: Gate, git: str, tool: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    tool("valgrind")

    def say(text: str) -> None:
        if os.environ.get("LEAKGUARD_SHOW_STORY"):
            with capfd.disabled():
                print(text)

    repository = Repository(gate, git, tool("gcc"), say)

    repository.commit("Export orders", C_CLEAN, PYTHON_CLEAN)
    first = repository.check()
    assert (first.status, first.outputs["result"], first.outputs["new-leaks"]) == (
        "success",
        "pass",
        "0",
    )
    assert first.annotations == []
    assert "✅" in first.summary

    repository.commit("Keep sessions; export without copies", C_LEAKY, PYTHON_LEAKY)
    second = repository.check()
    assert (second.status, second.outputs["result"], second.outputs["new-leaks"]) == (
        "failure",
        "fail",
        "2",
    )
    errors = _lines(second, "error")
    python_line = 1 + PYTHON_LEAKY.splitlines().index("    _SESSIONS[object()] = session")
    assert set(errors) >= {("src/orders.c", C_LINE)}
    (place,) = set(errors) - {("src/orders.c", C_LINE)}
    assert place[0] == "shop.py" and place[1] in (python_line - 1, python_line), (
        "where the object is made, or kept"
    )
    assert "480 B definitely lost (10 blocks)" in errors["src/orders.c", C_LINE]
    assert (
        "reproduce  " in errors["src/orders.c", C_LINE]
        and "accept  " in errors["src/orders.c", C_LINE]
    )
    assert (
        "❌" in second.summary
        and "format_order" in second.summary
        and "open_session" in second.summary
    )

    repository.locally(
        "--leakguard", "--leakguard-accept=sessions and lines stay until 2.0; issue 12"
    )
    repository.commit_all("Accept both leaks until 2.0")
    third = repository.check()
    assert (third.status, third.outputs["result"], third.outputs["new-leaks"]) == (
        "success",
        "pass",
        "0",
    )
    assert third.outputs["stale-entries"] == "0"
    assert _lines(third, "error") == {}
    baseline = (repository.root / "leakguard-baseline.toml").read_text()
    assert baseline.count('reason = "sessions and lines stay until 2.0; issue 12"') == 2

    repository.commit("Free every line, keep no session", C_CLEAN, PYTHON_CLEAN)
    fourth = repository.check()
    assert (fourth.status, fourth.outputs["result"], fourth.outputs["stale-entries"]) == (
        "success",
        "pass",
        "2",
    )
    ((place, asked),) = _lines(fourth, "warning").items()
    assert place == ("leakguard-baseline.toml", 1)
    assert "pytest --leakguard --leakguard-prune" in asked
    fixed = json.loads(Path(fourth.outputs["report-json"]).read_text())["baseline"]["fixed"]
    assert len(fixed) == 2 and all(re.search(name, asked) for name in fixed)
    assert gate.run(artifact="none", strict="true").outputs["result"] == "fail", (
        "strict: the baseline only shrinks"
    )

    repository.locally("--leakguard", "--leakguard-prune")
    repository.commit_all("Prune the baseline")
    fifth = repository.check()
    assert (fifth.outputs["result"], fifth.outputs["stale-entries"]) == ("pass", "0")
