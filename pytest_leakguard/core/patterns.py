"""Which leaks a project does not want to hear of (``ignore``), and which alone (``only``).

A pattern is ``fun:NAME``, ``file:PATH``, ``module:NAME`` or ``any:TEXT`` with ``*`` and ``?``, and
matches a leak when one call of its stack matches. A rule may also be a whole stack, as suppression
files have it: one pattern per call from the allocation on, ``...`` for any number of calls.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.fingerprint import last_name, public_name, qualified_name, short_name
from pytest_leakguard.core.leaks import Finding, Frame

KINDS = ("fun", "file", "module", "obj", "any")
ANY_CALLS = "..."
_KEYS = frozenset({"pattern", "stack", "reason", "expires"})
IGNORED = "ignored by "
"""How the reason of an ignored finding begins."""
_NOT_ASKED_FOR = "outside of what only= asks for"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``ignore`` or ``only``."""

    terms: tuple[str, ...]
    """One pattern; or a whole stack, innermost call first."""
    is_stack: bool = False
    reason: str = ""
    expires: dt.date | None = None

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return " < ".join(self.terms)

    def has_expired(self, today: dt.date) -> bool:
        """Whether it applies no more."""
        return self.expires is not None and self.expires < today

    def matches(self, stack: tuple[Frame, ...]) -> bool:
        """Whether a leak with this stack is meant."""
        if self.is_stack:
            return _is_sequence(self.terms, stack)
        return any(_is_call(self.terms[0], frame) for frame in stack)


@dataclass(frozen=True, slots=True)
class Patterns:
    """What a project declares in ``[tool.leakguard]``, and what its plugins add."""

    ignore: tuple[Rule, ...] = ()
    only: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ignore or self.only)


def read(entries: Any, where: str) -> tuple[Rule, ...]:
    """The rules in a list of texts and tables. Raises ``UsageProblem`` that names ``where``."""
    if not isinstance(entries, list | tuple):
        raise UsageProblem(f'{where} must be a list such as ["module:ssl", "fun:OPENSSL_init*"]')
    return tuple(_rule(entry, where) for entry in entries)


def _rule(entry: Any, where: str) -> Rule:
    if isinstance(entry, str):
        return Rule((_term(entry, where),))
    if not isinstance(entry, Mapping):
        raise UsageProblem(f"{where}: {entry!r} is neither a text nor a table")
    for key in entry:
        if key not in _KEYS:
            raise UsageProblem(f"{where}: unknown key {key!r}; known: {', '.join(sorted(_KEYS))}")
    terms, is_stack = entry.get("stack"), "stack" in entry
    if is_stack == ("pattern" in entry):
        raise UsageProblem(f"{where}: give each entry a pattern, or a stack")
    if not is_stack:
        terms = [entry["pattern"]]
    if not isinstance(terms, list | tuple) or not terms:
        raise UsageProblem(f"{where}: stack must be a list of patterns")
    reason, expires = entry.get("reason", ""), entry.get("expires")
    if not isinstance(reason, str) or not reason.strip():
        raise UsageProblem(f"{where}: {terms[0]!r} needs a reason: why may these leaks stay?")
    if expires is not None and (
        not isinstance(expires, dt.date) or isinstance(expires, dt.datetime)
    ):
        raise UsageProblem(f"{where}: expires must be a date without quotes, like 2027-03-31")
    checked = tuple(_term(term, where, is_stack) for term in terms)
    return Rule(checked, is_stack, reason, expires)


def _term(text: Any, where: str, is_stack: bool = False) -> str:
    if is_stack and text == ANY_CALLS:
        return ANY_CALLS
    kind, colon, pattern = str(text).partition(":")
    if not isinstance(text, str) or not colon or kind not in KINDS or not pattern.strip("*? "):
        raise UsageProblem(
            f"{where}: {text!r} is no pattern; write fun:NAME, file:PATH, module:NAME or any:TEXT, "
            "with * for what may differ"
        )
    return text


def _is_sequence(terms: tuple[str, ...], stack: tuple[Frame, ...]) -> bool:
    """Whether the calls from the innermost on are these; more may follow, as in suppressions."""
    states = {0}
    for frame in (*stack, None):
        states |= {at + 1 for at in states if at < len(terms) and terms[at] == ANY_CALLS}
        if len(terms) in states:
            return True
        if frame is None:
            return False
        following = set()
        for at in states:
            if terms[at] == ANY_CALLS:
                following.add(at)
            elif _is_call(terms[at], frame):
                following.add(at + 1)
        states = following
    return False


def _is_call(term: str, frame: Frame) -> bool:
    kind, _, pattern = term.partition(":")
    if kind == "fun":
        return _any(pattern, _function_names(frame))
    if kind == "file":
        return _any(pattern, _paths(frame.file))
    if kind in ("module", "obj"):
        return _any(pattern, _module_names(frame))
    names = (*_function_names(frame), *_paths(frame.file), *_module_names(frame))
    return _any(pattern, names)


def _any(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _function_names(frame: Frame) -> Iterator[str]:
    function = frame.function
    if function:
        yield from (function, public_name(function), qualified_name(function))
        yield from (last_name(function), short_name(function))


def _paths(path: str | None) -> Iterator[str]:
    """A path, and each end of it from a folder on."""
    if path:
        parts = path.split("/")
        for start in range(len(parts)):
            yield "/".join(parts[start:])
        yield path


def _module_names(frame: Frame) -> Iterator[str]:
    """Names of the shared object, with and without its ends, and of the Python module."""
    if frame.module:
        yield frame.module
        name = frame.module.rpartition("/")[2]
        plain = name.partition(".")[0]
        yield from (name, plain, plain.removeprefix("lib"))
    if frame.file and frame.file.endswith(".py"):
        dotted = frame.file.removesuffix(".py").removesuffix("/__init__").strip("/")
        parts = dotted.split("/")
        for start in range(len(parts)):
            # A package is meant with all that lies below it.
            for end in range(start + 1, len(parts) + 1):
                yield ".".join(parts[start:end])


def apply(check: Check, patterns: Patterns, today: dt.date) -> Check:
    """``check`` with the findings marked that do not count, and why."""
    if not patterns or not check.findings:
        return check
    return replace(
        check,
        findings=tuple(_judged(finding, patterns, today) for finding in check.findings),
    )


def _judged(finding: Finding, patterns: Patterns, today: dt.date) -> Finding:
    if not finding.stack or not finding.is_gating:
        return finding
    for rule in patterns.ignore:
        if not rule.has_expired(today) and rule.matches(finding.stack):
            because = f": {rule.reason}" if rule.reason else ""
            return replace(finding, is_gating=False, reason=f"{IGNORED}{rule.name}{because}")
    if patterns.only and not any(rule.matches(finding.stack) for rule in patterns.only):
        return replace(finding, is_gating=False, reason=_NOT_ASKED_FOR)
    return finding


def remarks(checks: Iterable[Check], patterns: Patterns, today: dt.date) -> Iterator[str]:
    """What is wrong with the rules themselves: those that matched nothing, or have expired."""
    reasons = {finding.reason for check in checks for finding in check.findings}
    for rule in patterns.ignore:
        if rule.has_expired(today):
            yield f"ignore: {rule.name} expired on {rule.expires} and applies no more"
        elif not any(_names(reason, rule) for reason in reasons):
            yield f"ignore: {rule.name} matched nothing in this run"


def _names(reason: str, rule: Rule) -> bool:
    return reason == f"{IGNORED}{rule.name}" or reason.startswith(f"{IGNORED}{rule.name}: ")
