"""Which container is named as the holder when several grow with a leak."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

from pytest_leakguard.explain.growing_containers import Growing, growing
from pytest_leakguard.explain.holders import first_of


class Order:
    """Something that can be referred to weakly."""


class Shop:
    """Keeps its orders, two a call in one item, and lists each by weak references."""

    def __init__(self, index: Any, add: Callable[[Any, Order], object]) -> None:
        self.index = index
        self.add = add
        self.kept: list[tuple[Order, Order]] = []

    def order(self) -> None:
        """Grows the index by two and what keeps them by one."""
        both = Order(), Order()
        for one in both:
            self.add(self.index, one)
        self.kept.append(both)


INDICES: dict[str, Callable[[], Shop]] = {
    "set": lambda: Shop(weakref.WeakSet(), lambda index, one: index.add(one)),
    "values": lambda: Shop(
        weakref.WeakValueDictionary(), lambda index, one: index.__setitem__(id(one), one)
    ),
    "keys": lambda: Shop(weakref.WeakKeyDictionary(), lambda index, one: index.__setitem__(one, 1)),
}


@pytest.mark.parametrize("kind", INDICES)
def test_what_keeps_things_alive_is_named_before_what_only_lists_them(kind: str) -> None:
    shop = INDICES[kind]()
    found = growing(shop.order, 6)
    assert found[0].container is shop.kept
    assert any(one.container is shop.index.data and one.per_run == 2 for one in found[1:])


def _into_list(dead: list[Any], one: Any) -> None:
    dead.append(one)


def _into_dict(dead: dict[int, Any], one: Any) -> None:
    dead[len(dead)] = one


@pytest.mark.parametrize(
    ("dead", "add"), [([], _into_list), ({}, _into_dict)], ids=["list", "dict"]
)
def test_dead_references_are_held_by_what_lists_them(
    dead: Any, add: Callable[[Any, Any], None]
) -> None:
    slow: list[None] = []

    def work() -> None:
        for _ in range(2):
            add(dead, weakref.ref(Order(), lambda _: None))
        slow.append(None)

    assert growing(work, 6)[0].container is dead


NEAR: list[Any] = []
FAR: dict[str, Any] = {"shop": {"rows": {}}}


def test_of_two_that_grow_alike_each_run_names_the_one_nearest_to_a_root() -> None:
    near, far = Growing(NEAR, 1.0, None), Growing(FAR["shop"]["rows"], 1.0 + 1e-3, None)
    NEAR.append([near])  # so that the collector knows them
    FAR["shop"]["rows"][0] = [far]
    try:
        assert first_of((near, far)) is first_of((far, near)) is near
        faster = Growing(far.container, 2.0, None)
        assert first_of((faster, near)) is faster
        assert first_of(()) is None
    finally:
        NEAR.clear()
        FAR["shop"]["rows"].clear()
