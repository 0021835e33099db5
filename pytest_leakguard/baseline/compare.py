"""The accepted leaks: reads them strictly and compares findings with them.

Pure; ``edit`` changes the file's text.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import BaselineError
from pytest_leakguard.core.fingerprint import is_nameless
from pytest_leakguard.core.leaks import Finding, LeakKind, Rate, Status

VERSION = 1
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_LARGEST = 1 << 63
"""Numbers in an entry stay below it, as other readers of TOML hold 64 bits."""
SEVERITY = {
    LeakKind.STILL_REACHABLE: 0,
    LeakKind.POSSIBLY_LOST: 1,
    LeakKind.INDIRECTLY_LOST: 2,
    LeakKind.DEFINITELY_LOST: 2,
}
"""How bad a kind is; an entry covers its own kind and milder ones. Kinds not here are as bad as the
worst."""


@dataclass(frozen=True, slots=True)
class AcceptedLeak:
    """One reviewed leak and how large it may be in any one check."""

    fingerprint: str
    kind: LeakKind
    targets: tuple[str, ...]
    max_bytes: int
    max_blocks: int
    reason: str
    stack: tuple[str, ...] = ()
    owner: str = ""
    expires: dt.date | None = None


@dataclass(frozen=True, slots=True)
class AcceptedGrowth:
    """Growth per iteration that one metric of one check may show."""

    id: str
    """``CHECK[METRIC]``."""
    unit: str
    allowed: float
    reason: str
    owner: str = ""
    expires: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """All that was accepted."""

    leaks: Mapping[str, AcceptedLeak] = field(default_factory=dict)
    growth: Mapping[str, AcceptedGrowth] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Findings with their status, and the entries that matched nothing."""

    checks: tuple[Check, ...]
    fixed: tuple[str, ...] = ()
    """Entries whose leak is gone although a target of theirs ran whole."""
    expired: tuple[str, ...] = ()
    prunable: tuple[str, ...] = ()
    """Fixed entries all of whose targets ran whole, so that nobody needs them."""
    not_checked: tuple[str, ...] = ()
    """Entries none of whose targets ran whole, so nothing can be said."""


def loads(text: str, name: str) -> Baseline:
    """The baseline in ``text``.

    Raises ``BaselineError`` naming ``name``, the line and what to do.
    """
    _refuse_conflict_markers(text, name)
    data = _parsed(text, name)
    reader = _Reader(text, name)
    reader.keys(data, {"version", "leak", "growth"}, "the file")
    if data.get("version") != VERSION:
        reader.fail(
            "version",
            f"version must be {VERSION}, not {data.get('version')!r}; "
            "a newer pytest-leakguard may have written it",
        )
    leaks = reader.table(data, "leak")
    growth = reader.table(data, "growth")
    return Baseline(
        {key: _leak(key, entry, reader) for key, entry in leaks.items()},
        {key: _growth(key, entry, reader) for key, entry in growth.items()},
    )


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers without end, nesting without end
        hint = ""
        if "twice" in str(error) or "overwrite" in str(error):
            hint = "; if two branches accepted the same leak run `pytest-leakguard baseline merge`"
        raise BaselineError(f"{name}: not TOML: {error}{hint}") from None


