"""``report.json``: the one source of every other report, of merging and of other people's tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_leakguard.codec import decode, encode
from pytest_leakguard.errors import MalformedReport
from pytest_leakguard.model import Check, Finding, Frame, Growth
from pytest_leakguard.verdict import Judged, Run, Verdict

FORMAT, VERSION = "leakguard-report", 1


def render(verdict: Verdict, run: Run) -> str:
    """The report as JSON text; its schema is ``schemas/report.schema.json`` in this package."""
    return json.dumps(as_dict(verdict, run), indent=2, ensure_ascii=True) + "\n"


def as_dict(verdict: Verdict, run: Run) -> dict[str, Any]:
    """The report as plain values."""
    tools = {one.check.tool: one.check.tool_version for one in verdict.checks if one.check.tool_version}
    return {
        "format": FORMAT,
        "version": VERSION,
        "environment": {**run.environment, "tools": tools},
        "summary": {outcome.value: count for outcome, count in verdict.summary.items()},
        "checks": [_check(judged) for judged in verdict.checks],
        "findings": {finding.fingerprint: _finding(finding) for finding in verdict.findings},
        "baseline": {
            "fixed": list(verdict.fixed),
            "expired": list(verdict.expired),
            "not_checked": list(verdict.not_checked),
        },
        "problems": list(verdict.problems),
        "exit_status": verdict.exit_status,
    }


def _check(judged: Judged) -> dict[str, Any]:
    check: Check = judged.check
    return {
        "id": check.id,
        "kind": check.kind,
        "tool": check.tool,
        "outcome": judged.outcome.value,
        "reasons": list(judged.reasons),
        "notes": list(check.notes),
        "exit": {"code": check.exit.code, "signal": check.exit.signal, "timed_out": check.exit.timed_out},
        "duration_s": check.duration_s,
        "growth": [_growth(growth) for growth in check.growth],
        "diagnosis": encode(check.diagnosis),
        "findings": [finding.fingerprint for finding in check.findings],
        "totals": {kind.value: {"bytes": total.size_bytes, "blocks": total.blocks} for kind, total in check.totals},
        "processes": [
            {
                "pid": one.pid,
                "ppid": one.ppid,
                "command": one.command,
                "complete": one.is_complete,
                "reason": one.reason,
            }
            for one in check.processes
        ],
        "command": list(check.command),
        "reproduce": check.reproduce,
    }


def _growth(growth: Growth) -> dict[str, Any]:
    return {
        "metric": growth.metric,
        "shape": growth.shape,
        "per_iteration": growth.per_iteration,
        "low": growth.low,
        "high": growth.high,
        "iterations": growth.iterations,
        "samples": [list(sample) for sample in growth.samples],
        "unit": growth.unit,
        "rise": growth.rise,
        "detectable_per_iteration": growth.detectable_per_iteration,
        "reason": growth.reason,
        "evidence": list(growth.evidence),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "status": finding.status.value,
        "gates": finding.is_gating,
        "size_bytes": finding.size_bytes,
        "blocks": finding.blocks,
        "stack": [_frame(frame) for frame in finding.stack],
        "sites": list(finding.sites),
        "rate": encode(finding.rate),
        "holders": list(finding.holders),
        "checks": list(finding.checks),
        "owner": finding.owner,
        "reason": finding.reason,
    }


def _frame(frame: Frame) -> dict[str, Any]:
    module = frame.module.rpartition("/")[2] if frame.module else None
    return {"function": frame.function, "file": frame.file, "line": frame.line, "module": module}


def read(path: Path) -> dict[str, Any]:
    """A report as plain values; raises ``MalformedReport`` when it is none of ours, or of a newer version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MalformedReport(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise MalformedReport(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise MalformedReport(f'{path}: no {FORMAT} (its "format" says otherwise)')
    if data.get("version") != VERSION:
        raise MalformedReport(f"{path}: version {data.get('version')!r}; this pytest-leakguard reads version {VERSION}")
    for key in ("checks", "findings", "baseline"):
        if key not in data:
            raise MalformedReport(f"{path}: lacks {key!r}; it was cut off or edited")
    return data


def read_findings(path: Path) -> list[Finding]:
    """The findings of a report."""
    return [_to_finding(path, key, value) for key, value in read(path)["findings"].items()]


def _to_finding(path: Path, fingerprint: str, data: dict[str, Any]) -> Finding:
    values = {**data, "fingerprint": fingerprint, "is_gating": data.get("gates", True)}
    values.pop("gates", None)
    return decode(Finding, values, f"{path}: findings.{fingerprint}")
