"""``pytest-leakguard explain``: reason, owner, stack, holders and history of one leak, from whatever knows of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.reporters.conclude import Wanted, conclude
from tests.reporters.example import run

BASELINE = """version = 1

[growth."tests/test_api.py::test_orders[heap_bytes]"]
unit = "bytes/request"
allowed = 96
reason = "route cache fills"
owner = "@acme/api"

[leak."aaaaaaaaaaaaaaaa"]
kind = "definitely_lost"
targets = ["tests/test_c.py::test_export"]
max_bytes = 480
max_blocks = 10
stack = ["push (server.c)", "main (main.c)"]
reason = "until 2.0; issue 12"
owner = "@acme/net"
expires = 2099-03-31
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    conclude(run(), Wanted(report=tmp_path / "leakguard-report"))
    (tmp_path / "leakguard-baseline.toml").write_text(BASELINE)
    return tmp_path


def explained(name: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["explain", name, *more]) == 0
    return capsys.readouterr().out


def test_an_accepted_leak_is_told_with_reason_owner_and_stack(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained("a" * 16, capsys)
    for told in (
        "480 B definitely lost (10 blocks) [new]",
        "at push (/project/src/server.c:42); stack, innermost call first:",
        "    accept_order (/project/src/orders.c:17)",
        "seen in: tests/test_c.py::test_export, tests/test_c.py::test_import",
        "accepted by @acme/net until 2099-03-31: until 2.0; issue 12",
        "at most 480 bytes in 10 blocks in any one of: tests/test_c.py::test_export",
    ):
        assert told in text


def test_holders_and_what_piles_up_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained("f" * 16, capsys)
    assert "held by module shop -> dict _SESSIONS -> item of type dict\n" in text
    assert (
        "    line: _SESSIONS[object()]" in text
        and "not accepted in leakguard-baseline.toml" in text
    )


@pytest.mark.parametrize("name", ["e" * 16, "tests/test_api.py::test_orders[heap_bytes]"])
def test_growth_is_found_by_fingerprint_and_by_key(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = explained(name, capsys)
    assert "640 B per request (heap_bytes) [grown]" in text
    assert "accepted by @acme/api: route cache fills\nat most 96 bytes/request" in text


def test_without_a_report_the_baseline_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained("a" * 16, capsys, "--report", "absent")
    assert "not in absent: fixed, or not measured there" in text and "push (server.c)" in text
    assert main(["explain", "0" * 16]) == 2


def test_history_comes_from_git(
    folder: Path, tool: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        settings = ["-c", "user.name=Ada", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(
            [tool("git"), *settings, *arguments], check=True, capture_output=True, cwd=folder
        )

    assert "history" not in explained("a" * 16, capsys)
    git("init")
    git("add", "leakguard-baseline.toml")
    git("commit", "-m", "accept push until 2.0")
    text = explained("a" * 16, capsys)
    assert "history of its entry, newest first:" in text and "Ada: accept push until 2.0" in text
