"""Runs one function of the set as a loop; ``python -m tests.screening.own_set.loop NAME`` prints what was said."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.screening.own_set.judged import Said

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 300


def said_of(name: str) -> tuple[Said, float]:
    """What a loop in a process of its own says of the function, and its CPU seconds."""
    command = [sys.executable, "-m", "tests.screening.own_set.loop", name]
    with tempfile.TemporaryDirectory(prefix="leakguard-own-set-") as directory:
        text = _output(command, Path(directory))
    for line in text.splitlines():
        if line.startswith("ANSWER "):
            answer: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
            return Said(answer["outcome"], answer["findings"], answer["told"]), answer["cpu_s"]
    return Said("no answer", told=[text[-2000:]]), 0.0


def _output(command: list[str], directory: Path) -> str:
    """All that the process writes; its temporary files go with ``directory``.

    It is written to a file, since children that outlive the process would keep a pipe open, and
    has a session of its own, so that these children can be ended.
    """
    written = directory / "output"
    environment = os.environ | {"TMPDIR": str(directory)}
    with written.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            output.write(f"no answer within {TIMEOUT_S} s".encode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return written.read_text(errors="replace")


def main(name: str) -> None:
    """Prints one line with the answer."""
    from pytest_leakguard.screening.loop import check_loop
    from pytest_leakguard.tracker.installed import installed
    from pytest_leakguard.verdict import Policy, judge_check

    installed()  # as pytest's door does, before anybody looks up the address of malloc
    module, _, function = name.partition(".")
    work = getattr(importlib.import_module(f"tests.screening.own_set.{module}"), function)
    began = time.process_time()
    check = check_loop(work, name)
    cpu_s = time.process_time() - began
    findings = [
        {
            "kind": finding.kind,
            "size_bytes": finding.size_bytes,
            "blocks": finding.blocks,
            "holders": finding.holders,
            "details": finding.details,
        }
        for finding in check.findings
    ]
    answer = {
        "outcome": judge_check(check, Policy()).outcome,
        "findings": findings,
        "told": [*check.notes, *check.problems],
        "cpu_s": cpu_s,
    }
    print("ANSWER", json.dumps(answer), flush=True)
    os._exit(0)  # without waiting for threads that some functions leave behind


if __name__ == "__main__":
    main(sys.argv[1])
