"""SARIF, GitLab's code quality, collapsed stacks and speedscope: valid by their own validators, and only what fails."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest

from pytest_leakguard.baseline.compare import AcceptedLeak, Baseline
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.reporters import exports, sarif
from pytest_leakguard.verdict import Policy, Run
from tests.conftest import ROOT
from tests.reporters.example import clean_run, finding, hostile_run, run

pytestmark = pytest.mark.programs

NPM = ROOT / ".tools" / "node_modules"
MULTITOOL = NPM / "@microsoft" / "sarif-multitool-linux"
RUNS: dict[str, Callable[[], Run]] = {
    "example": run,
    "hostile": hostile_run,
    "clean": clean_run,
    "nothing": lambda: replace(clean_run(), checks=()),
}
TOLERATED = {"SARIF2005"}
"""That there is no address where to read about the tool."""


def validator(path: Path) -> Path:
    """A file that ci/check installs; where LEAKGUARD_REQUIRE_TOOLS is set its absence fails instead of skipping."""
    if not path.exists():
        problem = f"{path.relative_to(ROOT)} is not installed; ci/check installs it"
        if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
            pytest.fail(problem)
        pytest.skip(problem)
    return path


def log_of(one: Run) -> dict[str, Any]:
    return json.loads(sarif.render(one.judge(), one))  # type: ignore[no-any-return]  # JSON


def complaints(text: str, folder: Path) -> Iterator[str]:
    """What the multitool says of a log; its exit status is 0 whatever it finds, so its own output is read."""
    (folder / "in.sarif").write_text(text)
    out = folder / "out.sarif"
    tool = str(validator(MULTITOOL / "Sarif.Multitool"))
    argv = [
        tool,
        "validate",
        "in.sarif",
        "--rule-kind",
        "Sarif;Ghas",
        "--level",
        "Error;Warning",
        "-o",
        str(out),
    ]
    nowhere = "http://127.0.0.1:9"  # it would look the schema's address up
    # .NET asks for the library ICU, which a minimal system has not
    without_icu = {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    environment = {**os.environ, **without_icu, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere}
    subprocess.run(argv, cwd=folder, env=environment, check=True, capture_output=True, timeout=60)
    (checked,) = json.loads(out.read_text(encoding="utf-8-sig"))["runs"]
    for result in checked.get("results", []):
        if result["ruleId"] not in TOLERATED and result.get("level", "warning") in (
            "error",
            "warning",
        ):
            yield f"{result['ruleId']}: {result['message']}"


@pytest.mark.parametrize("name", RUNS)
def test_sarif_is_valid_by_schema_and_by_githubs_rules(name: str, tmp_path: Path) -> None:
    schema = json.loads(validator(MULTITOOL / "sarif-2.1.0.json").read_text(encoding="utf-8-sig"))
    log = log_of(RUNS[name]())
    jsonschema.validators.validator_for(schema)(schema).validate(log)
    assert list(complaints(json.dumps(log), tmp_path)) == []


def test_the_validators_see_what_is_wrong(tmp_path: Path) -> None:
    """Guards the test above: a bad level is seen by the schema, a result without a place by GitHub's rules."""
    schema = json.loads(validator(MULTITOOL / "sarif-2.1.0.json").read_text(encoding="utf-8-sig"))
    log = log_of(run())
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validators.validator_for(schema)(schema).validate(log)
    log = log_of(run())
    del log["runs"][0]["results"][0]["locations"]
    assert any(told.startswith("GH1") for told in complaints(json.dumps(log), tmp_path))


