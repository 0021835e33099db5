"""Containers that are older than a run and were given a new table in it. Runs nobody's code.

A list, dict, set or deque that grows takes a new table now and then, and frees the old one. In
all other runs nothing of it is left, but its length says exactly what each run has added.
"""

from __future__ import annotations

import array
import collections
import ctypes
import io
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pytest_leakguard.core.collector import Collector
from pytest_leakguard.tracker.objects import PREFIXES_BYTES
from pytest_leakguard.tracker.streams import bytes_of_character, length_of_stream
from pytest_leakguard.tracker.tracker import OLD_RUN, Block, Domain, Tracker

Length = Callable[[Any], int]

_LENGTHS: tuple[tuple[type, Length, int], ...] = (
    (list, list.__len__, 8),
    (dict, dict.__len__, 24),
    (set, set.__len__, 16),
    (collections.deque, collections.deque.__len__, 8),
    (bytearray, bytearray.__len__, 1),
    (array.array, array.array.__len__, 0),
    (io.BytesIO, length_of_stream, 1),
    (io.StringIO, length_of_stream, 0),
)
"""Kinds of containers, what tells their length whatever a subclass has put there, and the bytes of
one place in their table; 0 where that differs from one to another."""
_ITEM_BYTES: Any = vars(array.array)["itemsize"].__get__
_CONTENTS_OF_MODULE: Any = vars(types.ModuleType)["__dict__"].__get__
_CONTENTS_OF_CLASS: Any = vars(type)["__dict__"].__get__
_WORD_BYTES = ctypes.sizeof(ctypes.c_size_t)
_MOST_WORDS = 4096
"""Of one block that are looked at for addresses of others."""
_MOST_OLD = 1_000
"""Resized older blocks whose owners are looked for."""


class Followed:
    """One container that may grow with every run."""

    __slots__ = ("before", "container", "gained", "is_armed", "lengths", "real")

    def __init__(self, container: Any) -> None:
        self.container = container
        self.real = length_of(container)
        self.lengths = [self.real]
        """What it would be had nobody else put anything in, at first and after each run."""
        self.gained = self.before = 0
        self.is_armed = False
        """The unit's own code was told from everybody else's since the last run."""

    def arm(self) -> None:
        self.is_armed = True
        self.before = length_of(self.container)

    def disarm(self) -> None:
        self.gained += length_of(self.container) - self.before

    def note_run(self) -> int:
        """By how much the unit has made it longer; negative when it is shorter than before."""
        real = length_of(self.container)
        grown = real - self.real
        if self.is_armed and grown > 0:
            grown = max(0, min(grown, self.gained))
        self.real, self.gained, self.is_armed = real, 0, False
        self.lengths.append(self.lengths[-1] + grown)
        return grown


class Lengths:
    """Containers that may grow with every run, and how long each was after each of them."""

    def __init__(self, containers: Iterable[Any]) -> None:
        self._known = [Followed(container) for container in containers]

    def __len__(self) -> int:
        return len(self._known)

    @property
    def containers(self) -> list[Any]:
        """Those that are followed now."""
        return [known.container for known in self._known]

    def arm(self) -> None:
        """The unit's own code follows: what others put into a container is none of its growth."""
        for known in self._known:
            known.arm()

    def disarm(self) -> None:
        """Somebody else's code follows."""
        for known in self._known:
            known.disarm()

    def note_run(self) -> None:
        """A run is over. A container that it has not made longer is followed no longer."""
        self._known = [known for known in self._known if known.note_run() > 0]

    def note_runs(self) -> None:
        """As ``note_run``, of containers that may be emptied now and then: all are followed on."""
        for known in self._known:
            known.note_run()

    @property
    def sizes_bytes(self) -> list[int]:
        """What all their items took in their tables, before the runs and after each."""
        if not self._known:
            return []
        totals = [0] * len(self._known[0].lengths)
        for known in self._known:
            item_bytes = _item_bytes(known.container)
            for at, length in enumerate(known.lengths):
                totals[at] += item_bytes * length
        return totals


