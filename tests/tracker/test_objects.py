"""Blocks are turned into the objects they hold; buffers hold none, and nobody's code is run."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest

from pytest_leakguard.tracker.objects import (
    PREFIXES_BYTES,
    is_kept_by_interpreter,
    objects_of,
    plain_object,
    plain_type,
)
from pytest_leakguard.tracker.tracker import Block, Domain, Tracker

POINTER_BYTES = 8


class Tracking(Tracker):
    """Says of every address that its block is alive, or of none; the test holds what it looks at."""

    def __init__(self, is_alive: bool = True) -> None:
        self._is_alive = is_alive

    def is_tracked(self, address: int) -> bool:
        return self._is_alive


TRACKER = Tracking()


def block_at(address: int, size_bytes: int, domain: Domain = Domain.PYTHON) -> Block:
    return Block(address, size_bytes, 1, domain, True)


def block_of(value: Any, before: int = 0) -> Block:
    """The block of an object that begins so many bytes behind the block's start."""
    kind: Any = type(value)
    return block_at(id(value) - before, kind.__sizeof__(value) + before)


class Node:
    """Followed by the collector."""


class Slotted:
    __slots__ = ("next",)


class Text(str):
    """A class of the user's that is no plain string."""


class Hostile:
    """Fails whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("==")

    def __hash__(self) -> int:
        raise RuntimeError("hash")


PLAIN = (
    "".join(["te", "xt"]) * 40,
    bytes(range(100)),
    10**30,
    float("1.5"),
    complex("1+2j"),
    bytearray(b"abc"),
)


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_strings_numbers_and_bytes_are_found_in_their_block(value: object) -> None:
    assert plain_object(TRACKER, block_of(value)) is value


def test_a_short_string_is_found_in_its_block() -> None:
    text = "".join(["a", "b"])
    assert plain_object(TRACKER, block_of(text)) is text


@pytest.mark.parametrize("domain", [Domain.NATIVE, Domain.MAPPING])
def test_blocks_that_are_not_pythons_hold_no_object(domain: Domain) -> None:
    text = PLAIN[0]
    assert plain_object(TRACKER, block_at(id(text), 200, domain)) is None
    assert objects_of(TRACKER, [block_at(id(text), 200, domain)]) == []


@pytest.mark.parametrize("size_bytes", [0, 8, 15])
def test_a_block_too_small_for_an_object_is_not_read(size_bytes: int) -> None:
    assert plain_object(TRACKER, block_at(1, size_bytes)) is None


def test_a_block_smaller_than_its_type_holds_none() -> None:
    assert plain_object(TRACKER, block_at(id(PLAIN[0]), 24)) is None


def test_objects_of_classes_are_not_plain() -> None:
    assert plain_object(TRACKER, block_of(Text("x"))) is None
    assert plain_object(TRACKER, block_of([])) is None
    assert plain_object(TRACKER, block_of(Node())) is None


def table_of(entries: list[Any]) -> Block:
    """The block in which a list has its entries."""
    table = int.from_bytes(bytes_at(id(entries) + 24, POINTER_BYTES), sys.byteorder)
    return block_at(table, POINTER_BYTES * len(entries))


def test_the_table_of_a_list_holds_no_object() -> None:
    entries: list[Any] = ["text", 1, 2.0, None] * 5
    assert plain_object(TRACKER, table_of(entries)) is None
    assert objects_of(TRACKER, [table_of(entries)]) == []


def test_the_table_of_a_list_of_types_holds_no_object() -> None:
    assert plain_type(table_of([str, int, float, bytes] * 4)) is None


def test_a_block_that_has_been_freed_holds_no_object() -> None:
    assert plain_object(Tracking(is_alive=False), block_of(PLAIN[0])) is None


def bytes_at(address: int, count: int) -> bytes:
    import ctypes

    return ctypes.string_at(address, count)


def test_a_block_that_begins_with_no_reference_count_holds_none() -> None:
    # What is left of a freed object has its type and no references.
    fake = bytearray(64)
    fake[8:16] = id(str).to_bytes(8, sys.byteorder)
    start = address_of(fake)
    assert plain_object(TRACKER, block_at(start, 64)) is None


def address_of(buffer: bytearray) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@pytest.mark.parametrize("before", PREFIXES_BYTES)
def test_objects_are_found_behind_what_precedes_them(before: int) -> None:
    node = Node()
    assert objects_of(TRACKER, [block_of(node, before)]) == [node]


def test_what_stands_behind_a_block_is_not_in_it() -> None:
    node = Node()
    start = id(node) - 32  # whatever is there, it ends before the node
    assert not any(found is node for found in objects_of(TRACKER, [block_at(start, 32)]))
    assert objects_of(TRACKER, [block_at(start, 32 + type(node).__sizeof__(node))]) == [node]


def test_objects_come_in_the_order_of_their_blocks() -> None:
    nodes = [Node(), Node()]
    text = PLAIN[0]
    blocks = [block_of(nodes[1], 16), block_of(text), block_of(nodes[0], 16)]
    assert objects_of(TRACKER, blocks) == [nodes[1], text, nodes[0]]


def test_containers_and_slotted_objects_are_found() -> None:
    values: list[Any] = [[1], {"a": [1]}, {1, 2}, Slotted(), lambda: values]
    found = objects_of(TRACKER, [block_of(value, 16) for value in values])
    assert [id(value) for value in found] == [id(value) for value in values]


def test_an_object_is_found_without_asking_it() -> None:
    hostile = Hostile()
    (found,) = objects_of(TRACKER, [block_of(hostile, 32)])
    assert found is hostile


def test_no_blocks_hold_no_objects() -> None:
    assert objects_of(TRACKER, []) == []


def test_an_object_that_is_frozen_is_not_found() -> None:
    node = Node()
    block = block_of(node, 16)
    gc.freeze()
    try:
        assert objects_of(TRACKER, [block]) == []
    finally:
        gc.unfreeze()
    assert objects_of(TRACKER, [block]) == [node]


def test_looking_leaves_no_reference_behind() -> None:
    node = Node()
    before = sys.getrefcount(node)
    found = objects_of(TRACKER, [block_of(node, 16)])
    assert sys.getrefcount(node) == before + 1
    del found
    assert sys.getrefcount(node) == before


def test_an_ordinary_string_is_not_kept_by_the_interpreter() -> None:
    assert not is_kept_by_interpreter(block_of(PLAIN[0]))
    assert not is_kept_by_interpreter(block_of(PLAIN[1]))
    assert not is_kept_by_interpreter(block_at(1, 8))


def test_an_interned_string_is_kept_where_the_interpreter_never_frees_it() -> None:
    text = sys.intern("".join(["a name that is interned ", "here alone"]))
    is_immortal = sys.version_info[:2] == (3, 12)
    assert is_kept_by_interpreter(block_of(text)) == is_immortal
