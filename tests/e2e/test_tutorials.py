"""The tutorials, followed to the letter: their files, their commands, and what they say is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
REPLACE = re.compile(r"Replace `([^`]+)` by `([^`]+)`")
NAMED = re.compile(r"`([\w./]+\.\w+)`")
VARIES = (
    (re.compile(r"[▁▂▃▄▅▆▇█]+"), "~"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "NAME"),
    (re.compile(r"\d[\d,]*(\.\d+)?"), "N"),
    (re.compile(r"\b(bytes|B|KiB|MiB|seconds|minutes|hours|days)\b"), "unit"),
    (re.compile(r"\s+"), " "),
)
"""What is another on every machine: curves, names of leaks, numbers, units, columns."""
LATER = ("pip install", "sudo ", "pytest-leakguard init")
"""Commands that a test cannot follow: they change the machine, or have tests of their own."""


@dataclass
class Reader:
    """Somebody who does what the page says, in an empty directory."""

    folder: Path
    page: str
    unseen: list[str] = field(default_factory=list)
    """Lines that the page shows and that were not printed."""

    def follow(self) -> None:
        text = (DOCS / self.page).read_text("utf-8")
        done = 0
        for block in BLOCK.finditer(text):
            self._replace(text[done : block.start("language")])
            done = block.end()
            if block["language"] == "console":
                self._run_all(block["text"])
            elif (named := NAMED.findall(block["before"])) and block["before"].endswith(":"):
                path = self.folder / named[-1]
                path.parent.mkdir(exist_ok=True)
                path.write_text(block["text"], "utf-8")

    def _replace(self, prose: str) -> None:
        for old, new in REPLACE.findall(prose):
            path = next(path for path in self.folder.glob("*.py") if old in path.read_text())
            path.write_text(path.read_text().replace(old, new))

    def _run_all(self, text: str) -> None:
        for part in text.removeprefix("$ ").split("\n$ "):
            command, _, shown = part.partition("\n")
            if not command.startswith(LATER):
                printed = self._run(command)
                for line in shown.splitlines():
                    if not is_printed(line, printed):
                        self.unseen.append(f"{command}: {line}\n--- printed:\n{printed}")

    def _run(self, command: str) -> str:
        scripts = Path(sys.executable).parent
        changed = {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": str(DOCS.parent)}
        plain = {key: value for key, value in os.environ.items() if key not in ("CI", "COLUMNS")}
        command = re.sub(r"^pytest-leakguard\b", "python -m pytest_leakguard", command)
        command = re.sub(r"^pytest\b", "python -m pytest -p no:xdist", command)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**plain, **changed},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr


def alike(text: str) -> str:
    for pattern, same in VARIES:
        text = pattern.sub(same, text)
    return text.strip()


def is_printed(line: str, printed: str) -> bool:
    """``...`` stands for lines that are left out, at the end of a line for the rest of it."""
    wanted = alike(line.removesuffix("..."))
    return any(found.startswith(wanted) for found in map(alike, printed.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["tutorial-python.md", "tutorial-native.md", "tutorial-service.md"]
)
def test_a_tutorial_prints_what_it_says(page: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path, page)
    reader.follow()
    assert not reader.unseen, "\n\n".join(reader.unseen)
