"""What repeated runs leave with plugins: entries of their containers, values of their objects.

A fixture of a plugin notes each run with the plugin's object, whatever hooks are called. That is
taken back after each run, so that it is neither reported nor takes memory.
"""

from __future__ import annotations

import contextlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from operator import is_
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest

from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals
from pytest_leakguard.pytest_integration.own_hooks import (
    Origin,
    module_of_type,
    origin_of,
    origin_of_plugin,
)

DEPTH = 5
"""References from a plugin's object to the last container that is looked at: session, table, list
of a test's."""
MOST_ENTRIES = 2_000
"""Entries of a container that is copied; what is larger is some data of the plugin's, not a note
per run."""
MOST_CONTAINERS = 4_000
"""Containers that are looked at in all, which takes a few milliseconds."""
_TABLES = (dict, OrderedDict, defaultdict, Counter)
_SEQUENCES = (list, deque)
_PLAIN = (
    str,
    int,
    float,
    bool,
    bytes,
    tuple,
    type,
    type(None),
    FunctionType,
    ModuleType,
    MethodType,
)
"""Types of most things that modules and objects have, and that keep nothing of a run themselves."""
_TABLE_IDS = frozenset(map(id, _TABLES))
_PLAIN_IDS = frozenset(map(id, _PLAIN))
_CONTAINER_IDS = frozenset(map(id, (*_TABLES, *_SEQUENCES, set)))


class PluginState:
    """The state as it is when this is made; ``take_back`` changes only what differs by then."""

    def __init__(self, session: pytest.Session) -> None:
        self._tables: list[tuple[Any, dict[Any, Any]]] = []
        self._sequences: list[tuple[Any, list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._seen: set[int] = set()
        self._known: dict[int, bool] = {}
        self._tops = _tops(session.config)
        for root in _roots(session):
            self._walk(root, DEPTH)

    def take_back(self) -> None:
        """Containers and attributes are what they were."""
        for sequence, entries in self._sequences:
            if len(sequence) != len(entries) or not all(map(is_, sequence, entries)):
                sequence.clear()
                sequence.extend(entries)
        for table, saved in self._tables:
            if len(table) != len(saved) or not all(map(is_, table.values(), saved.values())):
                table.clear()
                dict.update(table, saved) if type(table) is Counter else table.update(saved)
        for members, kept in self._sets:
            if len(members) != len(kept):
                members.clear()
                members.update(kept)

    def _walk(self, value: Any, depth: int) -> None:
        if depth < 0 or id(value) in self._seen or len(self._seen) > MOST_CONTAINERS:
            return
        kind = type(value)
        number = id(kind)  # comparing or hashing a class may run a metaclass's code
        if number in _PLAIN_IDS:
            return
        if number in _CONTAINER_IDS:
            self._seen.add(id(value))
            self._keep(value, kind, depth)
        elif self._is_theirs(kind):
            self._seen.add(id(value))
            self._walk(_attributes_of(value), depth)

    def _is_theirs(self, kind: type) -> bool:
        """Whether objects of this class are a plugin's; asks no metaclass."""
        if id(kind) not in self._known:
            is_class = issubclass(kind, type)
            top = module_of_type(kind).partition(".")[0]
            self._known[id(kind)] = not is_class and top in self._tops
        return self._known[id(kind)]

    def _keep(self, value: Any, kind: type, depth: int) -> None:
        if len(value) > MOST_ENTRIES:
            return
        if id(kind) in _TABLE_IDS:
            self._tables.append((value, dict(value)))
            entries = list(value.values())
        elif kind is set:
            self._sets.append((value, set(value)))
            return
        else:
            entries = list(value)
            self._sequences.append((value, entries))
        for entry in entries:
            self._walk(entry, depth - 1)


def _attributes_of(value: Any) -> Any:
    """The dictionary of an object's attributes; ``None`` where it has none."""
    with contextlib.suppress(Exception):
        return object.__getattribute__(value, "__dict__")
    return None


def _tops(config: pytest.Config) -> frozenset[str]:
    """The packages of plugins whose state is theirs alone."""
    found = set()
    for plugin in config.pluginmanager.get_plugins():
        name = plugin.__name__ if isinstance(plugin, ModuleType) else module_of_type(type(plugin))
        top = name.partition(".")[0]
        origin = origin_of(name)
        is_users_module = isinstance(plugin, ModuleType) and origin is Origin.USER
        has_state = origin in (Origin.WATCHER, Origin.USER) and not is_users_module
        if has_state and top not in _other_plugins.BUSY:
            found.add(top)
    return frozenset(found)


def _roots(session: pytest.Session) -> Iterator[Any]:
    """What plugins keep their state in."""
    config = session.config
    for plugin in config.pluginmanager.get_plugins():
        if isinstance(plugin, pytest.TerminalReporter):
            continue  # we show our progress through it meanwhile
        if not isinstance(plugin, ModuleType):
            yield plugin
        elif origin_of_plugin(plugin) is Origin.WATCHER:
            yield from vars(plugin).values()
    for holder in (config, session):
        yield from _pytest_internals.stashed(holder)
        for value in list(vars(holder).values()):
            if id(type(value)) not in _CONTAINER_IDS:  # those are pytest's own
                yield value
