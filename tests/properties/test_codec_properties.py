"""Values survive the way to a file and back; anything else is refused with the place, and nothing else is raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_leakguard.core.checks import Check, Growth
from pytest_leakguard.core.codec import decode, encode
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind, Totals
from pytest_leakguard.core.programs import ExitStatus, Process, Report
from pytest_leakguard.core.shapes import Shape

finite = st.floats(allow_nan=False, allow_infinity=False)
short = st.text(max_size=8)
many = st.integers(-(2**63), 2**63)
frames = st.builds(
    Frame, function=st.none() | short, file=st.none() | short, line=st.none() | many, address=many
)
findings = st.builds(
    Finding,
    fingerprint=short,
    kind=st.sampled_from(LeakKind),
    size_bytes=many,
    blocks=many,
    stack=st.lists(frames, max_size=2).map(tuple),
    holders=st.lists(short, max_size=2).map(tuple),
)
growths = st.builds(
    Growth,
    short,
    st.sampled_from(Shape),
    finite,
    finite,
    finite,
    many,
    st.lists(st.tuples(finite, finite), max_size=2).map(tuple),
)
checks = st.builds(
    Check,
    id=short,
    kind=short,
    tool=short,
    findings=st.lists(findings, max_size=2).map(tuple),
    problems=st.lists(short, max_size=2).map(tuple),
    exit=st.builds(ExitStatus, st.none() | many, st.none() | many, st.booleans()),
    expected_exit=st.none() | many,
    duration_s=finite,
    growth=st.lists(growths, max_size=2).map(tuple),
    totals=st.lists(
        st.tuples(st.sampled_from(LeakKind), st.builds(Totals, many, many)), max_size=2
    ).map(tuple),
    location=st.none() | st.tuples(short, many),
    processes=st.lists(st.builds(Process, many, many, short), max_size=2).map(tuple),
)
scalars = (
    st.none()
    | st.booleans()
    | many
    | st.floats()
    | short
    | st.sampled_from(["definitely_lost", "test"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*(f for f in Check.__dataclass_fields__), "x"]) | short,
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(checks)
def test_check_survives_the_round_trip(check: Check) -> None:
    assert decode(Check, json.loads(json.dumps(encode(check)))) == check


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(anything, st.sampled_from([Check, Report, Finding, Growth, ExitStatus]))
def test_any_json_is_a_value_or_a_malformed_report(data: Any, kind: type[Any]) -> None:
    try:
        assert isinstance(decode(kind, data), kind)
    except MalformedReport as error:
        assert kind.__name__ in str(error)


@given(checks, st.data())
def test_any_spoilt_check_is_a_value_or_a_malformed_report(
    check: Check, data: st.DataObject
) -> None:
    plain = encode(check)
    node: Any = plain
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            node[key] = data.draw(anything)
            break
        node = node[key]
    try:
        decode(Check, plain)
    except MalformedReport as error:
        assert "Check" in str(error)


HUGE = 10**5000


@pytest.mark.parametrize(
    "data",
    [
        {"id": "a", "kind": "test", "tool": "t", "duration_s": HUGE},
        {"id": "a", "kind": HUGE, "tool": "t"},
        {"id": "a", "kind": "k", "tool": "t", "totals": [[HUGE, {}]]},
        {"id": "a", "kind": "k", "tool": "t", "totals": [[[], {}]]},
        {"id": "a", "kind": "k", "tool": "t", "totals": [[{}, {}]]},
        {"id": "a"},
        {},
        [],
        None,
    ],
    ids=range(9),
)
def test_absurd_values_are_refused_with_their_place(data: Any) -> None:
    with pytest.raises(MalformedReport, match="Check"):
        decode(Check, data)


@given(
    st.builds(
        Check,
        id=st.text(),
        kind=st.just("test"),
        tool=st.text(),
        notes=st.lists(st.text()).map(tuple),
    )
)
def test_a_lean_value_reads_back_the_same(check: Check) -> None:
    lean = encode(check, is_lean=True)
    assert decode(Check, json.loads(json.dumps(lean))) == check
    assert "findings" not in lean
