"""What leaves what a service keeps: put together over its processes, and matched to its growth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.checks import Check, Diagnosis
from pytest_leakguard.core.leaks import Finding, Frame
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.explain.in_service import PACE
from pytest_leakguard.explain.references import root_of
from pytest_leakguard.processes import tree
from pytest_leakguard.processes.holdings import without_numbers

_LEAST_SHARE = 0.25
"""Least part of the growth that a line has to leave to be its cause; the rest may be what the
allocator or compiled code adds, while lines that leave less are chance."""
_MOST_SHARE = 1.5
"""Most that compiled code may leave beside a growth that it causes, as a share of that; stacks are
taken of each block, and what windows differ by is less."""
_SAME_PACE = 0.2
"""A container that grows as fast as a counter, to this share, holds what the counter counts."""
_WHOLE = 0.1
"""A pace so near to a whole number is that number; a window may cut a request in two."""
_MOST_PROCESSES = 4
"""Upper limit of the processes that a finding names."""
_COMMAND = 80
"""Upper limit of what is told of a command, in characters."""
_STEP = "fix the line that the finding names"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a process leaves what it leaves, and what keeps it alive."""

    stack: tuple[Frame, ...] = ()
    """The innermost call of the service's own code first."""
    names: tuple[str, ...] = ()
    """What distinguishes causes, without lines."""
    holders: tuple[str, ...] = ()
    held_by: str = ""
    details: tuple[str, ...] = ()
    bytes_per_request: float = 0.0
    entries_per_request: float = 0.0
    processes: tuple[str, ...] = ()
    """Which processes said so."""
    kind: str = ""
    """Of a line that opens something: ``file``, ``socket``, ``child`` or ``mapping``; compiled code
    says ``descriptor`` or ``thread`` too."""
    path: str = ""
    """Of the file that the line opens."""
    is_native: bool = False
    """Compiled code's, to the byte."""


def of_process(pid: int) -> str:
    """``process 17 (python gunicorn -w 2)``, without the folders of programs."""
    words = tree.command(pid).split(" ")
    command = " ".join(word.rpartition("/")[2] if word[:1] == "/" else word for word in words)
    return f"process {pid} ({command[:_COMMAND]})"


def together(known: Iterable[Explanation]) -> list[Explanation]:
    """The causes, what leaves most first; each process serves a part of the requests."""
    found: dict[object, Explanation] = {}
    for one in known:
        key = one.names, root_of(one.holders), one.kind, one.path, one.is_native
        before = found.get(key)
        found[key] = one if before is None else _added(before, one)
    return sorted(
        found.values(),
        key=lambda one: (-one.bytes_per_request, -one.entries_per_request, one.processes),
    )


def _added(first: Explanation, second: Explanation) -> Explanation:
    larger = max(first, second, key=lambda one: one.bytes_per_request)
    return replace(
        larger,
        bytes_per_request=first.bytes_per_request + second.bytes_per_request,
        entries_per_request=first.entries_per_request + second.entries_per_request,
        processes=(*first.processes, *second.processes),
    )


def pace_of(per_request: float) -> str:
    """``+1 item per request``, ``+1 item in 100 requests``."""
    if 0 < per_request < 1 - _WHOLE:
        return f"+1 item in {round(1 / per_request):,} requests"
    is_whole = abs(per_request - round(per_request)) <= _WHOLE * per_request
    number = f"{round(per_request)}" if is_whole else f"{per_request:.3g}"
    return f"+{number} {'item' if number == '1' else 'items'} per request"


def with_causes(check: Check, known: Iterable[Explanation], is_one_of_many: bool) -> Check:
    """Return it with line and holder of each finding that they account for."""
    known = list(known)
    causes = together(one for one in known if not one.kind)
    opened = together(one for one in known if one.kind)
    findings: list[Finding] = []
    for finding in check.findings:
        cause = _with_holders(_cause_of(finding, causes, opened), causes)
        findings.append(_with_site(finding, cause, is_one_of_many) if cause else finding)
    if findings == list(check.findings):
        return check
    is_first_known = bool(findings[0].stack or findings[0].holders)
    diagnosis = check.diagnosis
    if diagnosis is not None and is_first_known:
        diagnosis = _with_step(diagnosis)
    return replace(check, findings=tuple(findings), diagnosis=diagnosis)


def _cause_of(
    finding: Finding, causes: list[Explanation], opened: list[Explanation]
) -> Explanation | None:
    """Return what accounts for this growth; of what is opened the line that opens it."""
    rate = finding.rate
    if rate is None:
        return None
    if rate.metric == MetricName.MAPPED_BYTES:
        causes = [one for one in opened if one.kind == "mapping"]
    if rate.unit == "bytes":
        return _cause_of_bytes(rate.per_iteration, causes)
    first = next((one for one in causes if not one.is_native), None)
    holding = first if first and _is_as_fast(first, rate.per_iteration) else None
    for call in _fastest(opened, rate.per_iteration):
        is_named = any(_names(detail, call) for detail in finding.details)
        if is_named and call.stack:
            holders = holding.holders if holding else ()
            held_by = holding.held_by if holding else ""
            return replace(call, holders=holders, held_by=held_by)
    return holding


