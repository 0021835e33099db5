"""Services under a tool: what leaked when they have stopped, and the line that allocated it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.services import session
from pytest_leakguard.services.launch import ServiceTarget

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="services are measured through /proc"),
    pytest.mark.programs,
]
SOURCE = Path(__file__).parents[2] / "sample_apps" / "services" / "server.c"


def build(folder: Path, *options: str, source: Path = SOURCE) -> str:
    program = folder / "server"
    subprocess.run(
        ["gcc", "-O0", "-g", *options, "-o", str(program), str(source)], check=True, timeout=60
    )
    return str(program)


@pytest.fixture(autouse=True)
def tools() -> None:
    missing = [tool for tool in ("gcc", "valgrind") if not shutil.which(tool)]
    if missing:
        assert not os.environ.get("LEAKGUARD_REQUIRE_TOOLS"), f"{missing} missing"
        pytest.skip(f"{', '.join(missing)} not installed")


def under(bench: Any, tool: str, program: str, mode: str, kill: int = 0) -> Any:
    with session.serve(ServiceTarget((program, "{port}", mode)), bench.context, tool) as served:
        assert served.loop(["GET /orders/7"], 40) is None
        if kill:
            os.kill(served.pid, kill)
    return bench.judged


@pytest.mark.parametrize(
    ("tool", "options"),
    [("valgrind", ()), ("sanitizer", ("-fsanitize=address",)), ("sanitizer", ("-fsanitize=leak",))],
)
def test_what_each_request_lost_is_told_with_its_line(
    bench: Any, tmp_path: Path, tool: str, options: tuple[str, ...]
) -> None:
    program = build(tmp_path, *options)
    judged = under(bench, tool, program, "leak")
    assert judged.outcome is Outcome.LEAK
    (finding,) = judged.check.findings
    assert (finding.size_bytes, finding.blocks) == (40 * 1024, 40)
    assert ("new_session", 16) in [(frame.function, frame.line) for frame in finding.stack]
    assert under(bench, tool, program, "fixed").outcome is Outcome.CLEAN


def test_a_service_killed_under_its_tool_has_inconclusive(bench: Any, tmp_path: Path) -> None:
    judged = under(bench, "valgrind", build(tmp_path), "leak", kill=signal.SIGKILL)
    assert judged.outcome is Outcome.INCONCLUSIVE


def test_a_sanitizer_build_that_dies_of_sigterm_says_what_to_do(bench: Any, tmp_path: Path) -> None:
    source = tmp_path / "server.c"
    source.write_text(
        "\n".join(line for line in SOURCE.read_text().split("\n") if "sigaction(SIG" not in line)
    )
    judged = under(
        bench, "sanitizer", build(tmp_path, "-fsanitize=address", "-w", source=source), "leak"
    )
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "end by itself on SIGTERM" in " ".join(judged.reasons)
