"""One leak, explained once: how much, where, by which calls, what keeps it, how to see it again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, LeakKind, Status
from pytest_leakguard.core.text import indented, one_line, shortened
from pytest_leakguard.reporters import calls_text, counts, growth_text
from pytest_leakguard.verdict import Verdict, hanging

COLUMNS = 80
"""Width where nobody says how wide the terminal is; that of pytest."""
UNBROKEN = 1000
"""Width of a text that no terminal breaks: a summary, an annotation, JUnit XML."""
MOST_CHECKS = 5
"""Checks listed for one leak; with -v all of them are, and the report has them anyway."""
_INDENT = "     "
_LABEL = 14
"""Characters of the widest label, ``kept alive by`` and a space."""
_MOST_NAME = 40
"""Characters of a name that the second column still makes room for."""
_LEAST_TEXT = 30
"""Characters that a source line gets on a narrow terminal."""
_LINE = "line: "
_INSTALLED = re.compile(r"\(/[^()\s]*/(?:site-packages|dist-packages|lib/python3\.\d+)/")
"""How a place in a library begins within a text."""
_TYPE = re.compile(r"^([\d.,]+) of type (.+) per run$")
_PACE = re.compile(r"^\+?(-?[\d.,e+]+ \w+ per run) over ([\d,]+ runs)$")
"""The pace of a leak that is in every run, which its headline tells."""


@dataclass(frozen=True, slots=True)
class Page:
    """What all leaks of one section share."""

    root: Path | None = None
    columns: int = COLUMNS
    verbosity: int = 0
    checks: Mapping[str, Check] = field(default_factory=dict)
    through: Mapping[str, Sequence[Finding]] = field(default_factory=dict)
    """By the fingerprint of a lost block what was lost through it."""

    command: str = ""
    """Shows all of them again, where they are several and one command does; told once."""

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        causes: Sequence[Finding],
        root: Path | None,
        columns: int,
        verbosity: int,
    ) -> Page:
        """With what the verdict says of its leaks."""
        checks = counts.checks_of(verdict)
        commands = set()
        for finding in causes:
            check = checks.get(finding.checks[0]) if finding.checks else None
            commands.add(check.reproduce if check is not None else "")
        command = one_line(commands.pop()) if len(causes) > 1 and len(commands) == 1 else ""
        through = hanging(verdict.failing)
        return cls(root, columns, verbosity, checks, through, command)

    def check_of(self, finding: Finding) -> Check | None:
        """The first check that a leak was seen in, whose reproduce command it has."""
        return self.checks.get(finding.checks[0]) if finding.checks else None


def beside(verdict: Verdict, causes: Sequence[Finding], root: Path | None) -> Page:
    """For places that show one leak without the others, each with its own command."""
    return replace(Page.of(verdict, causes, root, UNBROKEN, 0), command="")


def title(finding: Finding, page: Page) -> str:
    """``NEW LEAK  384 B per run (5 blocks) at shop.py:9 in Order.__init__  58651b997822244c``."""
    return f"{unnamed_title(finding, page)}  {finding.fingerprint}"


def unnamed_title(finding: Finding, page: Page) -> str:
    """The same without the fingerprint, for places that show it apart."""
    amount, at = _title(finding, page)
    return f"{amount}{f' {at}' if at else ''}"


def _title(finding: Finding, page: Page) -> tuple[str, str]:
    amount = counts.amount_of(finding, counts.per(finding, page.check_of(finding)))
    return f"{finding.status.upper()} LEAK  {amount}", where(finding, page.root)


def where(finding: Finding, root: Path | None) -> str:
    """``at shop.py:9 in Order.__init__``; growth that has no stack is a check's."""
    place = calls_text.site(finding, root)
    if place:
        return f"at {place}"
    if finding.rate is not None:
        return f"in {one_line(finding.checks[0])}" if finding.checks else ""
    return "(no stack was recorded)"


def explained(number: int, finding: Finding, page: Page) -> Iterator[str]:
    """All lines of one leak; the first is its headline."""
    amount, at = _title(finding, page)
    head = f"{number}. {amount}{f' {at}' if at else ''}  {finding.fingerprint}"
    if len(head) <= page.columns or not at:
        yield head
    else:
        yield f"{number}. {amount}  {finding.fingerprint}"
        yield f"{_INDENT}{at}"
    yield from below(finding, page)


def below(finding: Finding, page: Page) -> Iterator[str]:
    """What stands below the headline of one leak."""
    check = page.check_of(finding)
    yield from _source(finding, page)
    yield from _calls(finding, check, page)
    yield from _details(finding, page)
    if check is not None and finding.rate is not None:
        yield from _growth(check, page)
    if finding.way:
        yield _labelled("kept alive by", one_line(finding.way))
    if finding.kind is LeakKind.DEFINITELY_LOST:
        for other in page.through.get(finding.fingerprint, ()):
            amount = counts.amount_of(other, "")
            yield f"{_INDENT}and through it {amount}  {other.fingerprint}"
    if finding.status is not Status.NEW and finding.reason:
        owner = f" (owner {one_line(finding.owner)})" if finding.owner else ""
        yield _labelled(finding.status, f"{one_line(finding.reason)}{owner}")
    yield from _checks(finding, check, page)
    if check is not None and check.reproduce and not page.command:
        yield _labelled("reproduce", one_line(check.reproduce))


