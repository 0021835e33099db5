"""What several shards become as one run, where they do not say the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak, Baseline, Comparison
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.reporters.merge import Shard, merge
from pytest_leakguard.verdict import Policy, Run
from tests.reporters.example import finding

EMPTY = Run(())


def merged(*runs: Run) -> Run:
    return merge([Shard(f"s/{number}", run) for number, run in enumerate(runs, 1)])


def judged_by(*policies: Policy) -> Policy:
    return merged(*(replace(EMPTY, policy=policy) for policy in policies)).policy


@pytest.mark.parametrize("order", [1, -1])
def test_one_strict_shard_makes_the_whole_strict(order: int) -> None:
    policies = [Policy(), Policy(is_strict=True), Policy()][::order]
    assert judged_by(*policies).is_strict
    assert not judged_by(Policy(), Policy()).is_strict


@pytest.mark.parametrize("order", [1, -1])
def test_the_whole_accepts_its_leaks_only_where_every_shard_did(order: int) -> None:
    accepting = Policy(is_accepting=True)
    assert not judged_by(*[accepting, accepting, Policy()][::order]).is_accepting
    assert judged_by(accepting, accepting).is_accepting


def accepted(letters: str) -> Baseline:
    lost = LeakKind.DEFINITELY_LOST
    leaks = {}
    growth = {}
    for letter in letters:
        name = letter * 16
        leaks[name] = AcceptedLeak(name, lost, ("prog",), 480, 10, "reviewed")
        growth[letter] = AcceptedGrowth(letter, "bytes/request", 96.0, "reviewed", "")
    return Baseline(leaks, growth)


def test_an_entry_counts_only_where_every_shard_has_it() -> None:
    whole = merged(*(replace(EMPTY, baseline=accepted(names)) for names in ("abc", "ab", "bc")))
    assert set(whole.baseline.leaks) == {"b" * 16}
    assert set(whole.baseline.growth) == {"b"}


def test_an_entry_that_one_shard_words_otherwise_does_not_count() -> None:
    other = accepted("ab")
    leak = replace(other.leaks["a" * 16], max_bytes=960)
    growth = replace(other.growth["a"], allowed=960.0)
    other = Baseline({**other.leaks, "a" * 16: leak}, {**other.growth, "a": growth})
    whole = merged(*(replace(EMPTY, baseline=one) for one in (accepted("ab"), other)))
    assert set(whole.baseline.leaks) == {"b" * 16}
    assert set(whole.baseline.growth) == {"b"}


@pytest.mark.parametrize("order", [1, -1])
def test_one_report_without_its_baseline_makes_the_whole_keep_what_was_compared(order: int) -> None:
    check = Check("prog", "program", "valgrind", (finding("a"),))
    compared = Comparison((check,), fixed=("1" * 16,), not_checked=())
    foreign = replace(EMPTY, checks=(check,), compared=compared)
    whole = merged(*[foreign, EMPTY][::order])
    assert whole.compared is not None
    assert whole.compared.fixed == ("1" * 16,)
    assert merged(EMPTY, EMPTY).compared is None
