"""Puts the runs of several shards together and says what the whole lacks.

Pure: the verdict over all of them is judged anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.baseline.compare import Baseline, Comparison
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.text import counted
from pytest_leakguard.verdict import Policy, Run, Selection

MOST_NAMED = 5
"""Names that one line of a problem lists; more would hide the problem itself."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The report of one job; ``run`` is ``None`` when it could not be read."""

    name: str
    run: Run | None
    problem: str = ""


def merge(shards: Sequence[Shard], expected: int | None = None) -> Run:
    """One run of them all.

    One report alone stays as it is, unless it is known that there should be more.
    """
    runs = [(shard.name, shard.run) for shard in shards if shard.run is not None]
    problems = tuple(_missing(shards, expected))
    if not runs:
        return Run((), problems=problems)
    if len(runs) == 1:
        ((_, only),) = runs
        lost: tuple[str, ...] = ()
        if expected is not None and only.compared is None:
            lost = tuple(_never_measured([only]))
        return replace(only, problems=(*only.problems, *problems, *lost))
    return _joined(runs, problems)


def _joined(runs: Sequence[tuple[str, Run]], problems: tuple[str, ...]) -> Run:
    alone = [run for _, run in runs]
    first = alone[0]
    moved = [_as_under(run, first) for run in alone]
    checks = tuple(sorted(_all_checks(moved), key=lambda check: check.id))
    compared = _compared(moved, checks) if any(run.compared for run in alone) else None
    return Run(
        checks=checks,
        baseline=_common(alone),
        judged_on=max(run.judged_on for run in alone),
        policy=Policy(
            any(run.policy.is_strict for run in alone),
            all(run.policy.is_accepting for run in alone),
        ),
        problems=(
            *problems,
            *_own_problems(runs),
            *_differing(runs),
            *_measured_twice(runs),
            *_never_measured(alone),
        ),
        notes=tuple(dict.fromkeys(note for run in alone for note in run.notes)),
        selection=_selection(alone),
        environment=_environment(alone),
        root=first.root,
        repository=first.repository,
        baseline_file=first.baseline_file,
        compared=compared,
    )


def _all_checks(runs: Sequence[Run]) -> list[Check]:
    checks: list[Check] = []
    for run in runs:
        checks.extend(run.checks)
    return checks


def _own_problems(runs: Sequence[tuple[str, Run]]) -> Iterator[str]:
    for name, run in runs:
        for problem in run.problems:
            yield f"{name}: {problem}"


def _missing(shards: Sequence[Shard], expected: int | None) -> Iterator[str]:
    found = 0
    for shard in shards:
        if shard.run is None:
            yield f"{shard.name}: {shard.problem}"
        else:
            found += 1
    if expected is None:
        return
    if found < expected:
        missing = f"{expected - found} of {expected} shards are missing"
        yield f"{missing}: what they were to measure is not known"
    if found > expected:
        yield f"{found} reports where {expected} shards were expected: some belong to another run"


def _differing(runs: Sequence[tuple[str, Run]]) -> Iterator[str]:
    """Reports that must not be put together: judged by other rules, or made by another version."""
    (first_name, first), *others = runs
    for name, run in others:
        if run.compared is None and first.compared is None and run.baseline != first.baseline:
            keys = _named(sorted(_unlike(first.baseline, run.baseline)))
            both = f"the baselines of {first_name} and {name}"
            yield f"{both} differ in {keys}: check out the same commit"
        both = f"{first_name} and {name}"
        version, other_version = (
            first.environment.get("leakguard"),
            run.environment.get("leakguard"),
        )
        if version != other_version:
            yield f"{both} were made by different versions: {version} and {other_version}"
        commit, other = (each.environment.get("commit", "") for each in (first, run))
        if commit and other and commit != other:
            yield f"{both} are of different commits: {commit[:12]} and {other[:12]}"
        if run.policy != first.policy:
            options = "--leakguard-strict, --leakguard-accept"
            yield f"{both} were judged by different options ({options})"


def _unlike(first: Baseline, second: Baseline) -> set[str]:
    """Keys of the entries that only one of them has, or has in other words."""
    unlike: set[str] = set()
    for key in {*first.leaks, *second.leaks}:
        if first.leaks.get(key) != second.leaks.get(key):
            unlike.add(key)
    for key in {*first.growth, *second.growth}:
        if first.growth.get(key) != second.growth.get(key):
            unlike.add(key)
    return unlike