def _refuse_conflict_markers(text: str, name: str) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ", "||||||| ")) or line == "=======":
            raise BaselineError(
                f"{name}:{number}: unresolved merge conflict; run `pytest-leakguard baseline merge "
                "BASE OURS THEIRS`, or install the merge driver with "
                "`pytest-leakguard baseline install`"
            )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Complains with the line a key stands on."""

    text: str
    name: str

    def fail(self, key: str, problem: str) -> None:
        raise BaselineError(f"{self.name}:{self._line_of(key)}: {problem}")

    def _line_of(self, key: str) -> int:
        """The first line that holds ``key`` outside a comment; the file's first where none does."""
        for number, line in enumerate(self.text.splitlines(), 1):
            if key in line and not line.startswith("#"):
                return number
        return 1

    def keys(self, entry: Any, allowed: set[str], where: str) -> None:
        if not isinstance(entry, dict):
            self.fail(where, f"{where} must be a table of {', '.join(sorted(allowed))}")
        for key in entry:
            if key not in allowed:
                self.fail(
                    key, f"unknown key {key!r} in {where}; known: {', '.join(sorted(allowed))}"
                )

    def table(self, data: dict[str, Any], key: str) -> dict[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, f'{key} must be a table: [{key}."..."]')
        return dict(value)

    def get(
        self,
        entry: dict[str, Any],
        key: str,
        kind: type | tuple[type, ...],
        where: str,
        default: Any = None,
    ) -> Any:
        value = entry.get(key, default)
        if value is None:
            self.fail(where, f"[{where}] lacks {key}")
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(wanted_kind.__name__ for wanted_kind in kinds)
            self.fail(where, f"{key} in [{where}] must be {wanted}, not {value!r}")
        return value

    def strings(self, entry: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
        values = self.get(entry, key, list, where, [])
        if not all(isinstance(value, str) for value in values):
            self.fail(where, f"{key} in [{where}] must be a list of strings")
        return tuple(values)

    def date(self, entry: dict[str, Any], where: str) -> dt.date | None:
        value = entry.get("expires")
        if value is not None and (not isinstance(value, dt.date) or isinstance(value, dt.datetime)):
            self.fail(where, f"expires in [{where}] must be a date without quotes, like 2027-03-31")
        return value

    def reason(self, entry: dict[str, Any], where: str) -> str:
        reason: str = self.get(entry, "reason", str, where)
        if not reason.strip():
            self.fail(where, f"[{where}] needs a reason: why may this leak stay?")
        return reason


def _leak(key: str, entry: Any, reader: _Reader) -> AcceptedLeak:
    where = f'leak."{key}"'
    if not _FINGERPRINT.fullmatch(key):
        reader.fail(key, f"{key!r} is no fingerprint: 16 digits of 0-9a-f")
    allowed = {"kind", "targets", "max_bytes", "max_blocks", "stack", "owner", "reason", "expires"}
    reader.keys(entry, allowed, where)
    kind = reader.get(entry, "kind", str, where)
    if kind not in list(LeakKind):
        reader.fail(where, f"kind {kind!r} in [{where}] is none of {', '.join(LeakKind)}")
    for ceiling in ("max_bytes", "max_blocks"):
        if not 0 <= reader.get(entry, ceiling, int, where) < _LARGEST:
            reader.fail(where, f"{ceiling} in [{where}] must be a number from 0 to {_LARGEST - 1}")
    return AcceptedLeak(
        fingerprint=key,
        kind=LeakKind(kind),
        targets=reader.strings(entry, "targets", where),
        max_bytes=entry["max_bytes"],
        max_blocks=entry["max_blocks"],
        reason=reader.reason(entry, where),
        stack=reader.strings(entry, "stack", where),
        owner=reader.get(entry, "owner", str, where, ""),
        expires=reader.date(entry, where),
    )


def _growth(key: str, entry: Any, reader: _Reader) -> AcceptedGrowth:
    where = f'growth."{key}"'
    reader.keys(entry, {"unit", "allowed", "owner", "reason", "expires"}, where)
    allowed = reader.get(entry, "allowed", (int, float), where)
    if not 0 <= allowed < _LARGEST:
        reader.fail(where, f"allowed in [{where}] must be a finite number, 0 or more")
    return AcceptedGrowth(
        id=key,
        unit=reader.get(entry, "unit", str, where),
        allowed=float(allowed),
        reason=reader.reason(entry, where),
        owner=reader.get(entry, "owner", str, where, ""),
        expires=reader.date(entry, where),
    )


def compare(checks: Iterable[Check], baseline: Baseline, today: dt.date) -> Comparison:
    """Every finding with its status, and which entries are fixed, expired or were not checked."""
    compared = tuple(_with_statuses(check, baseline, today) for check in checks)
    whole = {check.id for check in compared if check.is_whole}
    fixed: list[str] = []
    prunable: list[str] = []
    not_checked: list[str] = []
    for key, targets in _unmatched(compared, baseline):
        if whole.isdisjoint(targets):
            not_checked.append(key)
        else:
            fixed.append(key)
        if targets and whole.issuperset(targets):
            prunable.append(key)
    expired = [key for key, entry in _entries(baseline) if _has_expired(entry, today)]
    return Comparison(
        checks=compared,
        fixed=tuple(fixed),
        expired=tuple(sorted(expired)),
        prunable=tuple(prunable),
        not_checked=tuple(not_checked),
    )


def _with_statuses(check: Check, baseline: Baseline, today: dt.date) -> Check:
    findings = [_with_status(finding, check.id, baseline, today) for finding in check.findings]
    return replace(check, findings=tuple(findings))


def _unmatched(
    checks: Iterable[Check], baseline: Baseline
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each entry that no finding matches, with the checks in which it is expected."""
    fingerprints: set[str] = set()
    growing: set[str] = set()
    for check in checks:
        for finding in check.findings:
            named = (finding.fingerprint, *finding.former)
            fingerprints.update(name for name in named if not is_nameless(name))
            if finding.rate:
                growing.add(growth_key(check.id, finding.rate))
    for key in sorted(baseline.leaks.keys() - fingerprints):
        yield key, baseline.leaks[key].targets
    for key in sorted(baseline.growth.keys() - growing):
        yield key, (key.rpartition("[")[0],)


def growth_key(check_id: str, rate: Rate) -> str:
    """The name of an entry that accepts growth."""
    return f"{check_id}[{rate.metric}]"


def _entries(baseline: Baseline) -> list[tuple[str, AcceptedLeak | AcceptedGrowth]]:
    return [*baseline.leaks.items(), *baseline.growth.items()]


def _has_expired(entry: AcceptedLeak | AcceptedGrowth, today: dt.date) -> bool:
    return entry.expires is not None and entry.expires < today


def _with_status(finding: Finding, check_id: str, baseline: Baseline, today: dt.date) -> Finding:
    entry: AcceptedLeak | AcceptedGrowth | None
    if finding.rate:
        entry = baseline.growth.get(growth_key(check_id, finding.rate))
        excess = _too_fast(finding.rate, entry) if entry else ""
    else:
        entry = _accepted(finding, baseline)
        excess = _excess(finding, entry) if entry else ""
    if entry is None:
        return replace(finding, status=Status.NEW)
    if excess:
        return replace(finding, status=Status.GROWN, owner=entry.owner, reason=excess)
    if _has_expired(entry, today):
        return replace(
            finding,
            status=Status.EXPIRED,
            owner=entry.owner,
            reason=f"accepted until {entry.expires}: {entry.reason}",
        )
    return replace(finding, status=Status.KNOWN, owner=entry.owner, reason=entry.reason)


def _accepted(finding: Finding, baseline: Baseline) -> AcceptedLeak | None:
    """The entry of this leak, also under a name that it had before runtimes were folded.

    A leak without a stack has none, since others share its name.
    """
    for fingerprint in (finding.fingerprint, *finding.former):
        entry = baseline.leaks.get(fingerprint)
        if entry and not is_nameless(fingerprint):
            return entry
    return None


def _excess(finding: Finding, entry: AcceptedLeak) -> str:
    """What is more than was accepted; empty when nothing is."""
    if SEVERITY.get(finding.kind, 2) > SEVERITY.get(entry.kind, 2):
        return f"accepted as {entry.kind}, now {finding.kind}"
    if finding.size_bytes > entry.max_bytes:
        return f"{finding.size_bytes} bytes, accepted were {entry.max_bytes}"
    if finding.blocks > entry.max_blocks:
        return f"{finding.blocks} blocks, accepted were {entry.max_blocks}"
    return ""


def _too_fast(rate: Rate, entry: AcceptedGrowth) -> str:
    """What is more than was accepted; empty when nothing surely is.

    The lower end of the interval decides.
    """
    if rate.low > entry.allowed:
        return (
            f"grows by at least {rate.low:,.4g} {rate.unit} per {rate.per}, "
            f"accepted were {entry.allowed:,.4g}"
        )
    return ""
