"""The blocks of a run that are still alive, as objects where they are some. Runs nobody's code."""

from __future__ import annotations

import ctypes
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_leakguard.core.collector import Collector
from pytest_leakguard.core.foreign import name_of
from pytest_leakguard.tracker.tracker import Block, Domain, Tracker

PREFIXES_BYTES = (0, 16, 32)
"""What may precede an object in its block, in bytes: nothing, the collector's head, or that and the
place of the instance's dict (CPython 3.11 and later)."""
_PLAIN_TYPES = {
    str: sys.getsizeof(""),
    bytes: sys.getsizeof(b""),
    int: sys.getsizeof(1),
    float: sys.getsizeof(1.0),
    complex: sys.getsizeof(1j),
    bytearray: sys.getsizeof(bytearray()),
    object: object.__basicsize__,
}
"""Types that the collector does not follow, and the least size of their objects.

Such objects begin where their block does.
"""


def _type_offset_bytes() -> int:
    """Where an object has the address of its type: after its reference count, or further on."""
    sample = object()
    for offset in (8, 16, 24):
        if _pointer_at(id(sample) + offset) == id(object):
            return offset
    return 0  # pragma: no cover  # no interpreter that we know


def _pointer_at(address: int) -> int:
    return ctypes.c_size_t.from_address(address).value


_TYPE_OFFSET = _type_offset_bytes()
_PLAIN = {id(kind): kind for kind in _PLAIN_TYPES}
_LEAST_BYTES = min(_PLAIN_TYPES.values())


def plain_type(block: Block, kinds: Mapping[int, type] = _PLAIN) -> type | None:
    """The type of the object that fills the block, where the collector does not follow it.

    Memory is read, nothing is referred to: the object may go at any time. ``kinds`` are the types
    to look for, by their addresses: strings, numbers and bytes unless others are given.
    """
    if block.domain is not Domain.PYTHON or block.size_bytes < _LEAST_BYTES:
        return None
    kind = kinds.get(_pointer_at(block.address + _TYPE_OFFSET))
    if kind is None or not _is_counted(block.address):
        return None
    least = _PLAIN_TYPES.get(kind, _BASIC_SIZE_OF(kind))
    return kind if block.size_bytes >= least else None


_BASIC_SIZE_OF: Any = type.__dict__["__basicsize__"].__get__
_address = ctypes.c_size_t()
_object = ctypes.py_object.from_address(ctypes.addressof(_address))
"""The object at the address in ``_address``."""


def plain_object(tracker: Tracker, block: Block, kinds: Mapping[int, type] = _PLAIN) -> Any:
    """The object that fills the block, as ``plain_type`` tells; ``None`` when it is gone."""
    _address.value = id(None)
    found = _object.value  # by now the interpreter has looked up all names that are used below
    tracker.is_tracked(block.address)
    kind = plain_type(block, kinds)
    if kind is None or not tracker.is_tracked(block.address):
        return None
    _address.value = block.address
    found = _object.value
    _address.value = id(None)
    return found if type(found) is kind else None


def _is_counted(address: int) -> bool:
    """Whether what stands there can be a reference count; a list's table has an address there."""
    word = _pointer_at(address)
    return 0 < word <= MOST_REFERENCES or _is_immortal(address)


MOST_REFERENCES = 1_000_000
"""References to one object; the lowest address of a program is four times that."""
_IMMORTAL_WORD = _pointer_at(id(None)) & 0xFFFF_FFFF if sys.version_info >= (3, 12) else 0
"""The reference count of objects that the interpreter never frees, in its lower half."""


def all_types() -> dict[int, type]:
    """Every type there is, by its address."""
    found: dict[int, type] = {}
    level: list[type] = [object]
    while level:
        kind = level.pop()
        if id(kind) not in found:
            found[id(kind)] = kind
            level.extend(type.__subclasses__(kind))
    return found


