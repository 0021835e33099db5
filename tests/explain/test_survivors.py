"""Texts that are still being written are not held while the unit runs again."""

from __future__ import annotations

import gc
import io
from typing import Any

from pytest_leakguard.explain.survivors import Survivors, referred

OUT = io.StringIO()
KEPT: list[Any] = []


def targets_of(things: list[Any]) -> list[Any]:
    first = Survivors(things).roots()
    return [target.thing for target in first.all()] if first is not None else []


def new_text(number: int) -> str:
    return f"text {number} " * 3


def test_a_text_that_only_c_code_has_is_no_target() -> None:
    """As the one that ``StringIO`` of CPython 3.12 writes into, and moves."""
    things = [new_text(1), io.StringIO()]
    assert [type(thing) for thing in targets_of(things)] == [io.StringIO]
    del things[1]
    assert targets_of(things) == []


def test_a_text_in_a_container_is_a_target() -> None:
    KEPT.append(new_text(2))
    things = KEPT[-1:]
    assert targets_of(things) == [new_text(2)]


def test_a_text_in_a_tuple_that_the_collector_does_not_know_is_seen_to_be_held() -> None:
    KEPT.append((new_text(3), (new_text(4), 5)))
    gc.collect()  # the inner tuple
    gc.collect()  # and the outer one
    assert not gc.is_tracked(KEPT[-1])
    wanted = {id(KEPT[-1][0]), id(KEPT[-1][1][0])}
    assert referred(wanted, set()) == wanted
    assert referred(wanted, {id(KEPT)}) == set()
