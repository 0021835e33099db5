"""Reads ``report.json`` back: the same checks, judged anew.

A report is refused when what it says does not follow from its checks.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak, Baseline, Comparison
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.codec import decode
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.text import one_line
from pytest_leakguard.reporters.json import FORMAT, VERSION, finding_as_dict
from pytest_leakguard.verdict import Policy, Run, Selection

_CHECK_AS_IT_IS = (
    "id kind tool problems faults notes exit expected_exit duration_s growth diagnosis skipped "
    "not_repeatable command reproduce tool_version output location"
).split()
"""Keys that stand in the report as the fields of ``Check`` are called."""
SHAPES = ("leak", "cache", "burst", "fragmentation", "stable", "undecided")
_TOTAL_NAMES = {"bytes": "size_bytes"}
_PROCESS_NAMES = {"complete": "is_complete", "fork": "is_fork"}


def read(path: Path) -> dict[str, Any]:
    """A report as plain values.

    Raises ``MalformedReport`` when it is none of ours, or of a newer version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise MalformedReport(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise MalformedReport(f"{path}: {_no_json(error)}; it was cut off or edited") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise MalformedReport(f'{path}: no {FORMAT}: its "format" is another, or it has none')
    if data.get("version") != VERSION:
        version = data.get("version")
        raise MalformedReport(
            f"{path}: version {version!r}; this pytest-leakguard reads version {VERSION}"
        )
    for key, kind in (("checks", list), ("findings", dict), ("baseline", dict)):
        if not isinstance(data.get(key), kind):
            raise MalformedReport(f"{path}: lacks {key!r}; it was cut off or edited")
    return data


def _no_json(error: Exception) -> str:
    """Where the text stops being JSON, in words for people who have not written it."""
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON: {one_line(str(error))}"
    if not error.doc.strip():
        return "not JSON, but empty"
    return f"not JSON from line {error.lineno} on"


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def read_findings(path: Path) -> list[Finding]:
    """The findings of a report."""
    return list(_findings(read(path), str(path)).values())


def read_run(path: Path) -> Run:
    """The run behind a report.

    Raises ``MalformedReport``, also when its verdict does not follow from its checks.
    """
    data, where = read(path), str(path)
    findings = _findings(data, where)
    checks = []
    for index, check in enumerate(data["checks"]):
        checks.append(_check(check, findings, f"{where}: checks[{index}]"))
    run = _run(data, tuple(checks), where)
    _verify(run, data, where)
    return run


def _findings(data: Mapping[str, Any], where: str) -> dict[str, Finding]:
    return {
        key: _finding(key, value, f"{where}: findings.{key}")
        for key, value in data["findings"].items()
    }


def _finding(fingerprint: str, data: Any, where: str) -> Finding:
    if not isinstance(data, dict):
        raise MalformedReport(f"{where}: expected an object, got {type(data).__name__}")
    values = {**data, "fingerprint": fingerprint, "is_gating": data.get("gates", True)}
    values.pop("gates", None)
    return decode(Finding, values, where)


def _check(data: Any, findings: Mapping[str, Finding], where: str) -> Check:
    if not isinstance(data, dict):
        raise MalformedReport(f"{where}: expected an object, got {type(data).__name__}")
    values = {key: data[key] for key in _CHECK_AS_IT_IS if key in data}
    if "problems" not in data:  # written by another tool, which has reasons only
        values |= _from_reasons(data)
    seen = [_seen(key, data, findings, where) for key in _list(data, "findings", where)]
    values["totals"] = []
    for kind, total in _object(data, "totals", where).items():
        values["totals"].append([kind, _renamed(total, _TOTAL_NAMES, where)])
    values["processes"] = []
    for process in _list(data, "processes", where):
        values["processes"].append(_renamed(process, _PROCESS_NAMES, where))
    check = decode(Check, {**values, "findings": []}, where)
    for growth in check.growth:
        _verify_shape(growth.shape, where)
    if check.diagnosis is not None:
        _verify_shape(check.diagnosis.shape, where)
    return replace(check, findings=tuple(seen))


def _verify_shape(shape: str, where: str) -> None:
    if shape not in SHAPES:
        raise MalformedReport(f"{where}: {shape[:40]!r} is none of {', '.join(SHAPES)}")


def _renamed(data: Any, names: Mapping[str, str], where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise MalformedReport(f"{where}: expected an object, got {type(data).__name__}")
    return {names.get(key, key): value for key, value in data.items()}


def _from_reasons(data: Mapping[str, Any]) -> dict[str, Any]:
    reasons = data.get("reasons") or []
    reason = "; ".join(map(str, reasons)) or "no reason was given"
    values: dict[str, Any] = {"expected_exit": None}
    outcome = data.get("outcome")
    if outcome == Outcome.INCONCLUSIVE:
        values["problems"] = reasons or [reason]
    elif outcome == Outcome.SKIPPED:
        values["skipped"] = reason
    elif outcome == Outcome.NOT_REPEATABLE:
        values["not_repeatable"] = reason
    return values


def _seen(
    key: Any, data: Mapping[str, Any], findings: Mapping[str, Finding], where: str
) -> Finding:
    """A finding as this check saw it."""
    if not isinstance(key, str) or key not in findings:
        name = repr(str(key)[:40])
        raise MalformedReport(
            f"{where}: names finding {name}, which the report lacks; it was cut or edited"
        )
    measured = _object(_object(data, "measured", where), key, f"{where}.measured")
    return _finding(key, {**finding_as_dict(findings[key]), **measured}, f"{where}.measured.{key}")


def _list(data: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise MalformedReport(f"{where}.{key}: expected a list, got {type(value).__name__}")
    return value


def _object(data: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise MalformedReport(f"{where}.{key}: expected an object, got {type(value).__name__}")
    return value


def _run(data: Mapping[str, Any], checks: tuple[Check, ...], where: str) -> Run:
    environment = {}
    for name, value in _object(data, "environment", where).items():
        if name != "tools":
            environment[name] = str(value)
    about = _object(data, "run", where)
    if not about or about.get("accepted") is None:
        problems, compared = _strings(data, "problems", where), _compared(data, checks, where)
        return Run(
            checks,
            problems=problems,
            notes=_strings(data, "notes", where),
            environment=environment,
            compared=compared,
        )
    place = f"{where}: run"
    accepted = _object(about, "accepted", place)
    leaks = decode(tuple[AcceptedLeak, ...], accepted.get("leaks"), f"{place}.accepted.leaks")
    growth = decode(tuple[AcceptedGrowth, ...], accepted.get("growth"), f"{place}.accepted.growth")
    return Run(
        checks=checks,
        baseline=Baseline(
            {leak.fingerprint: leak for leak in leaks}, {rate.id: rate for rate in growth}
        ),
        judged_on=decode(dt.date, about.get("judged_on"), f"{place}.judged_on"),
        policy=decode(Policy, about.get("policy"), f"{place}.policy"),
        problems=_strings(about, "problems", place),
        notes=_strings(data, "notes", where),
        selection=decode(Selection, about.get("selection"), f"{place}.selection"),
        environment=environment,
        root=_path(about, "root", place),
        repository=_path(about, "repository", place),
        baseline_file=str(about.get("baseline_file", "")),
    )


def _compared(data: Mapping[str, Any], checks: tuple[Check, ...], where: str) -> Comparison:
    """What a report says of a baseline that it does not hold."""
    baseline, place = data["baseline"], f"{where}: baseline"
    return Comparison(
        checks,
        fixed=_strings(baseline, "fixed", place),
        expired=_strings(baseline, "expired", place),
        not_checked=_strings(baseline, "not_checked", place),
    )


def _strings(data: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    return decode(tuple[str, ...], data.get(key, []), f"{where}.{key}")


def _path(data: Mapping[str, Any], key: str, where: str) -> Path | None:
    value = data.get(key)
    return None if value is None else decode(Path, value, f"{where}.{key}")


def _verify(run: Run, data: Mapping[str, Any], where: str) -> None:
    """Refuses a report whose words and checks disagree: one of the two was changed."""
    verdict = run.judge()
    for judged, recorded in zip(verdict.checks, data["checks"], strict=True):
        if recorded.get("outcome") != judged.outcome:
            said = repr(str(recorded.get("outcome"))[:40])
            raise MalformedReport(
                f"{where}: says {said} of {judged.check.id!r}, but from what it holds follows "
                f"{judged.outcome.value!r}; it was edited, or written by another version"
            )
    if run.compared is None and data.get("exit_status") != verdict.exit_status:
        said = str(data.get("exit_status"))[:40]
        raise MalformedReport(
            f"{where}: says exit_status {said}, but from what it holds follows "
            f"{verdict.exit_status}; it was edited, or written by another version"
        )
