"""Which findings fail a build, for every status and policy."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from pytest_leakguard.baseline.compare import AcceptedLeak, Baseline
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.leaks import Finding, LeakKind, Status
from pytest_leakguard.verdict import Policy, Run, fails

LOST = Finding("a" * 16, LeakKind.DEFINITELY_LOST, 480, 10, ())
STRICT = Policy(is_strict=True)
ACCEPTING = Policy(is_accepting=True)
STRICT_AND_ACCEPTING = Policy(is_strict=True, is_accepting=True)


@pytest.mark.parametrize(
    ("status", "policy", "expected"),
    [
        (Status.KNOWN, STRICT, False),
        (Status.EXPIRED, Policy(), False),
        (Status.EXPIRED, STRICT, True),
        (Status.EXPIRED, ACCEPTING, False),
        (Status.EXPIRED, STRICT_AND_ACCEPTING, False),
        (Status.GROWN, Policy(), True),
        (Status.GROWN, ACCEPTING, False),
        (Status.GROWN, STRICT_AND_ACCEPTING, False),
        (Status.NEW, Policy(), True),
        (Status.NEW, ACCEPTING, False),
        (Status.NEW, STRICT_AND_ACCEPTING, False),
    ],
)
def test_a_finding_fails_as_its_status_and_the_policy_say(
    status: Status, policy: Policy, expected: bool
) -> None:
    assert fails(replace(LOST, status=status), policy) is expected


@pytest.mark.parametrize("status", [Status.NEW, Status.GROWN])
def test_only_an_entry_of_the_baseline_holds_a_kind_that_does_not_gate(status: Status) -> None:
    hidden = replace(LOST, status=status, is_gating=False)
    assert fails(hidden, Policy()) is (status is Status.GROWN)


def test_accepting_an_expired_leak_does_not_fail_its_check_even_when_strict() -> None:
    entry = AcceptedLeak(
        LOST.fingerprint, LOST.kind, ("prog",), 480, 10, "late", expires=dt.date(2026, 1, 31)
    )
    run = Run(
        (Check("prog", "program", "valgrind", (LOST,)),),
        Baseline({entry.fingerprint: entry}),
        dt.date(2026, 11, 24),
    )
    for policy, outcome in ((STRICT, Outcome.LEAK), (STRICT_AND_ACCEPTING, Outcome.CLEAN)):
        (judged,) = replace(run, policy=policy).judge().checks
        assert judged.outcome is outcome
