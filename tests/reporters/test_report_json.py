"""report.json is the whole truth of a run: read back, it is judged the same; anything else is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.reporters import json as report_json
from pytest_leakguard.reporters import json_reader, write
from pytest_leakguard.verdict import Policy, Run
from tests.reporters.example import clean_run, hostile_run, run

SCHEMA = json.loads(
    (Path(report_json.__file__).parents[1] / "schemas" / "report.schema.json").read_text()
)
RUNS: dict[str, Callable[[], Run]] = {
    "example": run,
    "clean": clean_run,
    "hostile": hostile_run,
    "nothing": lambda: replace(clean_run(), checks=()),
    "strict": lambda: replace(run(), policy=Policy(is_strict=True)),
    "accepting": lambda: replace(run(), policy=Policy(is_accepting=True)),
    "crashed": lambda: replace(clean_run(), problems=("worker gw0 crashed",)),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "report.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", RUNS)
def test_a_report_read_back_is_judged_the_same_and_written_the_same(
    name: str, tmp_path: Path
) -> None:
    before = RUNS[name]()
    text = report_json.render(before.judge(), before)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    after = json_reader.read_run(written(tmp_path, text))
    assert after.judge() == before.judge()
    assert report_json.render(after.judge(), after) == text


def test_each_check_keeps_its_own_size_of_a_common_leak(tmp_path: Path) -> None:
    text = report_json.render(run().judge(), run())
    after = json_reader.read_run(written(tmp_path, text))
    sizes = {
        check.id: one.size_bytes
        for check in after.checks
        for one in check.findings
        if one.fingerprint == "a" * 16
    }
    assert sizes == {"tests/test_c.py::test_export": 480, "tests/test_c.py::test_import": 96}


def test_a_report_by_the_published_keys_alone_can_be_read(tmp_path: Path) -> None:
    """As other people's tools may write it."""
    report = {
        "format": "leakguard-report",
        "version": 1,
        "environment": {
            "python": "3.12.1",
            "platform": "linux-x86_64",
            "tools": {"valgrind": "3.19.0"},
        },
        "summary": {"clean": 0, "leak": 1, "inconclusive": 1, "skipped": 0, "not_repeatable": 0},
        "checks": [
            {
                "id": "convert",
                "kind": "program",
                "tool": "valgrind",
                "outcome": "leak",
                "reasons": [],
                "exit": {"code": 0, "signal": None, "timed_out": False},
                "duration_s": 1.2,
                "growth": [],
                "findings": ["3f9c2a7be1d04c55"],
            },
            {
                "id": "other",
                "kind": "program",
                "tool": "valgrind",
                "outcome": "inconclusive",
                "reasons": ["valgrind crashed"],
                "exit": {"code": 1, "signal": None, "timed_out": False},
                "duration_s": 1,
                "growth": [],
                "findings": [],
            },
        ],
        "findings": {
            "3f9c2a7be1d04c55": {
                "kind": "definitely_lost",
                "status": "new",
                "size_bytes": 120,
                "blocks": 10,
                "stack": [
                    {"function": "push", "file": "src/server.c", "line": 42, "module": "server"}
                ],
                "holders": [],
                "checks": ["convert"],
            }
        },
        "baseline": {"fixed": ["1" * 16], "expired": [], "not_checked": []},
    }
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    verdict = json_reader.read_run(written(tmp_path, json.dumps(report))).judge()
    assert verdict.exit_status == 1 and verdict.fixed == ("1" * 16,)
    assert [judged.reasons for judged in verdict.checks] == [(), ("valgrind crashed",)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data["checks"][1].update(outcome="clean"), "it was edited"),
        (lambda data: data.update(exit_status=0), "it was edited"),
        (lambda data: data["findings"].clear(), "which the report lacks"),
        (lambda data: data.pop("checks"), "lacks 'checks'"),
        (lambda data: data.update(version=2), "version 2"),
        (lambda data: data.update(format="x"), "no leakguard-report"),
        (lambda data: data["run"].update(judged_on="soon"), "'soon' is no date"),
        (lambda data: data["checks"][0]["diagnosis"].update(shape="round"), "'round' is none of"),
        (lambda data: data["checks"][2]["totals"].update(definitely_lost=3), "expected an object"),
        (
            lambda data: data["checks"][2]["measured"]["a" * 16].update(size_bytes="many"),
            "expected int",
        ),
    ],
    ids=range(10),
)
def test_what_was_changed_is_refused_with_its_place(
    change: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    data = report_json.as_dict(run().judge(), run())
    change(data)
    path = written(tmp_path, json.dumps(data))
    with pytest.raises(MalformedReport, match=told) as caught:
        json_reader.read_run(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -2])
def test_a_report_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    text = report_json.render(run().judge(), run())
    with pytest.raises(MalformedReport, match="not JSON"):
        json_reader.read_run(written(tmp_path, text[:kept]))


EXTREMES = st.sampled_from(
    [1e308, -1e308, 5e-324, 10**30, -1, 2**63, "\ud800", "\x00", "a\nb", "/", ".."]
)
JUNK: st.SearchStrategy[Any] = EXTREMES | (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.just([])
    | st.just({})
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_spoilt_report_is_refused_or_makes_every_report(
    tmp_path: Path, data: st.DataObject
) -> None:
    plain = json.loads(report_json.render(run().judge(), run()))
    node: Any = plain
    while isinstance(node, dict | list) and node:
        key = data.draw(
            st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node))))
        )
        if not isinstance(node[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
            node[key] = data.draw(JUNK)
            break
        node = node[key]
    try:
        spoilt = json_reader.read_run(written(tmp_path, json.dumps(plain)))
    except MalformedReport as error:
        assert "report.json" in str(error)
        return
    for name, text in write.render_all(spoilt.judge(), spoilt):
        assert text.encode("utf-8") or name == "stacks.collapsed"