def test_sarif_tells_what_is_not_accepted_at_its_line_with_its_stack() -> None:
    (told,) = log_of(run())["runs"]
    by_name = {one["partialFingerprints"]["leakguardStack/v1"]: one for one in told["results"]}
    assert [name[0] for name in by_name] == ["e", "b", "a", "f"], "d is accepted, c does not gate"
    leak = by_name["a" * 16]
    place = leak["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("src/server.c", 42)
    flow = [step["location"] for step in leak["codeFlows"][0]["threadFlows"][0]["locations"]]
    assert [one["physicalLocation"]["region"]["startLine"] for one in flow] == [9, 17, 42]
    frames = leak["stacks"][0]["frames"]
    assert [one["location"]["logicalLocations"][0]["fullyQualifiedName"] for one in frames] == [
        "push",
        "accept_order",
        "main",
    ]
    assert len(leak["relatedLocations"]) == 3
    assert told["tool"]["driver"]["rules"][leak["ruleIndex"]]["id"] == leak["ruleId"] == "LG101"
    assert "primaryLocationLineHash" not in leak["partialFingerprints"], (
        "GitHub makes that from the source"
    )


def test_a_run_without_an_answer_says_so_in_sarif() -> None:
    (told,) = log_of(run())["runs"]
    (invocation,) = told["invocations"]
    assert invocation["executionSuccessful"] is False
    (note,) = invocation["toolExecutionNotifications"]
    assert "test_killed: the log ends inside the leak check" in note["message"]["text"]
    assert log_of(clean_run())["runs"][0]["invocations"][0]["executionSuccessful"] is True
    nothing = log_of(replace(clean_run(), checks=()))["runs"][0]["invocations"][0]
    assert nothing["executionSuccessful"] is False and nothing["toolExecutionNotifications"]


def test_a_leak_that_is_no_longer_accepted_warns_until_it_must_fail() -> None:
    late = replace(accepted("a"), expires=dt.date(2026, 1, 31))
    program = replace(run().checks[2], findings=(finding("a"),))
    one = replace(run(), checks=(program,), baseline=Baseline({"a" * 16: late}))
    (result,) = log_of(one)["runs"][0]["results"]
    (entry,) = json.loads(exports.code_quality(one.judge(), one))
    assert (result["level"], entry["severity"], one.judge().exit_status) == ("warning", "minor", 0)
    strict = replace(one, policy=Policy(is_strict=True))
    (result,) = log_of(strict)["runs"][0]["results"]
    assert (result["level"], strict.judge().exit_status) == ("error", 1)


def accepted(letter: str) -> AcceptedLeak:
    return AcceptedLeak(
        letter * 16, LeakKind.DEFINITELY_LOST, ("tests/test_c.py::test_export",), 480, 10, "known"
    )


def test_hostile_text_makes_no_link_and_no_other_address() -> None:
    text = sarif.render(hostile_run().judge(), hostile_run())
    assert "\\u001b" not in text and "\\u202e" not in text
    (told,) = json.loads(text)["runs"]
    for result in told["results"]:
        message = result["message"]["text"]
        assert "[x](http" not in message and "\n" not in message
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert "<" not in uri and " " not in uri and unquote(uri).startswith("src/a b")


def test_a_leak_without_any_line_still_has_a_place() -> None:
    lost = replace(run().checks[2], location=None, findings=(finding("9", stack=()),))
    (result,) = log_of(replace(run(), checks=(lost,)))["runs"][0]["results"]
    assert (
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        == "leakguard-baseline.toml"
    )


def test_more_leaks_than_github_takes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sarif, "MOST_RESULTS", 20)
    found = tuple(replace(finding("a"), fingerprint=f"{number:016x}") for number in range(23))
    many = replace(run(), checks=(replace(run().checks[2], findings=found),))
    (told,) = log_of(many)["runs"]
    assert len(told["results"]) == 20
    assert told["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"].startswith(
        "3 more leaks"
    )


def test_gitlab_gets_one_entry_per_leak() -> None:
    entries = json.loads(exports.code_quality(run().judge(), run()))
    assert [(one["fingerprint"][0], one["severity"]) for one in entries] == [
        (name, "critical") for name in "ebaf"
    ]
    assert entries[2]["location"] == {"path": "src/server.c", "lines": {"begin": 42}}
    assert all(
        set(one) == {"description", "check_name", "fingerprint", "severity", "location"}
        for one in entries
    )
    assert json.loads(exports.code_quality(clean_run().judge(), clean_run())) == []


@pytest.mark.parametrize("name", RUNS)
def test_speedscope_and_collapsed_stacks_agree_and_are_valid(name: str) -> None:
    one = RUNS[name]()
    schema = json.loads(
        validator(NPM / "speedscope/dist/release/file-format-schema.json").read_text()
    )
    profile = json.loads(exports.speedscope(one.judge(), one))
    jsonschema.validators.validator_for(schema)(schema).validate(profile)
    (samples,) = profile["profiles"]
    lines = exports.collapsed(one.judge(), one).splitlines()
    weights = [int(line.rpartition(" ")[2]) for line in lines]
    assert weights == samples["weights"] and sum(weights) == samples["endValue"]
    assert [line.count(";") + 1 for line in lines] == [len(sample) for sample in samples["samples"]]
    assert all(line.count(" ") == 1 for line in lines)


def test_collapsed_stacks_begin_with_the_outermost_call() -> None:
    assert "main;accept_order;push 480" in exports.collapsed(run().judge(), run()).splitlines()
