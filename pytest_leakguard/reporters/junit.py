"""JUnit XML of a verdict for runs without pytest.

A pytest run has pytest's own file, with the same properties.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Properties, Property, Skipped, TestCase, TestSuite

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.text import printable
from pytest_leakguard.reporters.terminal import failure_text
from pytest_leakguard.verdict import Judged, Policy, Run, Verdict

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(verdict: Verdict, run: Run) -> str:
    """The XML text: a leak is a failure, an inconclusive check is an error."""
    suite = TestSuite("leakguard")
    # All at once: added singly, junitparser counts all of them again for each, which takes minutes
    # for 10,000 tests.
    suite.add_testcases([_case(judged, run.policy, run.root) for judged in verdict.checks])
    document = JUnitXml()
    document.add_testsuite(suite)
    document.update_statistics()
    text: bytes = document.tostring()
    return text.decode("utf-8")


def properties(judged: Judged) -> Iterator[tuple[str, str]]:
    """Name and value of each property that states a check's leaks; the same in every JUnit file."""
    check = judged.check
    yield "leakguard_outcome", judged.outcome.value
    yield "leakguard_tool", _clean(check.tool)
    names = [f"{finding.fingerprint}:{finding.status}" for finding in check.findings]
    yield "leakguard_findings", ",".join(names)
    for kind, total in check.totals:
        yield f"leakguard_{kind}_bytes", str(total.size_bytes)
        yield f"leakguard_{kind}_blocks", str(total.blocks)
    if judged.reasons:
        yield "leakguard_reasons", _clean("; ".join(judged.reasons))
    if check.exit.signal:
        yield "leakguard_exit", f"signal {check.exit.signal}"
    elif check.exit.code:
        yield "leakguard_exit", str(check.exit.code)


def _case(judged: Judged, policy: Policy, root: Path | None) -> TestCase:
    case = TestCase(_clean(judged.check.id), classname="leakguard", time=judged.check.duration_s)
    text = _clean(failure_text(judged, policy, root))
    if judged.outcome is Outcome.LEAK:
        case.result = [_result(Failure, "leak", text)]
    elif judged.outcome is Outcome.INCONCLUSIVE:
        case.result = [_result(Error, "inconclusive", text)]
    elif judged.outcome in (Outcome.SKIPPED, Outcome.NOT_REPEATABLE):
        case.result = [Skipped(_clean("; ".join(judged.reasons)))]
    of_case = Properties()
    for name, value in properties(judged):
        of_case.add_property(Property(name, value))
    case.append(of_case)
    return case


def _result(kind: type[Failure] | type[Error], title: str, text: str) -> Failure | Error:
    result = kind(text.partition("\n")[0] or title, title)
    result.text = text
    return result


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", printable(text))