def _measured_twice(runs: Sequence[tuple[str, Run]]) -> Iterator[str]:
    places: dict[str, list[str]] = {}
    for name, run in runs:
        for check_id in dict.fromkeys(check.id for check in run.checks):
            places.setdefault(check_id, []).append(name)
    twice = {check_id: names for check_id, names in places.items() if len(names) > 1}
    if twice:
        check_id, names = next(iter(sorted(twice.items())))
        more = f", and {len(twice) - 1} more" if len(twice) > 1 else ""
        yield f"measured twice: {check_id} in {' and '.join(names[:MOST_NAMED])}{more}"


def _never_measured(runs: Sequence[Run]) -> Iterator[str]:
    """Tests that every shard left to others, as when shards were split by different durations."""
    elsewhere: set[str] = set()
    accounted_for: set[str] = set()
    for run in runs:
        elsewhere.update(run.selection.elsewhere)
        accounted_for.update(run.selection.ran_unchecked, run.selection.never_ran)
        for check in run.checks:
            # The second check of a test has its id and a number: tests/test_it.py::test_it#2.
            accounted_for.update((check.id, check.id.partition("#")[0]))
    lost = sorted(elsewhere - accounted_for)
    if lost:
        yield f"{counted(len(lost), 'test')} measured by no shard: {_named(lost)}"


def _named(names: Sequence[str]) -> str:
    text = ", ".join(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        text += f" and {len(names) - MOST_NAMED} more"
    return text


def _common(runs: Sequence[Run]) -> Baseline:
    """What every shard accepts in the same words."""
    first, *others = (run.baseline for run in runs)
    leaks, growth = dict(first.leaks), dict(first.growth)
    for baseline in others:
        for key, leak in first.leaks.items():
            if baseline.leaks.get(key) != leak:
                leaks.pop(key, None)
        for key, rate in first.growth.items():
            if baseline.growth.get(key) != rate:
                growth.pop(key, None)
    return Baseline(leaks, growth)


def _compared(runs: Sequence[Run], checks: tuple[Check, ...]) -> Comparison:
    """Of reports without their baseline: what they say, as far as no other shard contradicts."""
    fixed: set[str] = set()
    expired: set[str] = set()
    not_checked: set[str] = set()
    for run in runs:
        if run.compared is not None:
            fixed.update(run.compared.fixed)
            expired.update(run.compared.expired)
            not_checked.update(run.compared.not_checked)
    for check in checks:
        for finding in check.findings:
            fixed.discard(finding.fingerprint)
            not_checked.discard(finding.fingerprint)
    return Comparison(
        checks,
        fixed=tuple(sorted(fixed)),
        expired=tuple(sorted(expired)),
        not_checked=tuple(sorted(not_checked - fixed)),
    )


def _selection(runs: Sequence[Run]) -> Selection:
    ran: set[str] = set()
    never_ran: set[str] = set()
    elsewhere: set[str] = set()
    for run in runs:
        ran.update(run.selection.ran_unchecked)
        never_ran.update(run.selection.never_ran)
        elsewhere.update(run.selection.elsewhere)
    checked = {check.id for check in _all_checks(runs)}
    return Selection(
        ran_unchecked=tuple(sorted(ran)),
        never_ran=tuple(sorted(never_ran)),
        elsewhere=tuple(sorted(elsewhere - ran - checked)),
    )


def _environment(runs: Sequence[Run]) -> Mapping[str, str]:
    """Each value once, in the order of the shards."""
    values: dict[str, list[str]] = {}
    for run in runs:
        for name, value in run.environment.items():
            seen = values.setdefault(name, [])
            if value not in seen:
                seen.append(value)
    joined = {name: ", ".join(seen) for name, seen in values.items()}
    return {**joined, "shards": str(len(runs))}


def _as_under(run: Run, other: Run) -> Run:
    """``run`` with the paths it would have had in the checkout of ``other``."""
    here, there = run.repository or run.root, other.repository or other.root
    if here is None or there is None or here == there:
        return run
    return replace(run, checks=tuple(_moved(check, here, there) for check in run.checks))


def _moved(check: Check, here: Path, there: Path) -> Check:
    findings = tuple(_moved_finding(finding, here, there) for finding in check.findings)
    return replace(check, findings=findings)


def _moved_finding(finding: Finding, here: Path, there: Path) -> Finding:
    stack = tuple(_moved_frame(frame, here, there) for frame in finding.stack)
    sites = tuple(_moved_path(site, here, there) for site in finding.sites)
    return replace(finding, stack=stack, sites=sites)


def _moved_frame(frame: Frame, here: Path, there: Path) -> Frame:
    return replace(frame, file=_moved_path(frame.file, here, there)) if frame.file else frame


def _moved_path(path: str, here: Path, there: Path) -> str:
    return f"{there}{path[len(str(here)) :]}" if path.startswith(f"{here}/") else path
