"""Which calls of another process allocated what it still holds, while it is traced.

Read from the process's own memory, without stopping it: the layouts are those of
``native/preload/traces.h``, ``cells.h`` and ``layout.h``.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_leakguard.tracker.live import ProcessLive

_TRACES: Final = struct.Struct("=QQIII")
"""Where blocks and stacks are; frames of a stack, stacks and blocks at most."""
_BLOCK: Final = struct.Struct("=QQQIIII")
"""Address with its bits inverted, size, bytes added, epoch, stack, weight, reserved."""
_ALL_BITS: Final = (1 << 64) - 1
_STACK_HEAD: Final = struct.Struct("=QQ")
"""Hash and number of frames, which follow; then where the text of the interpreter's calls is."""
_MAPPING: Final = 0xFFFF_FFFF
"""In place of an epoch: a mapping, not a block."""
_DESCRIPTOR, _THREAD, _CHILD = _MAPPING - 1, _MAPPING - 2, _MAPPING - 3
"""The same for what is no memory, where the address is a number, in the bits above the granule."""
_KINDS: Final = {_DESCRIPTOR: "descriptor", _THREAD: "thread", _CHILD: "child"}
_GRANULE_LOG2, _PAGE_LOG2, _NODE_LOG2 = 4, 14, 11
_SIZE_BITS: Final = 20
_LARGE: Final = (1 << _SIZE_BITS) - 1

_TEXT_BYTES: Final = 2048
"""Upper limit of the text of an interpreter's calls."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The calls that allocated something."""

    addresses: tuple[int, ...]
    """To which they return, innermost first."""
    interpreted: str = ""
    """Those of the interpreter in the process, as ``faulthandler`` writes them."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What the blocks of one stack take together."""

    size_bytes: int = 0
    blocks: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.size_bytes + other.size_bytes, self.blocks + other.blocks)


@dataclass(frozen=True, slots=True)
class Traced:
    """What was allocated since tracing began and is alive, by the calls that did it."""

    blocks: dict[Stack, Amount]
    mappings: dict[Stack, Amount]
    addresses: dict[Stack, list[int]] = field(default_factory=dict)
    """Where the blocks of each stack are."""
    opened: dict[str, dict[Stack, Amount]] = field(default_factory=dict)
    """Descriptors and children that are there, and threads that were started; by kind, each of
    size 1."""


def read_traces(pid: int, counted: ProcessLive) -> Traced | None:
    """Return what is alive; ``None`` where the process cannot be read or has traced nothing."""
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _Reader(pid, memory, counted).read()
    except (OSError, struct.error):  # it has ended, or changed while it was read
        return None
    finally:
        os.close(memory)


@dataclass(slots=True)
class _Reader:
    pid: int
    memory: int
    counted: ProcessLive
    _cells: dict[int, bytes] = field(default_factory=dict)
    _stacks: dict[int, Stack] = field(default_factory=dict)
    _mapped: list[tuple[int, int]] = field(default_factory=list)

    def read(self) -> Traced | None:
        head = self._at(self.counted.traces, _TRACES.size)
        blocks_at, stacks_at, deepest, _, most = _TRACES.unpack(head)
        if not blocks_at:
            return None
        table = self._at(blocks_at, most * _BLOCK.size)
        self._mapped = list(_mapped(self.pid))
        found = Traced({}, {})
        for inverted, size, added, epoch, stack_number, weight, _ in _BLOCK.iter_unpack(table):
            if not inverted or not self._is_alive(inverted ^ _ALL_BITS, size, epoch):
                continue
            stack = self._stack(stacks_at, stack_number, deepest)
            if epoch in _KINDS:
                amounts = found.opened.setdefault(_KINDS[epoch], {})
            else:
                amounts = found.mappings if epoch == _MAPPING else found.blocks
            if amounts is found.blocks:
                found.addresses.setdefault(stack, []).append(inverted ^ _ALL_BITS)
            amount = Amount(added * weight, weight)
            amounts[stack] = amounts.get(stack, Amount()) + amount
        return found

    def _at(self, address: int, size: int) -> bytes:
        content = os.pread(self.memory, size, address)
        if len(content) != size:
            raise OSError(f"only {len(content)} of {size} bytes")
        return content

    def _is_alive(self, address: int, size: int, epoch: int) -> bool:
        if epoch in _KINDS:
            return self._is_open(epoch, (address ^ epoch << 32) >> _GRANULE_LOG2)
        if epoch == _MAPPING:
            at = bisect_right(self._mapped, (address, 1 << 64)) - 1
            return at >= 0 and address < self._mapped[at][1]
        if epoch <= self.counted.first_epoch and self.counted.first_epoch:
            return False  # a copy of the parent's
        value = self._cell(address)
        return value == (epoch << _SIZE_BITS | min(size + 1, _LARGE))

    def _is_open(self, kind: int, number: int) -> bool:
        """Return whether it is there; nobody notes the end of a thread."""
        if kind == _DESCRIPTOR:
            return Path(f"/proc/{self.pid}/fd/{number}").is_symlink()
        return kind == _THREAD or Path(f"/proc/{number}").exists()

    def _cell(self, address: int) -> int:
        page = address >> _PAGE_LOG2
        if page not in self._cells:
            self._cells[page] = self._cells_of(page)
        at = 4 * (address >> _GRANULE_LOG2 & (1 << (_PAGE_LOG2 - _GRANULE_LOG2)) - 1)
        return int.from_bytes(self._cells[page][at : at + 4], "little")

    def _cells_of(self, page: int) -> bytes:
        """The cells of one page of blocks; empty where there are none."""
        mask = (1 << _NODE_LOG2) - 1
        node = self.counted.cells_root
        for step in (page >> 2 * _NODE_LOG2, page >> _NODE_LOG2 & mask, page & mask):
            (node,) = struct.unpack("=Q", self._at(node + 8 * step, 8))
            if not node:
                return b""
        return self._at(node, 4 << (_PAGE_LOG2 - _GRANULE_LOG2))

    def _stack(self, stacks_at: int, number: int, deepest: int) -> Stack:
        if number not in self._stacks:
            size = _STACK_HEAD.size + 8 * deepest + 8
            content = self._at(stacks_at + number * size, size)
            _, depth = _STACK_HEAD.unpack_from(content)
            frames = struct.unpack_from(f"={min(depth, deepest)}Q", content, _STACK_HEAD.size)
            (text_at,) = struct.unpack_from("=Q", content, size - 8)
            self._stacks[number] = Stack(frames, self._text(text_at))
        return self._stacks[number]

    def _text(self, address: int) -> str:
        if not address:
            return ""
        content = os.pread(self.memory, _TEXT_BYTES, address)
        return content.partition(b"\0")[0].decode("utf-8", "replace")


def _mapped(pid: int) -> Iterator[tuple[int, int]]:
    """The ranges of addresses that are mapped, in order."""
    for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
        start, _, end = line.split(maxsplit=1)[0].partition(b"-")
        yield int(start, 16), int(end, 16)