def is_kept_by_interpreter(block: Block) -> bool:
    """Whether it is a string that the interpreter has interned for good, which is nobody's leak."""
    return plain_type(block) is str and _is_immortal(block.address)


def kept_by_interpreter(tracker: Tracker, run: int) -> list[Block]:
    """The strings of a run that the interpreter has interned for good."""
    strings = tracker.survivors_with(run, _TYPE_OFFSET, id(str))
    return [block for block in strings if is_kept_by_interpreter(block)]


def beside_code(tracker: Tracker, run: int, offset_bytes: int) -> list[Block]:
    """Blocks whose addresses code objects of a run have so far from their start."""
    found = []
    for code in tracker.survivors_with(run, _TYPE_OFFSET, id(types.CodeType)):
        block = None
        if code.size_bytes >= types.CodeType.__basicsize__:
            block = tracker.find(_pointer_at(code.address + offset_bytes))
        if block is not None and block.run == run and block.domain is Domain.PYTHON:
            found.append(block)
    return found


def compiled_code(tracker: Tracker, run: int) -> tuple[Block, ...]:
    """What the interpreter's JIT has compiled in a run, for code that was run often."""
    kind = _executor_type() if _JIT is not None and _JIT.is_enabled() else None
    if kind is None:
        return ()
    return tracker.survivors_with(run, _HEAD_BYTES + _TYPE_OFFSET, id(kind))


_JIT: Any = getattr(sys, "_jit", None)
_EXECUTOR = "uop_executor"


_executors: list[type] = []


def _executor_type() -> type | None:
    """It has no module to be imported from; ``None`` while nothing is compiled."""
    if not _executors:
        _executors.extend(kind for kind in all_types().values() if name_of(kind) == _EXECUTOR)
    return next(iter(_executors), None)


def _is_immortal(address: int) -> bool:
    return bool(_IMMORTAL_WORD) and _pointer_at(address) & 0xFFFF_FFFF == _IMMORTAL_WORD


def objects_of(tracker: Tracker, blocks: Iterable[Block]) -> list[Any]:
    """The objects in these blocks, in the order of the blocks; buffers of objects are left out.

    The collector's own objects are found among those that it knows now, so nothing may be frozen.
    """
    starts = {}
    for block in blocks:
        if block.domain is Domain.PYTHON:
            starts[block.address] = block
    by_start: dict[int, Any] = {}
    for candidate in Collector.get_objects():
        address = id(candidate)
        for prefix in PREFIXES_BYTES:
            start = address - prefix
            if start in starts and prefix < starts[start].size_bytes:
                by_start[start] = candidate
    found = []
    kinds = all_types() if len(by_start) < len(starts) else {}
    for start, block in starts.items():
        inside = by_start[start] if start in by_start else plain_object(tracker, block, kinds)
        if inside is None:
            inside = _untracked_object(tracker, block)
        if inside is not None:
            found.append(inside)
    del by_start
    return found


def _untracked_object(tracker: Tracker, block: Block) -> Any:
    """A dict or a tuple of plain values, which the collector does not know although it could.

    Its head of two words is there, and the first one is empty.
    """
    address = block.address + _HEAD_BYTES
    if block.size_bytes < _HEAD_BYTES + tuple.__basicsize__ or _pointer_at(block.address):
        return None
    _address.value = id(None)
    found = _object.value
    kind = _UNTRACKED.get(_pointer_at(address + _TYPE_OFFSET))
    if kind is None or not _is_counted(address) or not tracker.is_tracked(block.address):
        return None
    _address.value = address
    found = _object.value
    _address.value = id(None)
    return found if type(found) is kind else None


_HEAD_BYTES = 16
"""Of the collector, before an object that it may know."""
_UNTRACKED: dict[int, type] = {id(dict): dict, id(tuple): tuple}


def counted_blocks(tracker: Tracker, run: int) -> tuple[Block, ...]:
    """The survivors of a run, without what the interpreter keeps for good."""
    return tuple(block for block in tracker.survivors(run) if not is_kept_by_interpreter(block))
