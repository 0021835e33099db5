"""``pytest-leakguard completion``: what a shell completes is what the parser knows."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from pytest_leakguard.cli import completion
from pytest_leakguard.cli.main import main

COMPLETE = """
eval "$0"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_shtab_pytest_leakguard
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_a_script_with_every_command(
    capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    text = script(shell, capsys)
    for command in ("init", "check", "baseline", "completion"):
        assert command in text


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pytest-leakguard", "ba"], ["baseline"]),
        (["pytest-leakguard", "init", "to"], ["tox"]),
        (["pytest-leakguard", "check", "--missing-tool", ""], ["skip", "fail"]),
        (["pytest-leakguard", "report", "--hist"], ["--history"]),
    ],
)
def test_bash_completes_commands_options_and_choices(
    capsys: pytest.CaptureFixture[str], words: list[str], offered: list[str]
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    argv = [bash, "-c", COMPLETE, script("bash", capsys), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == offered


def test_without_the_package_the_user_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'pytest-leakguard[completion]'" in capsys.readouterr().err