def _fastest(opened: list[Explanation], per_request: float) -> list[Explanation]:
    """Return the lines that open as much as leaks, most like it first.

    Compiled code has those counted that are still open; of threads it has only the beginning.
    """
    known = [one for one in opened if one.kind != "mapping"]
    alike = [one for one in known if _is_as_fast(one, per_request)]
    alike.sort(key=lambda one: abs(one.entries_per_request - per_request))
    most = [one for one in known if one.is_native and one not in alike]
    most = [one for one in most if one.entries_per_request >= _LEAST_SHARE * per_request]
    return [*alike, *sorted(most, key=lambda one: -one.entries_per_request)]


def _with_holders(cause: Explanation | None, causes: list[Explanation]) -> Explanation | None:
    """Return what compiled code leaves with what the interpreter knows to hold it.

    The interpreter knows the object on whose line a mapping or a block of compiled code is made.
    """
    own = _own(cause) if cause is not None else None
    if cause is None or cause.holders or own is None:
        return cause
    for one in causes:
        other = _own(one)
        is_same = other is not None and (other.file, other.line) == (own.file, own.line)
        if one.holders and not one.is_native and is_same:
            entries = one.entries_per_request
            held = replace(cause, holders=one.holders, held_by=one.held_by)
            return replace(held, entries_per_request=entries, details=cause.details or one.details)
    return cause


def _cause_of_bytes(per_request: float, causes: list[Explanation]) -> Explanation | None:
    """Return what leaves most, and not more than there is.

    A cache that takes an entry and drops an older one leaves something too, and grows by nothing.
    """
    enough = [one for one in causes if one.bytes_per_request >= _LEAST_SHARE * per_request]
    for one in enough:
        if not one.is_native or one.bytes_per_request <= _MOST_SHARE * per_request:
            return one
    return next(iter(enough), None)


def _is_as_fast(cause: Explanation, per_request: float) -> bool:
    return abs(cause.entries_per_request - per_request) <= _SAME_PACE * per_request


def _names(detail: str, call: Explanation) -> bool:
    """Return whether what a process has gained is what the call opens."""
    _, _, gained = detail.partition(" x ")
    if call.kind == "thread":
        return gained.startswith("thread ")
    if call.kind == "descriptor":
        return not gained.startswith(("thread ", "child "))
    if call.kind == "file":
        return bool(call.path) and _is_path(gained.rpartition(" in process ")[0], call.path)
    if call.kind == "socket":
        return gained.startswith(("tcp ", "udp ", "unix ", "socket "))
    return gained.startswith("child ")


def _is_path(named: str, path: str) -> bool:
    """Return whether it is that file, or one of many that differ in numbers only."""
    name, given = without_numbers(named), without_numbers(path)
    return name == given or (given[:1] != "/" and name.endswith(f"/{given.removeprefix('./')}"))


def _with_site(finding: Finding, cause: Explanation, is_one_of_many: bool) -> Finding:
    own = _own(cause)
    # The calls of compiled code are enough of a name, and its holder is not always found.
    root = (root_of(cause.holders),) if cause.holders and not cause.is_native else ()
    names = (*cause.names, *root)
    found_in = ", ".join(cause.processes[:_MOST_PROCESSES])
    where = (f"found in {found_in}",) if is_one_of_many else ()
    pace = pace_of(cause.entries_per_request)
    return replace(
        finding,
        fingerprint=fingerprint.of_names(finding.kind.value, names),
        former=(*finding.former, finding.fingerprint),
        stack=cause.stack,
        holders=cause.holders,
        held_by=cause.held_by.replace(PACE, pace),
        sites=(f"{own.file}:{own.line}",) if own else (),
        details=(*finding.details, *cause.details, *where),
    )


def _own(cause: Explanation) -> Frame | None:
    """Return the call whose line is shown."""
    if cause.is_native:
        frame = fingerprint.innermost_own(cause.stack)
        return frame if frame and frame.file and frame.line else None
    return cause.stack[0] if cause.stack else None


def _with_step(diagnosis: Diagnosis) -> Diagnosis:
    changed = []
    for hypothesis in diagnosis.hypotheses:
        is_leak = hypothesis.letter == "A"
        changed.append(replace(hypothesis, next_step=_STEP) if is_leak else hypothesis)
    return replace(diagnosis, hypotheses=tuple(changed))