NO_CONTAINERS = Lengths(())


def _item_bytes(container: Any) -> int:
    kind = _kind_of(container)
    if kind is None:
        return 0
    if kind[0] is io.StringIO:
        return bytes_of_character(container)
    return kind[2] or int(_ITEM_BYTES(container))


def length_of(container: Any) -> int:
    """Its items; 0 for what is no container."""
    kind = _kind_of(container)
    return kind[1](container) if kind is not None else 0


_EXACT = {id(kind[0]): kind for kind in _LENGTHS}
_FLAGS: Any = vars(type)["__flags__"].__get__
_LIST_SUBCLASS, _DICT_SUBCLASS = 1 << 25, 1 << 29
"""``Py_TPFLAGS_LIST_SUBCLASS`` and ``Py_TPFLAGS_DICT_SUBCLASS``."""


def _kind_of(container: Any) -> tuple[type, Length, int] | None:
    own = type(container)
    kind = _EXACT.get(id(own))
    if kind is None:
        flags = _FLAGS(own)
        if flags & _LIST_SUBCLASS:
            return _LENGTHS[0]
        if flags & _DICT_SUBCLASS:
            return _LENGTHS[1]
    return kind


def grown_containers(tracker: Tracker, run: int, has_resized_old: bool) -> list[Any]:
    """Those whose table a run has made, or has resized in its place.

    Nothing may be frozen, or the collector does not tell of old objects.
    """
    blocks = [block for block in tracker.survivors(run) if block.domain is Domain.PYTHON]
    tables, dicts = tracker.tables(run)
    if has_resized_old:
        old = [block for block in tracker.survivors(OLD_RUN) if block.domain is Domain.PYTHON]
        tables.extend(block.address for block in old[:_MOST_OLD])
    owners = _owners(tracker, tables, dicts > 0)
    starts = {block.address for block in blocks}
    found: list[Any] = []
    for owner in owners:
        is_new = any(id(owner) - prefix in starts for prefix in PREFIXES_BYTES)
        if not is_new and not any(owner is other for other in found):
            found.append(owner)
    return found


def _owners(tracker: Tracker, tables: list[int], has_dicts: bool) -> list[Any]:
    """The containers that have these tables.

    No set of addresses may exist: it would look like one.
    """
    owners = [
        owner for owner in tracker.owners(Collector.get_objects(), tables) if is_container(owner)
    ]
    if has_dicts and len(owners) < len(tables):
        more = tracker.owners(list(_untracked_dicts()), tables)
        owners.extend(owner for owner in more if owner is not None)
    return owners


def is_container(thing: Any) -> bool:
    """Whether its length can be told."""
    return _kind_of(thing) is not None


def _untracked_dicts() -> Iterator[dict[Any, Any]]:
    """Dicts in variables of modules and classes.

    The collector does not follow those that have only numbers and strings.
    """
    for module in list(sys.modules.values()):
        if not issubclass(type(module), types.ModuleType):  # anything may stand there
            continue
        for value in list(_CONTENTS_OF_MODULE(module).values()):
            if type(value) is dict:
                yield value
            elif issubclass(type(value), type):
                yield from _dicts_of(value)


def _dicts_of(owner: type) -> Iterator[dict[Any, Any]]:
    for value in list(_CONTENTS_OF_CLASS(owner).values()):
        if type(value) is dict:
            yield value


def may_have_tables(tracker: Tracker, run: int) -> bool:
    """Whether a run has left what looks like the table of an older container."""
    return bool(tracker.tables(run)[0])


def words_of(block: Block) -> Iterator[int]:
    """What stands in a block, as far as it is looked at."""
    count = min(_MOST_WORDS, block.size_bytes // _WORD_BYTES)
    yield from (ctypes.c_size_t * count).from_address(block.address)
