"""The typed side of the native library: arm it around a run, ask what of the run is still alive."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

from pytest_leakguard.tracker.library import load

OLD_RUN = 0
"""The run of blocks that are older than the first run."""
LARGEST_RUN = (1 << 22) - 1
"""Of ``native/runs.h``: an entry has 22 bits for its run."""
DEEPEST_STACK = 64
"""Of ``native/stacks.h``, in frames."""


class Domain(IntEnum):
    """Who allocated a block; the outermost allocator where one calls another."""

    PYTHON = 0
    """The interpreter's allocators for objects and their buffers (OBJ and MEM)."""
    NATIVE = 1
    """malloc and its kin, operator new, ``PyMem_RawMalloc``."""
    MAPPING = 2
    """mmap, in whole pages; neither an allocator's own nor what the loader maps."""


class Threads(Enum):
    """Whose blocks."""

    OWN = (0,)
    """Of the thread that armed the tracker."""
    OTHER = (1,)
    """Of every other thread, started by the run or older."""
    ALL = (0, 1)


class NativeState(Enum):
    """Whether native blocks are seen; the values are those of ``native/native_hooks.h``."""

    NOT_INSTALLED = 0
    HOOKED = 1
    DISPLACED = 2
    """Another tool has put its own functions in the slots (memray, while it tracks)."""
    UNSUPPORTED = 3
    """No ELF system, or an architecture other than x86-64 and aarch64."""
    SANITIZER = 4
    """A sanitizer's allocator is in this process."""
    NO_SLOTS = 5
    """A static program: nothing is called by name."""


@dataclass(frozen=True, slots=True)
class NativeHooks:
    """What ``install_native`` did."""

    state: NativeState
    slots: int
    """Slots of loaded objects that lead to the tracker."""
    foreign_slots: int
    """Slots that lead to another allocator or tool, and were left alone."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What of one run is alive now."""

    blocks: int
    size_bytes: int
    """As requested from the allocator; whole pages for mappings."""
    grown_bytes: int
    """By which blocks of other runs grew during this run (negative: shrank, or old ones went)."""

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.blocks + other.blocks,
            self.size_bytes + other.size_bytes,
            self.grown_bytes + other.grown_bytes,
        )


