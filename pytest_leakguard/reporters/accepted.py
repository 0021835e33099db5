"""What a run is compared with: the committed baseline, or the report of another run."""

from __future__ import annotations

from pathlib import Path

from pytest_leakguard.baseline import store
from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak, Baseline, growth_key
from pytest_leakguard.core.errors import BaselineError, MalformedReport, UsageProblem
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.reporters import json_reader


def read(settings: Settings, is_given: bool) -> Baseline:
    """The accepted leaks of this run.

    A file that was named by hand has to be there, unless this run is to write it. Raises
    ``UsageProblem``.
    """
    path = settings.baseline
    if is_report(path):
        if settings.accept is not None or settings.prune:
            raise UsageProblem(
                f"{path}: is the report of another run, which nothing is accepted into; "
                "name the committed baseline"
            )
        return _of_report(path / "report.json" if path.is_dir() else path)
    if is_given and settings.accept is None and not path.exists():
        raise BaselineError(
            f"{path}: no such baseline; --leakguard-accept=REASON writes one, and without the "
            "option a project needs none"
        )
    return store.read_baseline(path)


def is_report(path: Path) -> bool:
    """Whether ``path`` names a report: a JSON file, or the directory that one is in."""
    return path.suffix == ".json" or (path / "report.json").is_file()


def _of_report(path: Path) -> Baseline:
    """All that another run has found, and all that was accepted there."""
    try:
        run = json_reader.read_run(path)
    except MalformedReport as problem:
        raise BaselineError(str(problem)) from None
    except OSError as problem:
        raise BaselineError(f"{path}: cannot be read: {problem.strerror}") from None
    reason = f"seen before: {path.name} of another run"
    leaks = dict(run.baseline.leaks)
    growth = dict(run.baseline.growth)
    for finding in run.judge().findings:
        if finding.rate is None:
            leaks[finding.fingerprint] = _leak(finding, reason)
            continue
        for check in finding.checks:
            key = growth_key(check, finding.rate)
            unit = f"{finding.rate.unit}/{finding.rate.per}"
            growth[key] = AcceptedGrowth(key, unit, max(finding.rate.high, 0.0), reason)
    return Baseline(leaks, growth)


def _leak(finding: Finding, reason: str) -> AcceptedLeak:
    """Without targets: nobody prunes a report, so none of its entries can be out of date."""
    return AcceptedLeak(
        fingerprint=finding.fingerprint,
        kind=finding.kind,
        targets=(),
        max_bytes=finding.size_bytes,
        max_blocks=finding.blocks,
        reason=reason,
    )
