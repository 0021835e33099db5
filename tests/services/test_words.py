"""What an operator reads of a service: numbers of requests, processes by name, a limit."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.processes import tree
from pytest_leakguard.reporters import growth_text
from pytest_leakguard.services.causes import of_process
from pytest_leakguard.services.launch import ServiceTarget

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="services are measured through /proc"
)


def test_too_few_requests_are_told_with_the_number_that_is_enough(
    bench: Any, make_stub: Any
) -> None:
    judged = bench.run(make_stub("clean"), requests=30)
    assert judged.outcome is Outcome.INCONCLUSIVE
    (reason,) = judged.reasons
    found = re.search(r"30 requests are too few .* send at least (\d+) requests", reason)
    assert found, reason
    enough = bench.run(make_stub("clean"), requests=int(found[1]))
    assert enough.outcome is Outcome.CLEAN


def test_a_leak_without_a_limit_is_forecast_for_this_machine(bench: Any, make_stub: Any) -> None:
    judged = bench.run(make_stub("leak"))
    diagnosis = judged.check.diagnosis
    assert diagnosis.limit_bytes > 0 and diagnosis.marks
    assert any("memory of this machine" in fact for fact in diagnosis.facts)
    assert any("stay below 70%" in line for line in growth_text.forecast(diagnosis))


def test_the_process_that_grows_is_named_among_several(bench: Any, make_stub: Any) -> None:
    starter = (
        "import subprocess,sys; subprocess.Popen(['sleep', '60']);"
        "sys.argv=sys.argv[1:]; exec(open(sys.argv[0]).read())"
    )
    stub = make_stub("leak").argv[1]
    target = ServiceTarget((sys.executable, "-c", starter, stub, "{port}", "leak"))
    judged = bench.run(target)
    assert judged.outcome is Outcome.LEAK
    (fact,) = [one for one in judged.check.diagnosis.facts if " by process: " in one]
    assert re.search(
        r"by process: process \d+ \(.*python.*\) \+.*process \d+ \(sleep 60\) \+0", fact
    )


def test_a_process_is_named_without_the_folders_of_its_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree, "command", lambda pid: "/venv/bin/python /venv/bin/gunicorn -w 2")
    assert of_process(17) == "process 17 (python gunicorn -w 2)"