NOTHING = Amount(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Block:
    """One live block or mapping."""

    address: int
    size_bytes: int
    run: int
    domain: Domain
    is_own_thread: bool


@dataclass(frozen=True, slots=True)
class Location:
    """Where an instruction is."""

    file: str
    """Of the loaded object, as the loader names it."""
    offset: int
    """In bytes from the object's start, as ``addr2line`` wants it for position-independent code."""
    symbol: str | None
    symbol_offset: int
    """In bytes from the symbol; 0 without one."""


class _Survivor(ctypes.Structure):
    """``Survivor`` of ``native/core.h``."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("size_bytes", ctypes.c_uint64),
        ("run", ctypes.c_uint32),
        ("domain", ctypes.c_uint8),
        ("thread", ctypes.c_uint8),
        ("reserved", ctypes.c_uint16),
    )


_PerDomain = (ctypes.c_int64 * len(Threads.ALL.value)) * len(Domain)


class _RunTotals(ctypes.Structure):
    """``RunTotals`` of ``native/runs.h``: by domain, then thread."""

    _fields_ = (("blocks", _PerDomain), ("bytes", _PerDomain), ("grown", _PerDomain))


_DOMAINS = tuple(Domain)
_THREADS = len(Threads.ALL.value)
_BYTES_AT = ctypes.sizeof(_PerDomain) // 8
_GROWN_AT = 2 * _BYTES_AT
"""Where bytes and growth begin in it, in words."""


class _ObjectLayout(ctypes.Structure):
    """``ObjectLayout`` of ``native/owners.h``."""

    _fields_ = (("type", ctypes.c_uint64), ("basic_size", ctypes.c_uint64))


def _layout() -> _ObjectLayout | None:
    """Where this interpreter keeps the type of an object and the size of a type's objects."""
    word_bytes = ctypes.sizeof(ctypes.c_size_t)
    for type_offset in (8, 16, 24):  # after the reference count; further on without the GIL
        if _word_at(id(_SAMPLE) + type_offset) != id(object):
            continue
        basic_size = type_offset + 3 * word_bytes  # the type, its size, its name
        if _word_at(id(object) + basic_size) == object.__basicsize__:
            return _ObjectLayout(type_offset, basic_size)
    return None  # pragma: no cover  # no interpreter that we know


def _word_at(address: int) -> int:
    return ctypes.c_size_t.from_address(address).value


_heard: list[object] = []
_asked_for: list[bytes] = []
"""What the library holds for good."""
Asking = Callable[[str], None]
_SAMPLE = object()
_LAYOUT = _layout()
_NO_OWNER = (1 << 64) - 1


class Tracker:
    """Which blocks allocated in run k are still alive.

    One per process: the library has one table.
    """

    __slots__ = ("_address", "_library", "_words", "arm", "disarm", "keeps_nothing", "sees_python")

    arm: Callable[[int], int]
    """Blocks allocated from now on belong to this run (1 to ``LARGEST_RUN``), and the calling
    thread is the run's own. Returns 1, or 0 where it is not armed: no such run, no memory left, or
    a forked child that was not ``reset``. Takes about a microsecond and leaves nothing, not even
    an object in one of the interpreter's free lists."""
    disarm: Callable[[], object]
    """No run is armed; blocks that are freed from now on are still taken out."""
    sees_python: Callable[[], int]
    """Whether Python's blocks are seen; ask while armed. Takes less than a microsecond.

    Something that had wrapped the allocators before us, and has unwound since, has put back
    what there was before it: ``tracemalloc.stop()`` under ``python -X tracemalloc``."""

    keeps_nothing: Callable[[int], int]
    """Whether nothing of a run is alive and nothing older has grown in it. Takes less than a
    microsecond."""

    def __init__(self, library: ctypes.PyDLL | None = None) -> None:
        """Raises ``LibraryMissing``, whose message says what to do."""
        self._library = load() if library is None else library
        _declare(self._library)
        self._words = array("q", bytes(ctypes.sizeof(_RunTotals)))
        self._address = self._words.buffer_info()[0]
        self.keeps_nothing = self._library.tracker_keeps_nothing
        self.arm = _method(self._library, "arm")
        self.disarm = _method(self._library, "disarm")
        self.sees_python = _method(self._library, "sees_python")

    def install_python(self) -> bool:
        """Sees Python's blocks from now on, for the rest of the process.

        What wraps the allocators later (tracemalloc, memray) must unwind before it ends, as they
        do. False: the interpreter does not export its allocators.
        """
        return bool(self._library.tracker_install_python())

    def repair_python(self) -> None:
        """Sees them again from now on, and forgets all blocks: some were freed meanwhile."""
        self._library.tracker_repair_python()

    def install_native(self) -> NativeHooks:
        """Sees native blocks from now on, also of libraries that are loaded later.

        A function whose address somebody looked up before (``ctypes.CDLL(None).malloc``) is not
        seen through that address: install early. Calling it again takes back slots that another
        tool has restored. With musl, what the C library allocates for itself (``strdup``) is not
        seen, because it does not call malloc by name.
        """
        state = NativeState(self._library.tracker_install_native())
        replaced = self._library.tracker_slots_replaced()
        return NativeHooks(state, replaced, self._library.tracker_slots_foreign())

    def uninstall_native(self) -> None:
        """Puts back what the slots held; addresses that were handed out keep working."""
        self._library.tracker_uninstall_native()

    @property
    def native_state(self) -> NativeState:
        """Whether native blocks are seen right now. Takes about a microsecond."""
        return NativeState(self._library.tracker_native_state())

    def live(self, run: int, domain: Domain, threads: Threads = Threads.ALL) -> Amount:
        """What of one run is alive, by who allocated it."""
        self._library.tracker_totals(run, 1, self._address)
        at, words = domain * _THREADS, self._words
        blocks = size_bytes = grown_bytes = 0
        for thread in threads.value:
            blocks += words[at + thread]
            size_bytes += words[_BYTES_AT + at + thread]
            grown_bytes += words[_GROWN_AT + at + thread]
        return Amount(blocks, size_bytes, grown_bytes)

    def blocks_and_growth(self, run: int) -> tuple[dict[Domain, int], dict[Domain, int]]:
        """What of one run is alive, and by how much older blocks have grown in it, by domain.

        In a tenth of the time that ``live`` takes for all.
        """
        self._library.tracker_totals(run, 1, self._address)
        words = self._words.tolist()
        blocks, grown = {}, {}
        for domain in _DOMAINS:
            at = domain * _THREADS
            blocks[domain] = sum(words[at : at + _THREADS])
            grown[domain] = sum(words[_GROWN_AT + at : _GROWN_AT + at + _THREADS])
        return blocks, grown

    def series(
        self, first_run: int, count: int, domain: Domain, threads: Threads = Threads.ALL
    ) -> tuple[Amount, ...]:
        """What of each run is alive: of ``count`` runs from ``first_run`` on."""
        totals = (_RunTotals * count)()
        self._library.tracker_totals(first_run, count, totals)
        return tuple(_amount(total, domain, threads) for total in totals)

    def survivors(self, run: int) -> tuple[Block, ...]:
        """The blocks and mappings of a run that are alive, by address.

        May look at the whole table.
        """
        entries, found = self._entries(run)
        blocks = [_block(entry) for entry in entries[:found]]
        return tuple(sorted(blocks, key=lambda block: block.address))

    def _entries(self, run: int) -> tuple[ctypes.Array[_Survivor], int]:
        expected = 0
        for domain in Domain:
            expected += self.live(run, domain).blocks
        entries = (_Survivor * expected)()
        return entries, self._library.tracker_survivors(run, entries, expected)

    def tables(self, run: int) -> tuple[list[int], int]:
        """Blocks of a run that may be the tables of older lists, dicts, sets and deques.

        Their addresses, and how many are of dicts. Those are left out that another block of the run
        refers to: its container is as new.
        """
        entries, count = self._entries(run)
        found, dicts = (ctypes.c_uint64 * count)(), ctypes.c_uint64()
        used = self._library.tracker_tables(entries, count, found, ctypes.byref(dicts))
        return list(found[:used]), dicts.value

    def survivors_with(self, run: int, offset_bytes: int, word: int) -> tuple[Block, ...]:
        """Those of Python's that have this word so far from their start: objects of one type.

        Takes a fraction of the time that looking at each of them takes.
        """
        expected = self.live(run, Domain.PYTHON).blocks
        entries = (_Survivor * expected)()
        found = self._library.tracker_survivors_with(run, offset_bytes, word, entries, expected)
        return tuple(_block(entry) for entry in entries[:found])

    def find(self, address: int) -> Block | None:
        """The live block that starts at an address, or the live mapping around it."""
        entry = _Survivor()
        is_found = self._library.tracker_find(address, ctypes.byref(entry))
        return _block(entry) if is_found else None

    def is_tracked(self, address: int) -> bool:
        """Whether an address is the start of a live tracked block, or in a mapping."""
        return self.find(address) is not None

    def owners(self, objects: list[Any], addresses: Sequence[int]) -> list[Any]:
        """For each address, which of the objects has it among its own first fields; or ``None``.

        So the list of a list's items is found, and the dict of a dict's table. Reads memory only.
        """
        if _LAYOUT is None or not addresses or not objects:
            return [None] * len(addresses)
        # Of a list: after its type and its length, the address of its items.
        items = _word_at(id(objects) + _LAYOUT.type + 2 * ctypes.sizeof(ctypes.c_size_t))
        blocks = (ctypes.c_size_t * len(addresses))(*addresses)
        found = (ctypes.c_uint64 * len(addresses))()
        self._library.tracker_owners(
            items, len(objects), blocks, len(addresses), ctypes.byref(_LAYOUT), found
        )
        return [None if at == _NO_OWNER else objects[at] for at in found]

    def hear(self, listener: Callable[[str, tuple[Any, ...]], object]) -> Asking | None:
        """Calls ``listener`` with each audit event that is asked for with what this returns.

        For the rest of the process, and no other one. ``None``: the interpreter takes no hooks.
        What it raises, the audited call raises.
        """
        _heard.append(listener)  # the library keeps its address
        return self._ask_for if self._library.tracker_hear(listener) else None

    def _ask_for(self, event: str) -> None:
        _asked_for.append(event.encode())
        self._library.tracker_ask_for(_asked_for[-1])

    def retag(self, first_run: int, last_run: int, to_run: int = OLD_RUN) -> None:
        """What is alive of some runs belongs to another one from now on, by default to the old."""
        self._library.tracker_move_runs(first_run, last_run, to_run)

    def forget(self, first_run: int, last_run: int | None = None) -> None:
        """Tracks the blocks of a run, or of some runs, no longer; their numbers become 0."""
        self._library.tracker_forget_runs(first_run, first_run if last_run is None else last_run)

    def reset(self) -> None:
        """Disarms and forgets everything; in a forked child, begins to track there."""
        self._library.tracker_reset()

    @property
    def used(self) -> int:
        """How many blocks and mappings are tracked."""
        return int(self._library.tracker_used())

    @property
    def lost(self) -> int:
        """Blocks that could not be entered because memory ran out; counts are then too low."""
        return int(self._library.tracker_lost())

    @property
    def size_bytes(self) -> int:
        """Address space that the tracker's own tables have."""
        return int(self._library.tracker_size_bytes())

    @property
    def is_child(self) -> bool:
        """Whether this process was forked from the one that tracks, and tracks nothing itself."""
        return bool(self._library.tracker_is_child())

    def record_stacks(self, depth: int) -> bool:
        """Keeps up to ``depth`` frames of each native allocation and mapping of armed runs.

        Costs microseconds per allocation. 0 switches it off and forgets what was kept. False:
        there is no unwinder (libgcc_s) here.
        """
        return bool(self._library.tracker_record_stacks(min(depth, DEEPEST_STACK)))

    def stack_of(self, address: int) -> tuple[int, ...]:
        """Return addresses of a block's allocation, innermost first; empty where none was kept."""
        frames = (ctypes.c_size_t * DEEPEST_STACK)()
        depth = self._library.tracker_stack_of(address, frames, DEEPEST_STACK)
        return tuple(frames[:depth])

    def locate(self, instruction: int) -> Location | None:
        """Which object an instruction is in, and which exported function; None: in none."""
        file, symbol = ctypes.c_char_p(), ctypes.c_char_p()
        base, start = ctypes.c_size_t(), ctypes.c_size_t()
        references = [
            ctypes.byref(file),
            ctypes.byref(base),
            ctypes.byref(symbol),
            ctypes.byref(start),
        ]
        if not self._library.tracker_locate(instruction, *references):
            return None
        name = None if symbol.value is None else symbol.value.decode(errors="replace")
        offset_in_symbol = 0 if name is None else instruction - start.value
        path = str(Path((file.value or b"").decode(errors="surrogateescape")))
        return Location(path, instruction - base.value, name, offset_in_symbol)


def _amount(totals: _RunTotals, domain: Domain, threads: Threads) -> Amount:
    amount = NOTHING
    for thread in threads.value:
        blocks = totals.blocks[domain][thread]
        amount += Amount(blocks, totals.bytes[domain][thread], totals.grown[domain][thread])
    return amount


def _block(entry: _Survivor) -> Block:
    return Block(
        entry.address, entry.size_bytes, entry.run, Domain(entry.domain), entry.thread == 0
    )


def _method(library: ctypes.PyDLL, name: str) -> Any:
    """A function of the library as a builtin, or by ctypes in an interpreter that makes none."""
    try:
        return library.tracker_method(name.encode())
    except ValueError:  # pragma: no cover  # NULL
        return getattr(library, f"tracker_{name}")


def _declare(library: ctypes.PyDLL) -> None:
    """Types of arguments and results, as in ``native/api.h``; int where nothing is said."""
    run, address, pointer = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
    library.tracker_arm.argtypes = (run,)
    library.tracker_method.argtypes = (ctypes.c_char_p,)
    library.tracker_method.restype = ctypes.py_object
    library.tracker_disarm.restype = None
    library.tracker_keeps_nothing.argtypes = (run,)
    library.tracker_totals.argtypes = (run, ctypes.c_uint32, pointer)
    library.tracker_totals.restype = None
    library.tracker_survivors.argtypes = (run, pointer, ctypes.c_uint64)
    library.tracker_survivors_with.argtypes = (run, address, address, pointer, address)
    library.tracker_tables.argtypes = (pointer, address, pointer, pointer)
    library.tracker_find.argtypes = (address, pointer)
    library.tracker_move_runs.argtypes = (run, run, run)
    library.tracker_move_runs.restype = None
    library.tracker_forget_runs.argtypes = (run, run)
    library.tracker_forget_runs.restype = None
    library.tracker_repair_python.restype = library.tracker_reset.restype = (
        library.tracker_uninstall_native.restype
    ) = None
    library.tracker_owners.argtypes = (
        pointer,
        ctypes.c_uint64,
        pointer,
        ctypes.c_uint64,
        pointer,
        pointer,
    )
    library.tracker_owners.restype = None
    library.tracker_hear.argtypes = (ctypes.py_object,)
    library.tracker_ask_for.argtypes = (ctypes.c_char_p,)
    library.tracker_record_stacks.argtypes = (ctypes.c_uint32,)
    library.tracker_stack_of.argtypes = (address, pointer, ctypes.c_uint32)
    library.tracker_stack_of.restype = ctypes.c_uint32
    library.tracker_locate.argtypes = (ctypes.c_size_t, pointer, pointer, pointer, pointer)
    for name in (
        "survivors",
        "survivors_with",
        "tables",
        "used",
        "lost",
        "size_bytes",
        "slots_replaced",
        "slots_foreign",
    ):
        getattr(library, f"tracker_{name}").restype = ctypes.c_uint64
