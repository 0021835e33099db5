"""Leaky and clean functions with known answers, each in a process of its own: found, blamed right, or left alone."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parent.parent / "golden" / "inprocess"
EXPECTED: dict[str, dict[str, Any]] = json.loads((CASES / "expected.json").read_text())
NAMES = [
    node.name
    for node in ast.parse((CASES / "cases.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith(("leak_", "clean_"))
]
MEASURE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pytest_leakguard.tracker.installed import installed
installed()  # as pytest's door does, before anybody looks up the address of malloc
import cases
from pytest_leakguard.screening.loop import check_loop
check = check_loop(getattr(cases, sys.argv[2]), sys.argv[2])
print("ANSWER", json.dumps({
    "notes": check.notes,
    "growth": {one.metric: [one.shape, one.per_iteration] for one in check.growth},
    "findings": [{
        "functions": [frame.function for frame in one.stack],
        "holders": one.holders,
        "details": one.details,
    } for one in check.findings],
}))
"""


def answer(name: str) -> dict[str, Any]:
    """What the loop says about one of the functions."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(CASES), name],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    told = [line for line in run.stdout.splitlines() if line.startswith("ANSWER ")]
    assert told, run.stderr
    found: dict[str, Any] = json.loads(told[0].removeprefix("ANSWER "))
    return found


def test_every_leaky_function_has_an_expected_answer() -> None:
    assert sorted(EXPECTED) == sorted(name for name in NAMES if name.startswith("leak_"))


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_leak_is_found_with_counter_pace_line_and_holder(name: str) -> None:
    expected, found = EXPECTED[name], answer(name)
    assert len(found["findings"]) == 1, found
    finding = found["findings"][0]
    shape, per_call = found["growth"][expected["counter"]]
    wanted = expected["per_call"]
    if sys.version_info >= (3, 12):  # the first 256 tasks are named by numbers that are shared
        wanted = expected.get("per_call_from_3_12", wanted)
    if sys.version_info >= (3, 13):  # instances carry their attributes themselves there
        wanted = expected.get("per_call_from_3_13", wanted)
    if sys.version_info >= (3, 14):  # a loop's set of tasks is a list without entries of its own
        wanted = expected.get("per_call_from_3_14", wanted)
    assert shape == "leak"
    if wanted == int(wanted):
        assert per_call == wanted  # numbers from 257 on are blocks of their own
    else:  # the last of so many calls may be over before the next loss
        assert per_call == pytest.approx(wanted, rel=0.1)
    assert expected["line"] in finding["functions"], finding
    if "holder" in expected:
        assert any(expected["holder"] in step for step in finding["holders"]), finding


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("clean_")])
def test_the_clean_function_is_not_blamed(name: str) -> None:
    assert answer(name)["findings"] == []
