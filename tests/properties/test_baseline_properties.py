"""The baseline's text: what goes in comes out, comments stay, edits touch only what they name, merges lose nothing."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak, Baseline, compare, loads
from pytest_leakguard.baseline.edit import HEADER, accept, merge, prune, split
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import BaselineError
from pytest_leakguard.core.leaks import Finding, LeakKind, Status

texts = st.text(max_size=20) | st.sampled_from(
    [
        'a"b',
        "a\\b",
        "two\nlines",
        "\u2028[leak.x]\u2028",
        "# no comment",
        '[leak."0000000000000000"]',
        "é\x85",
        "'''",
        "\t",
    ]
)
words = texts.filter(
    lambda text: bool(text.strip()) and text.encode("utf-8", "ignore").decode() == text
)
fingerprints = st.integers(0, 12).map(lambda number: f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}")
dates = st.none() | st.dates(dt.date(2020, 1, 1), dt.date(2040, 1, 1))
numbers = st.integers(0, 2**40)
leaks = st.builds(
    AcceptedLeak,
    fingerprint=fingerprints,
    kind=st.sampled_from(LeakKind),
    targets=st.lists(words, max_size=3, unique=True).map(lambda names: tuple(sorted(names))),
    max_bytes=numbers,
    max_blocks=numbers,
    reason=words,
    stack=st.lists(words, max_size=3).map(tuple),
    owner=st.just("") | words,
    expires=dates,
)
growths = st.builds(
    AcceptedGrowth,
    id=words,
    unit=words,
    allowed=st.floats(0, 1e9),
    reason=words,
    owner=st.just("") | words,
    expires=dates,
)
leak_lists = st.lists(leaks, max_size=6, unique_by=lambda leak: leak.fingerprint)
growth_lists = st.lists(growths, max_size=3, unique_by=lambda entry: entry.id)


def text_of(accepted: list[AcceptedLeak]) -> str:
    return accept(HEADER, accepted)


@given(leak_lists, growth_lists)
def test_what_is_accepted_is_read_again(
    accepted: list[AcceptedLeak], growth: list[AcceptedGrowth]
) -> None:
    baseline = loads(accept("", accepted, growth), "baseline")
    assert baseline == Baseline(
        {one.fingerprint: one for one in accepted}, {one.id: one for one in growth}
    )


@settings(max_examples=40, deadline=None)
@given(leak_lists, leak_lists)
def test_accepting_again_replaces_and_is_idempotent(
    first: list[AcceptedLeak], second: list[AcceptedLeak]
) -> None:
    text = accept(text_of(first), second)
    expected = {one.fingerprint: one for one in [*first, *second]}
    assert loads(text, "baseline").leaks == expected
    assert accept(text, second) == text


@given(leak_lists, growth_lists, st.data())
def test_prune_removes_only_what_it_names(
    accepted: list[AcceptedLeak], growth: list[AcceptedGrowth], data: st.DataObject
) -> None:
    gone = data.draw(st.sets(fingerprints, max_size=4))
    before = accept("", accepted, growth)
    after = loads(prune(before, gone), "baseline")
    assert after.leaks == {one.fingerprint: one for one in accepted if one.fingerprint not in gone}
    assert after.growth == {one.id: one for one in growth}
    assert prune(before, ()) == before


@given(leak_lists, leaks)
def test_comments_stay(accepted: list[AcceptedLeak], changed: AcceptedLeak) -> None:
    text = text_of([*(one for one in accepted if one.fingerprint != changed.fingerprint), changed])
    header = f'[leak."{changed.fingerprint}"]'
    text = text.replace(f"\n{header}\n", f"\n# above\n{header}  # beside\n# inside\n")
    text = text.replace("\n# inside\nkind = ", "\n# inside\nkind =   ", 1)
    edited = accept(
        "# first line\n" + text,
        [replace(changed, max_bytes=changed.max_bytes + 1, reason="better")],
    )
    assert edited.startswith("# first line\n")
    for comment in ("# above\n" + header, "# beside", "# inside"):
        assert comment in edited
    assert loads(edited, "baseline").leaks[changed.fingerprint].max_bytes == changed.max_bytes + 1


def wordless(baseline: Baseline) -> dict[str, AcceptedLeak]:
    return {key: replace(one, reason="", owner="", stack=()) for key, one in baseline.leaks.items()}


@settings(max_examples=40, deadline=None)
@given(leak_lists, leak_lists, leak_lists)
def test_merge_is_commutative_up_to_wording(
    base: list[AcceptedLeak], ours: list[AcceptedLeak], theirs: list[AcceptedLeak]
) -> None:
    one = loads(merge(text_of(base), text_of(ours), text_of(theirs)), "one")
    other = loads(merge(text_of(base), text_of(theirs), text_of(ours)), "other")
    assert wordless(one) == wordless(other)


@settings(max_examples=40, deadline=None)
@given(leak_lists, leak_lists)
def test_merge_is_idempotent_and_takes_the_side_that_changed(
    base: list[AcceptedLeak], changed: list[AcceptedLeak]
) -> None:
    old, new = text_of(base), text_of(changed)
    assert merge(old, new, new) == merge(old, new, old) == merge(old, old, new) == new


@settings(max_examples=40, deadline=None)
@given(leak_lists, leak_lists, leak_lists)
def test_merge_never_loses_an_entry_that_one_side_changed(
    base: list[AcceptedLeak], ours: list[AcceptedLeak], theirs: list[AcceptedLeak]
) -> None:
    old = {one.fingerprint: one for one in base}
    merged = loads(merge(text_of(base), text_of(ours), text_of(theirs)), "merged").leaks
    for one in [*ours, *theirs]:
        if old.get(one.fingerprint) != one:
            assert merged[one.fingerprint].max_bytes >= one.max_bytes
            assert set(merged[one.fingerprint].targets) >= set(one.targets)


@example("x = 0")
@example("version = 1\nleak = 1979-05-27\n")
@given(st.text(max_size=80) | st.text(alphabet="[]leak.\"=\n #'{}x0", max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    for act in (
        lambda: loads(text, "NAME"),
        lambda: loads(prune(text, ["x"]), "NAME"),
        lambda: split(text),
    ):
        try:
            act()
        except BaselineError as error:
            assert str(error)


HOSTILE = [
    "version = " + "9" * 5000,
    "a = " + "[" * 5000,
    "version = 1\nleak = 3",
    "version = 1\n[leak]\nx = 1",
    'version = 1\n[growth."x"]\nallowed = 1' + "0" * 400 + '\nunit = "b"\nreason = "r"',
    'version = 1\n[growth."x"]\nallowed = nan\nunit = "b"\nreason = "r"',
    'version = 1\n[leak."3f9c2a7be1d04c55\\n"]\nkind = "growth"',
    'version = true\n[leak."3f9c2a7be1d04c55"]',
    "<<<<<<< ours\nversion = 1",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(BaselineError, match="NAME"):
        loads(text, "NAME")


ENTRY = 'kind = "growth"\ntargets = []\nmax_bytes = 1\nmax_blocks = 1\nreason = "r"\n'


@pytest.mark.parametrize(
    "second",
    [
        '  [leak."bbbbbbbbbbbbbbbb"]',
        "[ leak . 'bbbbbbbbbbbbbbbb' ]",
        '["leak".bbbbbbbbbbbbbbbb]',
        "[leak.bbbbbbbbbbbbbbbb] # x",
    ],
)
def test_however_a_table_is_spelled_its_neighbour_is_safe(second: str) -> None:
    text = f'version = 1\n\n[leak."aaaaaaaaaaaaaaaa"]\n{ENTRY}\n{second}\n{ENTRY}'
    assert set(loads(prune(text, ["aaaaaaaaaaaaaaaa"]), "x").leaks) == {"bbbbbbbbbbbbbbbb"}
    assert set(loads(prune(text, ["bbbbbbbbbbbbbbbb"]), "x").leaks) == {"aaaaaaaaaaaaaaaa"}


def test_entries_that_cannot_be_moved_safely_are_refused() -> None:
    inline = 'version = 1\nleak.aaaaaaaaaaaaaaaa = {kind = "growth", max_bytes = 1, max_blocks = 1, reason = "r"}\n'
    multiline = (
        f"version = 1\n[leak.aaaaaaaaaaaaaaaa]\nowner = '''\n[leak.bbbbbbbbbbbbbbbb]\n'''\n{ENTRY}"
    )
    for text in (inline, multiline):
        assert loads(text, "x").leaks
        with pytest.raises(BaselineError):
            prune(text, ["aaaaaaaaaaaaaaaa"])


def test_an_entry_removed_by_one_side_stays_removed_wherever_it_stood() -> None:
    last = f'{HEADER}\n[leak."aaaaaaaaaaaaaaaa"]\n{ENTRY}\n\n'
    with_another = (
        f'{HEADER}\n[leak."aaaaaaaaaaaaaaaa"]\n{ENTRY}\n[leak."bbbbbbbbbbbbbbbb"]\n{ENTRY}'
    )
    assert set(loads(merge(last, with_another, HEADER), "x").leaks) == {"bbbbbbbbbbbbbbbb"}


@given(leaks, numbers, numbers, st.dates(dt.date(2020, 1, 1), dt.date(2040, 1, 1)))
def test_a_finding_is_known_only_within_its_entry(
    entry: AcceptedLeak, size: int, blocks: int, today: dt.date
) -> None:
    finding = Finding(entry.fingerprint, entry.kind, size, blocks, ())
    comparison = compare(
        [Check("c", "program", "t", (finding,))], Baseline({entry.fingerprint: entry}), today
    )
    (judged,) = comparison.checks[0].findings
    is_within = size <= entry.max_bytes and blocks <= entry.max_blocks
    is_valid = entry.expires is None or entry.expires >= today
    expected = Status.GROWN if not is_within else Status.KNOWN if is_valid else Status.EXPIRED
    assert judged.status is expected


@given(leak_lists, st.lists(fingerprints, unique=True), st.booleans())
def test_every_entry_is_matched_fixed_or_not_checked(
    accepted: list[AcceptedLeak], seen: list[str], is_whole: bool
) -> None:
    baseline = Baseline({one.fingerprint: one for one in accepted})
    findings = tuple(Finding(name, LeakKind.GROWTH, 1, 1, ()) for name in seen)
    problems = () if is_whole else ("killed",)
    comparison = compare(
        [Check("a", "program", "t", findings, problems)], baseline, dt.date(2026, 1, 1)
    )
    assert sorted([*comparison.fixed, *comparison.not_checked]) == sorted(
        baseline.leaks.keys() - set(seen)
    )
    assert is_whole or not comparison.fixed