def _source(finding: Finding, page: Page) -> Iterator[str]:
    """The text of the allocating line: as the explanation has seen it, or from the file."""
    for detail in finding.details:
        if detail.startswith(_LINE):
            text = one_line(detail.removeprefix(_LINE))
            break
    else:
        text = calls_text.source(finding, page.root)
    if text:
        yield f"{_INDENT}{shortened(text, max(_LEAST_TEXT, page.columns - len(_INDENT)))}"


def _calls(finding: Finding, check: Check | None, page: Page) -> Iterator[str]:
    lines = calls_text.callers(finding, page.root, page.verbosity > 1)
    column = max((len(call.name) for call in lines if call.where), default=0)
    column = min(max(column, _LABEL - 1), _MOST_NAME)
    room = page.columns - len(_INDENT)
    texts = [calls_text.fitted(call, column, room) for call in lines]
    if texts and _ends_in_test(finding, check) and (more := _more(finding, page)):
        texts[-1] += f"  ({more})"
    for text in texts:
        yield f"{_INDENT}{text}"


def _more(finding: Finding, page: Page) -> str:
    others = len(finding.checks) - 1
    if others < 1 or page.verbosity > 0:
        return ""
    kinds = {page.checks[name].kind for name in finding.checks if name in page.checks}
    noun = kinds.pop() if len(kinds) == 1 else "check"
    return f"and {others:,} more {noun}{'' if others == 1 else 's'}"


def _ends_in_test(finding: Finding, check: Check | None) -> bool:
    if check is None or check.kind != "test" or check.location is None:
        return False
    return calls_text.is_of_test(finding, check.location[0])


def _checks(finding: Finding, check: Check | None, page: Page) -> Iterator[str]:
    """The tests it is in, where the calls and the command do not say it."""
    if page.verbosity > 0 and len(finding.checks) > 1:
        for name in finding.checks:
            yield _labelled("in", one_line(name))
        return
    if _ends_in_test(finding, check) or not finding.checks:
        return
    is_named = check is not None and finding.checks[0] in check.reproduce
    if len(finding.checks) == 1 and (is_named or len(page.checks) == 1 or finding.rate is not None):
        return
    names = [one_line(name) for name in finding.checks[:MOST_CHECKS]]
    left_out = len(finding.checks) - len(names)
    more = f" and {left_out:,} more" if left_out else ""
    yield _labelled("in", f"{', '.join(names)}{more}")


def _details(finding: Finding, page: Page) -> Iterator[str]:
    types = []
    for detail in finding.details:
        text = one_line(detail)
        if match := _TYPE.match(text):
            types.append(f"{match.group(1)} {match.group(2)}")
        elif detail.startswith(_LINE) or (page.verbosity < 1 and _PACE.match(text)):
            continue
        else:
            yield f"{_INDENT}{_INSTALLED.sub('(', in_prose(text))}"
    if types:
        yield _labelled("retained", f"{', '.join(types)} per run")


def in_prose(detail: str) -> str:
    """``2 blocks per run, measured over 8,602 runs``, ``1 bytearray per run``."""
    text = _PACE.sub(r"\1, measured over \2", one_line(detail))
    return _TYPE.sub(r"\1 \2 per run", text)


def _growth(check: Check, page: Page) -> Iterator[str]:
    """How a service grew: in short, and with -v all that speaks for and against."""
    diagnosis = check.diagnosis
    if diagnosis is None:
        return
    told = growth_text.lines if page.verbosity > 0 else growth_text.in_short
    for text in told(diagnosis, check.growth):
        yield f"{_INDENT}{indented(text)}"


def _labelled(label: str, text: str) -> str:
    """A label and a text, in one line that a search finds; a terminal breaks it where it ends."""
    return f"{_INDENT}{label:<{_LABEL}} {text}"


def in_one_line(finding: Finding, check: Check, root: Path | None) -> str:
    """What a failing test says of its leak; the section at the end explains it."""
    return f"{in_words(finding, check, root)} [{finding.fingerprint}]"


def sentence(finding: Finding, checks: Mapping[str, Check], root: Path | None) -> str:
    """The same, where it stands alone: ``New leak: 384 B per run at shop.py:9``."""
    check = checks.get(finding.checks[0]) if finding.checks else None
    text = in_words(finding, check, root)
    return f"{text[0].upper()}{text[1:]}"


def in_words(finding: Finding, check: Check | None, root: Path | None) -> str:
    """``new leak: 384 B per run at shop.py:9 in Order.__init__``."""
    amount = counts.amount_of(finding, counts.per(finding, check)).partition(" (")[0]
    place = calls_text.site(finding, root)
    return f"{finding.status} leak: {amount}{f' at {place}' if place else ''}"
