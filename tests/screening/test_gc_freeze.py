"""What is frozen stays so until a test asks for all objects, and is the collector's again afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from pytest_leakguard.screening.gc_freeze import SetAside, collect, frozen, thawed


@pytest.fixture(autouse=True)
def nothing_frozen() -> Iterator[None]:
    """Before and after each test here."""
    gc.unfreeze()
    yield
    assert gc.get_freeze_count() == 0
    gc.unfreeze()


class Node:
    """Followed by the collector."""


def is_told_of(node: Node) -> bool:
    """Whether the collector tells of it now."""
    return any(other is node for other in gc.get_objects())


def test_what_existed_before_is_frozen_only_inside() -> None:
    node = Node()
    with frozen():
        assert gc.get_freeze_count() > 0
        assert not is_told_of(node)
        assert is_told_of(later := Node()) and later
    assert is_told_of(node)


def test_an_error_inside_leaves_nothing_frozen() -> None:
    with pytest.raises(ZeroDivisionError), frozen():
        raise ZeroDivisionError
    assert gc.get_freeze_count() == 0


def test_garbage_is_collected_before_anything_is_frozen() -> None:
    gone = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            gone.append(True)

    Cycle()
    with frozen():
        assert gone


def test_everything_is_told_of_while_it_is_thawed_and_no_longer_afterwards() -> None:
    node = Node()
    with frozen():
        with thawed():
            assert is_told_of(node)
        assert not is_told_of(node)


def test_what_was_never_frozen_is_not_frozen_after_thawing() -> None:
    with thawed():
        pass
    assert gc.get_freeze_count() == 0


def test_thawing_ends_with_an_error_inside() -> None:
    node = Node()
    with frozen():
        with pytest.raises(ZeroDivisionError), thawed():
            raise ZeroDivisionError
        assert not is_told_of(node)


@pytest.fixture
def aside() -> Iterator[SetAside]:
    """While somebody else's code runs."""
    found = SetAside()
    found.begin()
    found.listen()
    yield found
    found.hush()
    found.end()


def test_a_test_is_frozen_until_it_asks(aside: SetAside) -> None:
    assert aside.is_frozen and gc.get_freeze_count() > 0


@pytest.mark.parametrize(
    "ask", [gc.collect, gc.get_objects, lambda: gc.get_referrers(Node)], ids=["a", "b", "c"]
)
def test_a_test_that_asks_for_all_objects_gets_them(
    aside: SetAside, ask: Callable[[], object]
) -> None:
    ask()
    assert not aside.is_frozen


@pytest.mark.parametrize("ask", [lambda: gc.collect(0), lambda: gc.collect(1), collect])
def test_a_collection_of_young_objects_or_of_ours_asks_for_none(
    aside: SetAside, ask: Callable[[], object]
) -> None:
    ask()
    assert aside.is_frozen


def test_what_follows_is_frozen_again_once(aside: SetAside) -> None:
    gc.collect()
    aside.freeze_again()
    assert aside.is_frozen and gc.get_freeze_count() > 0
    aside.freeze_again()
    gc.collect()
    assert not aside.is_frozen


def test_our_own_look_at_all_objects_thaws_nothing() -> None:
    aside = SetAside()
    aside.begin()
    try:
        gc.get_objects()
        gc.collect()
        assert aside.is_frozen
    finally:
        aside.end()
    assert not aside.is_frozen


def test_a_test_that_empties_the_collectors_callbacks_does_no_harm(aside: SetAside) -> None:
    callbacks = list(gc.callbacks)
    gc.callbacks.clear()
    aside.hush()
    gc.callbacks.extend(callbacks)
    gc.callbacks.pop()
    aside.listen()
