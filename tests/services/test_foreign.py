"""A service whose descriptors may not be read is no answer, whoever it belongs to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes import memory
from pytest_leakguard.services import session
from pytest_leakguard.verdict import Judged, Policy, judge_check

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def looped(pid: int, port: int) -> Judged:
    found: list[Judged] = []

    def finish(check: Check) -> Judged:
        found.append(judge_check(check, Policy()))
        return found[-1]

    context = session.Context(Settings(timeout_s=60.0), lambda: "it", finish)
    with session.attach(pid, context, port) as served:
        served.loop(["GET /"], 200)
    return found[0]


def test_descriptors_that_may_not_be_read_are_told_from_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert memory.unreadable([os.getpid()]) == (os.getpid(),)
    monkeypatch.undo()
    assert memory.unreadable([os.getpid()]) == ()


def test_an_attached_service_of_another_user_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "server.py").write_text(SERVER)
    running = subprocess.Popen([sys.executable, str(tmp_path / "server.py"), str(port)])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        monkeypatch.setattr(memory, "unreadable", lambda pids: tuple(pids))  # as for another user
        judged = looped(running.pid, port)
    finally:
        running.terminate()
        running.wait()
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "may not be read" in judged.reasons[-1]
