"""``report.json``: the one source of every other report, of merging and of other people's tools."""

from __future__ import annotations

import json
from typing import Any

from pytest_leakguard.core.checks import Check, Growth
from pytest_leakguard.core.codec import encode
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.programs import Process
from pytest_leakguard.verdict import Judged, Run, Verdict

FORMAT, VERSION = "leakguard-report", 1


def render(verdict: Verdict, run: Run) -> str:
    """The report as JSON text; its schema is ``schemas/report.schema.json`` in this package."""
    return json.dumps(as_dict(verdict, run), indent=2, ensure_ascii=True) + "\n"


def as_dict(verdict: Verdict, run: Run) -> dict[str, Any]:
    """The report as plain values."""
    tools = {}
    for judged in verdict.checks:
        if judged.check.tool_version:
            tools[judged.check.tool] = judged.check.tool_version
    findings = {finding.fingerprint: finding for finding in verdict.findings}
    return {
        "format": FORMAT,
        "version": VERSION,
        "environment": {**run.environment, "tools": tools},
        "summary": {outcome.value: count for outcome, count in verdict.summary.items()},
        "checks": [_check(judged, findings) for judged in verdict.checks],
        "findings": {
            fingerprint: finding_as_dict(finding) for fingerprint, finding in findings.items()
        },
        "baseline": {
            "fixed": list(verdict.fixed),
            "expired": list(verdict.expired),
            "not_checked": list(verdict.not_checked),
        },
        "problems": list(verdict.problems),
        "notes": list(verdict.notes),
        "exit_status": verdict.exit_status,
        "run": _run(run),
    }


def _run(run: Run) -> dict[str, Any]:
    """What the verdict follows from besides the checks."""
    return {
        "judged_on": encode(run.judged_on),
        "root": encode(run.root),
        "repository": encode(run.repository),
        "baseline_file": run.baseline_file,
        "policy": encode(run.policy),
        "problems": list(run.problems),
        "selection": encode(run.selection),
        "accepted": _accepted(run),
    }


def _accepted(run: Run) -> dict[str, Any] | None:
    """The baseline; ``None`` where only what somebody else compared with it is known."""
    if run.compared:
        return None
    return {
        "leaks": encode(tuple(run.baseline.leaks.values())),
        "growth": encode(tuple(run.baseline.growth.values())),
    }


def _check(judged: Judged, findings: dict[str, Finding]) -> dict[str, Any]:
    check: Check = judged.check
    values = {
        "id": check.id,
        "kind": check.kind,
        "tool": check.tool,
        "outcome": judged.outcome.value,
        "reasons": list(judged.reasons),
        "notes": list(check.notes),
        "exit": {
            "code": check.exit.code,
            "signal": check.exit.signal,
            "timed_out": check.exit.timed_out,
        },
        "duration_s": check.duration_s,
        "growth": [_growth(growth) for growth in check.growth],
        "diagnosis": encode(check.diagnosis),
        "findings": [finding.fingerprint for finding in check.findings],
        "measured": {
            finding.fingerprint: _measured(finding, findings[finding.fingerprint])
            for finding in check.findings
        },
        "totals": {
            kind.value: {"bytes": total.size_bytes, "blocks": total.blocks}
            for kind, total in check.totals
        },
        "processes": [_process(process) for process in check.processes],
        "command": list(check.command),
        "reproduce": check.reproduce,
        "problems": list(check.problems),
        "skipped": check.skipped,
        "not_repeatable": check.not_repeatable,
        "expected_exit": check.expected_exit,
        "tool_version": check.tool_version,
        "output": check.output,
        "location": encode(check.location),
    }
    if check.faults:
        values["faults"] = list(check.faults)
    return values


def _measured(here: Finding, over_all: Finding) -> dict[str, Any]:
    """What this check saw of a finding, as far as it differs from the finding over all checks.

    Its status and its size are always there.
    """
    common = finding_as_dict(over_all)
    measured = {}
    for key, value in finding_as_dict(here).items():
        if key in ("status", "size_bytes", "blocks") or value != common.get(key):
            measured[key] = value
    return measured


def _process(process: Process) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "ppid": process.ppid,
        "command": process.command,
        "complete": process.is_complete,
        "reason": process.reason,
        "fork": process.is_fork,
        "signal": process.signal,
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


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """One finding; its fingerprint is the key it stands under."""
    path = {"held_by": finding.held_by} if finding.held_by else {}
    values = {
        "kind": finding.kind.value,
        "status": finding.status.value,
        "gates": finding.is_gating,
        "size_bytes": finding.size_bytes,
        "blocks": finding.blocks,
        "stack": [_frame(frame) for frame in finding.stack],
        "sites": list(finding.sites),
        "details": list(finding.details),
        "rate": encode(finding.rate),
        "holders": list(finding.holders),
        **path,
        "checks": list(finding.checks),
        "owner": finding.owner,
        "reason": finding.reason,
    }
    if finding.former:
        values["former"] = list(finding.former)
    return values


def _frame(frame: Frame) -> dict[str, Any]:
    """Without the address, which is chance, unless nothing else identifies the call."""
    module = frame.module.rpartition("/")[2] if frame.module else None
    values = {"function": frame.function, "file": frame.file, "line": frame.line, "module": module}
    if frame.is_inlined:
        values["is_inlined"] = True
    if frame.function is None:
        values["offset"] = frame.address if frame.offset is None else frame.offset
    return values
