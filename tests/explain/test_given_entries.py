"""Who may take an entry out that only its container has: nobody, unless a source hands it out."""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain.removals import is_never_given, removals_of


class Listener:
    """Equals nothing but itself."""


class Named:
    """Equals others."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Named

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A module whose source is written by the test."""
    found = types.ModuleType("keeps_listeners")
    found.__file__ = str(tmp_path / "shop.py")
    monkeypatch.setitem(sys.modules, "keeps_listeners", found)
    yield found


SUBSCRIPTIONS = """
    SEEN = []
    def subscribe(listener):
        SEEN.append(listener)
    def unsubscribe(listener):
        SEEN.remove(listener)
    def number():
        return len(SEEN)
"""


def is_spared(shop: types.ModuleType, source: str, seen: Any, entry: int | str = 0) -> bool:
    """Whether all that takes something out takes what it is given, and nobody can give it this."""
    Path(str(shop.__file__)).write_text(textwrap.dedent(source))
    vars(shop)["SEEN"] = seen
    steps = [shop, seen, seen[entry]]
    found = list(removals_of(seen, steps))
    assert found
    return all(one.is_given for one in found) and is_never_given(steps[2], seen, steps)


def test_a_listener_that_only_the_list_has_is_never_taken_out(shop: types.ModuleType) -> None:
    assert is_spared(shop, SUBSCRIPTIONS, [Listener(), Listener()])


def test_a_key_that_only_the_dict_has_is_never_taken_out(shop: types.ModuleType) -> None:
    source = """
        SEEN = {}
        def connect(token, call):
            SEEN[token] = call
        def disconnect(token):
            SEEN.pop(token, None)
        def forget(token):
            del SEEN[token]
    """
    seen = {Listener(): [1]}
    Path(str(shop.__file__)).write_text(textwrap.dedent(source))
    vars(shop)["SEEN"] = seen
    steps = [shop, seen, next(iter(seen.values()))]
    assert [one.is_given for one in removals_of(seen, steps)] == [True, True]
    assert is_never_given(steps[2], seen, steps)


def test_a_listener_that_somebody_else_has_may_be(shop: types.ModuleType) -> None:
    seen = [Listener(), Listener()]
    vars(shop)["mine"] = [seen[0]]
    assert not is_spared(shop, SUBSCRIPTIONS, seen)
    assert is_spared(shop, SUBSCRIPTIONS, seen, 1)


def test_what_equals_others_may_be(shop: types.ModuleType) -> None:
    assert not is_spared(shop, SUBSCRIPTIONS, [Named()])
    assert not is_spared(shop, SUBSCRIPTIONS, ["name of its own"])


@pytest.mark.parametrize(
    "more",
    [
        "for one in SEEN: one.update()",
        "first = SEEN[0]",
        "copy = list(SEEN)",
        "def all_of(): return SEEN",
        "def last(): return SEEN.pop()",
        "def last():\n    listener = SEEN[-1]\n    SEEN.remove(listener)",
        "def unsubscribe(listener):\n    listener = next(iter(SEEN))\n    SEEN.remove(listener)",
        "OTHER = SEEN",
    ],
)
def test_a_source_that_hands_entries_out_spares_none(shop: types.ModuleType, more: str) -> None:
    source = f"{textwrap.dedent(SUBSCRIPTIONS)}\n{more}\n"
    assert not is_spared(shop, source, [Listener(), Listener()])


def test_a_container_that_has_another_name_spares_none(shop: types.ModuleType) -> None:
    seen = [Listener()]
    vars(shop)["views"] = [seen]
    assert not is_spared(shop, SUBSCRIPTIONS, seen)
