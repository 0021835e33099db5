"""Which descriptors, threads and children a service has gained while it was driven, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pytest_leakguard.core.checks import Check, Diagnosis
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.processes import tree
from pytest_leakguard.processes.holdings import Holdings, holdings, without_numbers

_MOST_NAMED = 4
"""Upper limit of the things that a finding names, for each process."""
_MOST_PROCESSES = 4
"""Upper limit of the processes that a finding names."""
_FEWEST_OF_A_NAME = 3
"""Fewer with one name are told with their numbers."""
_COMMAND = 80
"""Upper limit of what is told of a command, in characters."""
_JCMD = "/.java_pid"
"""In the name of the socket on which a JVM listens once it was asked something."""
_STEPS = {
    MetricName.DESCRIPTORS: "close what the finding names",
    MetricName.THREADS: "end the threads that the finding names",
    MetricName.PROCESSES: "wait for the children that the finding names, or stop them",
}


@dataclass(frozen=True, slots=True)
class Gained:
    """Things of one kind that a process has now and had not before."""

    pid: int
    command: str
    names: tuple[tuple[str, int], ...]
    """What they are, and how many of each, the most frequent first."""

    def lines(self) -> Iterator[str]:
        """``1,204 x /var/log/shop.log in process 17 (gunicorn: worker)``."""
        where = f"in process {self.pid} ({self.command[:_COMMAND]})"
        for name, count in self.names[:_MOST_NAMED]:
            yield f"{count:,} x {name} {where}"
        rest = sum(count for _, count in self.names[_MOST_NAMED:])
        if rest:
            yield f"{rest:,} others {where}"


def named(check: Check, before: Holdings, pids: Iterable[int]) -> Check:
    """Return it with what the counters that leak have counted; asked while the service runs."""
    if not any(finding.rate and finding.rate.metric in _STEPS for finding in check.findings):
        return check
    after = holdings(pids)
    kept = [one for one in check.findings if not _is_of_children(one, check, before, after)]
    findings = [_with_names(finding, before, after) for finding in kept]
    return replace(
        check,
        findings=tuple(findings),
        diagnosis=_with_step(check.diagnosis) if check.diagnosis else None,
    )


def _is_of_children(finding: Finding, check: Check, before: Holdings, after: Holdings) -> bool:
    """Return whether it counts what leaked children have, which are a finding of their own."""
    metrics = {one.rate.metric for one in check.findings if one.rate}
    is_first = check.diagnosis is not None and finding is check.findings[0]
    if finding.rate is None or MetricName.PROCESSES not in metrics or is_first:
        return False
    if finding.rate.metric not in (MetricName.DESCRIPTORS, MetricName.THREADS):
        return False
    new = {pid for pid, started in after.children if (pid, started) not in before.children}
    return all(one.pid in new for one in gained(finding.rate.metric, before, after))


def _with_names(finding: Finding, before: Holdings, after: Holdings) -> Finding:
    if finding.rate is None or finding.rate.metric not in _STEPS:
        return finding
    found = gained(finding.rate.metric, before, after)
    details: list[str] = []
    for one in found[:_MOST_PROCESSES]:
        details += one.lines()
    return replace(finding, details=(*finding.details, *details))


def gained(metric: str, before: Holdings, after: Holdings) -> list[Gained]:
    """What each process has gained of what ``metric`` counts, the one that gained most first."""
    by_process: dict[int, list[str]] = {}
    if metric == MetricName.DESCRIPTORS:
        for key, name in after.descriptors.items():
            if key not in before.descriptors and _JCMD not in name:
                by_process.setdefault(key[0], []).append(name)
    elif metric == MetricName.THREADS:
        for thread, name in after.threads.items():
            if thread not in before.threads and thread[0] != thread[1]:
                by_process.setdefault(thread[0], []).append(f"thread {name!r}")
    else:
        for child, (parent, command) in after.children.items():
            if child not in before.children:
                by_process.setdefault(parent, []).append(f"child {command[:_COMMAND]!r}")
    found = [Gained(pid, tree.command(pid), _tally(names)) for pid, names in by_process.items()]
    return sorted(found, key=lambda one: -sum(count for _, count in one.names))


def _tally(names: list[str]) -> tuple[tuple[str, int], ...]:
    """Count those of one name; those that differ in a number only have one."""
    exact = Counter(names)
    alike = Counter(without_numbers(name) for name in names)
    tally: Counter[str] = Counter()
    for name, count in exact.items():
        is_one_of_many = count < _FEWEST_OF_A_NAME and alike[without_numbers(name)] > count
        tally[without_numbers(name) if is_one_of_many else name] += count
    return tuple(tally.most_common())


def _with_step(diagnosis: Diagnosis) -> Diagnosis:
    step = _STEPS.get(MetricName(diagnosis.metric))
    if step is None:
        return diagnosis
    changed = []
    for hypothesis in diagnosis.hypotheses:
        is_leak = hypothesis.letter == "A"
        changed.append(replace(hypothesis, next_step=step) if is_leak else hypothesis)
    return replace(diagnosis, hypotheses=tuple(changed))
