"""How long containers are is followed exactly, and nobody's code is run for it."""

from __future__ import annotations

import array
import collections
import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from pytest_leakguard.tracker.containers import (
    Lengths,
    is_container,
    length_of,
    may_have_tables,
)
from pytest_leakguard.tracker.tracker import Block, Domain, Tracker, _Survivor

WORD_BYTES = ctypes.sizeof(ctypes.c_size_t)
KEYS_OF_DICT = 4 * WORD_BYTES
"""Where a dict has the address of its table: after its head, its length and its version."""


class RunsNothing(Exception):
    """Somebody's code has been run."""


def ran(*_: Any, **__: Any) -> Any:
    raise RunsNothing


HOSTILE = dict.fromkeys(
    (
        "__len__",
        "__iter__",
        "__getitem__",
        "__contains__",
        "__eq__",
        "__hash__",
        "__bool__",
        "__repr__",
        "__sizeof__",
        "__getattribute__",
        "__reversed__",
        "__class_getitem__",
    ),
    ran,
)


def hostile(base: type) -> Any:
    """An instance of a class that fails, as its own class does, whatever is asked of it.

    No variable of this module may have one: pytest looks at them.
    """
    metaclass: Any = type("Meta", (type,), dict(HOSTILE))
    return metaclass("Hostile", (base,), dict(HOSTILE))()


CONTAINERS: dict[str, tuple[Callable[[], Any], Callable[[Any, int], object], int]] = {
    "list": (list, list.append, 8),
    "dict": (dict, lambda known, at: known.update({at: None}), 24),
    "set": (set, set.add, 16),
    "deque": (collections.deque, collections.deque.append, 8),
    "bytearray": (bytearray, bytearray.append, 1),
    "array of doubles": (lambda: array.array("d"), array.array.append, 8),
    "array of shorts": (lambda: array.array("h"), array.array.append, 2),
    "defaultdict": (
        lambda: collections.defaultdict(list),
        lambda known, at: known.update({at: None}),
        24,
    ),
    "hostile list": (lambda: hostile(list), list.append, 8),
    "hostile dict": (lambda: hostile(dict), lambda known, at: dict.update(known, {at: None}), 24),
}
"""What makes one, what adds an item, and the bytes that a place for one takes."""


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_item_that_a_run_adds_is_counted_with_the_bytes_of_its_place(name: str) -> None:
    made, add, item_bytes = CONTAINERS[name]
    container = made()
    assert is_container(container)
    lengths = Lengths([container])
    for run in range(3):
        add(container, run)
        lengths.note_run()
        assert length_of(container) == run + 1
    assert lengths.sizes_bytes == [0, item_bytes, 2 * item_bytes, 3 * item_bytes]


@pytest.mark.parametrize(
    "other", ["text", b"bytes", (1, 2), 7, None, list], ids=lambda other: repr(type(other))
)
def test_what_does_not_grow_in_its_place_is_no_container(other: object) -> None:
    assert not is_container(other)
    assert length_of(other) == 0


@pytest.mark.parametrize("base", [list, dict])
def test_a_hostile_container_that_stays_as_long_is_let_go_without_asking_it(base: type) -> None:
    lengths = Lengths([hostile(base)])
    lengths.note_run()
    assert len(lengths) == 0


def test_a_hostile_thing_that_is_no_container_is_not_asked() -> None:
    thing = hostile(object)
    assert not is_container(thing)
    assert not is_container(type(thing))


def test_a_container_that_a_run_has_not_made_longer_is_followed_no_longer() -> None:
    grows, stays = [1], [1]
    lengths = Lengths([grows, stays])
    assert len(lengths) == 2
    grows.append(2)
    lengths.note_run()
    assert [id(container) for container in lengths.containers] == [id(grows)]
    grows.pop()
    lengths.note_run()
    assert len(lengths) == 0 and lengths.sizes_bytes == []


def test_a_container_that_is_emptied_now_and_then_is_followed_on() -> None:
    buffer = [None] * 5
    lengths = Lengths([buffer])
    buffer.append(None)
    lengths.note_runs()
    buffer.clear()
    lengths.note_runs()
    assert lengths.sizes_bytes == [40, 48, 0]


def test_the_sizes_of_several_containers_are_added() -> None:
    entries: dict[int, None] = {}
    items: list[None] = []
    lengths = Lengths([entries, items])
    entries[1] = None
    items.append(None)
    lengths.note_run()
    assert lengths.sizes_bytes == [0, 32]


class Surviving(Tracker):
    """A run has left the blocks that the test holds."""

    def __init__(self, *blocks: Block) -> None:
        super().__init__()
        self._blocks = blocks

    def _entries(self, run: int) -> tuple[Any, int]:
        entries = (_Survivor * len(self._blocks))()
        for entry, block in zip(entries, self._blocks, strict=True):
            entry.address, entry.size_bytes = block.address, block.size_bytes
            entry.domain = block.domain
        return entries, len(entries)


def block_of(buffer: ctypes.Array[Any], domain: Domain = Domain.PYTHON) -> Block:
    return Block(ctypes.addressof(buffer), ctypes.sizeof(buffer), 1, domain, True)


def words(*values: int) -> ctypes.Array[Any]:
    return (ctypes.c_size_t * len(values))(*values)


LIST_OF_FOUR = words(id(words), 1, 1, 1)
SET_OF_32 = words(*[0] * 64)
DEQUE_OF_64 = words(*[1] * 66)
OBJECT = words(1, 1, 1)


@pytest.mark.parametrize("table", [LIST_OF_FOUR, SET_OF_32, DEQUE_OF_64], ids=len)
def test_a_block_of_the_size_of_a_table_may_be_one(table: ctypes.Array[Any]) -> None:
    assert may_have_tables(Surviving(block_of(OBJECT), block_of(table)), 1)


def test_a_block_of_another_size_is_no_table() -> None:
    assert not may_have_tables(Surviving(block_of(OBJECT)), 1)
    assert not may_have_tables(Surviving(), 1)


@pytest.mark.parametrize("first", [0, 1, 0x7F00_0000_0001, 0x0802_0001_0000_0000], ids=hex)
def test_a_block_that_does_not_begin_with_an_item_is_no_lists_table(first: int) -> None:
    """Such as the values of an instance, or what a code object keeps of itself."""
    block = words(first, id(words), 0, 0)
    assert not may_have_tables(Surviving(block_of(block)), 1)


def test_a_native_block_is_no_table_of_pythons() -> None:
    assert not may_have_tables(Surviving(block_of(LIST_OF_FOUR, Domain.NATIVE)), 1)


def test_the_table_of_a_container_that_is_new_as_well_is_none_of_an_older_one() -> None:
    owner = words(1, 1, ctypes.addressof(LIST_OF_FOUR))
    assert not may_have_tables(Surviving(block_of(LIST_OF_FOUR), block_of(owner)), 1)


def table_of(entries: dict[Any, Any]) -> Block:
    address = ctypes.c_size_t.from_address(id(entries) + KEYS_OF_DICT).value
    return Block(address, dict.__sizeof__(entries) - dict.__basicsize__, 1, Domain.PYTHON, True)


@pytest.mark.parametrize("entries", [dict.fromkeys(range(20)), dict.fromkeys("abcdefghijkl")])
def test_the_table_of_a_dict_may_be_one_while_anything_is_in_it(entries: dict[Any, Any]) -> None:
    assert may_have_tables(Surviving(table_of(entries)), 1)
    for key in list(entries):
        del entries[key]
    assert not may_have_tables(Surviving(table_of(entries)), 1)
