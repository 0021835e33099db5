"""Puts the runs of several shards together and says what the whole lacks. Pure; the verdict is judged anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_leakguard.baseline.compare import Baseline, Comparison
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.verdict import Policy, Run, Selection

MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Shard:
    """The report of one job; ``run`` is ``None`` when it could not be read."""

    name: str
    run: Run | None
    problem: str = ""


def merge(shards: Sequence[Shard], expected: int | None = None) -> Run:
    """One run of them all. One report alone stays as it is, unless it is known that there should be more."""
    runs = [(shard.name, shard.run) for shard in shards if shard.run is not None]
    problems = tuple(_missing(shards, expected))
    if not runs:
        return Run((), problems=problems)
    if len(runs) == 1:
        ((_, only),) = runs
        lost = (
            () if only.compared else tuple(_never_measured([only])) if expected is not None else ()
        )
        return replace(only, problems=(*only.problems, *problems, *lost))
    return _joined(runs, problems)


def _joined(runs: Sequence[tuple[str, Run]], problems: tuple[str, ...]) -> Run:
    alone = [run for _, run in runs]
    first = alone[0]
    moved = [_as_under(run, first) for run in alone]
    checks = tuple(
        sorted((check for run in moved for check in run.checks), key=lambda check: check.id)
    )
    foreign = any(run.compared for run in alone)
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
            *(f"{name}: {problem}" for name, run in runs for problem in run.problems),
            *_differing(runs),
            *_measured_twice(runs),
            *_never_measured(alone),
        ),
        selection=_selection(alone),
        environment=_environment(alone),
        root=first.root,
        repository=first.repository,
        baseline_file=first.baseline_file,
        compared=_compared(moved, checks) if foreign else None,
    )


def _missing(shards: Sequence[Shard], expected: int | None) -> Iterator[str]:
    yield from (f"{shard.name}: {shard.problem}" for shard in shards if shard.run is None)
    found = sum(shard.run is not None for shard in shards)
    if expected is not None and found < expected:
        yield f"{expected - found} of {expected} shards are missing: what they were to measure is not known"
    if expected is not None and found > expected:
        yield f"{found} reports where {expected} shards were expected: some belong to another run"


def _differing(runs: Sequence[tuple[str, Run]]) -> Iterator[str]:
    """Reports that must not be put together: judged by other rules, or made by another version."""
    (first_name, first), *others = runs
    for name, run in others:
        if run.compared is None and first.compared is None and run.baseline != first.baseline:
            keys = sorted(_unlike(first.baseline, run.baseline))
            yield f"the baselines of {first_name} and {name} differ in {_named(keys)}: check out the same commit"
        versions = first.environment.get("leakguard"), run.environment.get("leakguard")
        if versions[0] != versions[1]:
            yield f"{first_name} and {name} were made by different versions: {versions[0]} and {versions[1]}"
        if run.policy != first.policy:
            yield f"{first_name} and {name} were judged by different options (--leakguard-strict, --leakguard-accept)"


def _unlike(one: Baseline, other: Baseline) -> set[str]:
    return {
        key
        for mine, theirs in ((one.leaks, other.leaks), (one.growth, other.growth))
        for key in {*mine, *theirs}
        if mine.get(key) != theirs.get(key)
    }


def _measured_twice(runs: Sequence[tuple[str, Run]]) -> Iterator[str]:
    where: dict[str, list[str]] = {}
    for name, run in runs:
        for check_id in dict.fromkeys(check.id for check in run.checks):
            where.setdefault(check_id, []).append(name)
    twice = {check_id: names for check_id, names in where.items() if len(names) > 1}
    if twice:
        check_id, names = next(iter(sorted(twice.items())))
        more = f", and {len(twice) - 1} more" if len(twice) > 1 else ""
        yield f"measured twice: {check_id} in {' and '.join(names[:MOST_NAMED])}{more}"


def _never_measured(runs: Sequence[Run]) -> Iterator[str]:
    """Tests that every shard left to others, as happens when shards were split by different durations."""
    ran = {
        name for run in runs for name in (*run.selection.ran_unchecked, *run.selection.never_ran)
    }
    ran |= {check.id.partition("#")[0] for run in runs for check in run.checks}
    ran |= {check.id for run in runs for check in run.checks}
    lost = sorted({name for run in runs for name in run.selection.elsewhere} - ran)
    if lost:
        yield f"{len(lost)} test(s) were measured by no shard: {_named(lost)}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (
        f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    )


def _common(runs: Sequence[Run]) -> Baseline:
    """What every shard accepts in the same words."""
    first, *others = (run.baseline for run in runs)
    return Baseline(
        {
            key: entry
            for key, entry in first.leaks.items()
            if all(one.leaks.get(key) == entry for one in others)
        },
        {
            key: entry
            for key, entry in first.growth.items()
            if all(one.growth.get(key) == entry for one in others)
        },
    )


def _compared(runs: Sequence[Run], checks: tuple[Check, ...]) -> Comparison:
    """Of reports without their baseline: their own words, as far as no other shard says otherwise."""
    told = [run.compared or Comparison((), not_checked=()) for run in runs]
    seen = {finding.fingerprint for check in checks for finding in check.findings}
    fixed = {key for one in told for key in one.fixed} - seen
    open_ = {key for one in told for key in one.not_checked} - seen - fixed
    return Comparison(
        checks,
        fixed=tuple(sorted(fixed)),
        expired=tuple(sorted({key for one in told for key in one.expired})),
        not_checked=tuple(sorted(open_)),
    )


def _selection(runs: Sequence[Run]) -> Selection:
    ran = {name for run in runs for name in run.selection.ran_unchecked}
    checked = {check.id for run in runs for check in run.checks}
    elsewhere = {name for run in runs for name in run.selection.elsewhere} - ran - checked
    return Selection(
        ran_unchecked=tuple(sorted(ran)),
        never_ran=tuple(sorted({name for run in runs for name in run.selection.never_ran})),
        elsewhere=tuple(sorted(elsewhere)),
    )


def _environment(runs: Sequence[Run]) -> Mapping[str, str]:
    """Each value once, in the order of the shards."""
    names = dict.fromkeys(name for run in runs for name in run.environment)
    values = {
        name: Counter(run.environment[name] for run in runs if name in run.environment)
        for name in names
    }
    return {**{name: ", ".join(seen) for name, seen in values.items()}, "shards": str(len(runs))}


def _as_under(run: Run, other: Run) -> Run:
    """``run`` with the paths it would have had in the checkout of ``other``."""
    here, there = run.repository or run.root, other.repository or other.root
    if here is None or there is None or here == there:
        return run
    return replace(run, checks=tuple(_moved(check, here, there) for check in run.checks))


def _moved(check: Check, here: Path, there: Path) -> Check:
    return replace(
        check, findings=tuple(_moved_finding(finding, here, there) for finding in check.findings)
    )


def _moved_finding(finding: Finding, here: Path, there: Path) -> Finding:
    stack = tuple(_moved_frame(frame, here, there) for frame in finding.stack)
    return replace(
        finding, stack=stack, sites=tuple(_moved_path(site, here, there) for site in finding.sites)
    )


def _moved_frame(frame: Frame, here: Path, there: Path) -> Frame:
    return replace(frame, file=_moved_path(frame.file, here, there)) if frame.file else frame


def _moved_path(path: str, here: Path, there: Path) -> str:
    return f"{there}{path[len(str(here)) :]}" if path.startswith(f"{here}/") else path
