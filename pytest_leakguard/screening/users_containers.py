"""Containers in variables of the user's own modules and classes: what they gain may leave no block.

A list that takes in ``None`` or a small number leaves nothing in most runs, since it makes room for
many items at once. Only ways are followed that need nobody's code: variables of modules and of the
classes in them, and what the objects there refer to, a few steps deep.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_leakguard.core.foreign import module_of
from pytest_leakguard.explain.code_owner import HARNESS, Owner, owner
from pytest_leakguard.tracker.containers import Lengths, is_container

_CONTENTS_OF_MODULE: Any = vars(types.ModuleType)["__dict__"].__get__
_CONTENTS_OF_CLASS: Any = vars(type)["__dict__"].__get__
_IS_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: a class that was made by code, as the user's are."""
_FLAGS: Any = vars(type)["__flags__"].__get__
_MRO: Any = vars(type)["__mro__"].__get__
_TEXT: Any = vars(types.GetSetDescriptorType)["__doc__"].__get__
_NO_INSTANCES = (types.ModuleType, type)

MOST_STEPS = 3
"""From a variable down to a container: ``APP.state.events`` is three steps from ``APP``."""
MOST_OBJECTS = 100
"""Objects that are asked for their parts before each test, in half a millisecond (measured, with
their 150 containers)."""
MOST_NAMES = 64
"""Entries of a dict whose values are looked at as well, since it may be where the names of an
object are."""
RESCAN_TESTS = 25
"""Tests after which all variables are looked at again, for those that were bound to something else.

A new variable is seen at once, and one that was ``None``: only others take so long.
"""


class UsersContainers:
    """Finds them anew for each test: holding one would keep alive what a test replaces."""

    def __init__(self) -> None:
        self._known_modules = 0
        self._variables: list[dict[str, Any]] = []
        self._places: list[_Places] = []
        self._tests = 0

    def lengths(self) -> Lengths:
        """All that there are now, with their lengths."""
        if len(sys.modules) != self._known_modules:
            self._known_modules = len(sys.modules)
            self._variables = list(_variables_of_user())
            self._tests = 0
        found = self._found() if self._tests else None
        if found is None:
            self._places = [_Places(variables) for variables in self._variables]
            found = self._found()
        self._tests = (self._tests + 1) % RESCAN_TESTS
        return Lengths((found or {}).values())

    def _found(self) -> dict[int, Any] | None:
        """By address; ``None`` where a module or a class has other names than it had."""
        found: dict[int, Any] = {id(container): container for container in _of_interpreter()}
        objects = _Objects()
        for places in self._places:
            if not places.add_to(found, objects):
                return None
        objects.add_containers_to(found)
        return found


def _of_interpreter() -> Iterator[list[Any]]:
    """What a test may append a constant to, of which nothing is allocated."""
    for entries in (sys.path, sys.path_hooks, sys.warnoptions):
        if type(entries) is list:  # anything may stand there
            yield entries


class _Objects:
    """Objects in variables, whose attributes may be containers; forgotten before the test runs."""

    __slots__ = ("_level", "_seen")

    def __init__(self) -> None:
        self._level: list[Any] = []
        self._seen: set[int] = set()

    def add(self, thing: Any) -> None:
        """One of them, unless it is known."""
        if id(thing) not in self._seen:
            self._seen.add(id(thing))
            self._level.append(thing)

    def add_containers_to(self, found: dict[int, Any]) -> None:
        """Adds what they refer to, and what that does, up to so many steps and objects."""
        for _ in range(MOST_STEPS):
            level, self._level = self._level, []
            for thing in level:
                if len(self._seen) > MOST_OBJECTS:
                    return
                for part in _parts_of(thing):
                    if is_container(part):
                        found[id(part)] = part
                    elif _is_instance(part):
                        self.add(part)


def _parts_of(thing: Any) -> list[Any]:
    """What an object refers to, and what small dicts of its do."""
    parts = gc.get_referents(thing)
    for part in parts:
        if type(part) is dict and len(part) <= MOST_NAMES and len(parts) <= MOST_OBJECTS:
            parts.extend(part.values())
    return parts


class _Places:
    """Names of one module, and of its classes, that had a container, an object or ``None``.

    No value is held, only names are.
    """

    __slots__ = ("_classes", "_length", "_names", "_variables")

    def __init__(self, variables: dict[str, Any]) -> None:
        self._variables, self._length = variables, len(variables)
        self._names = _names_in(variables)
        self._classes: list[tuple[str, int, tuple[str, ...]]] = []
        module = variables.get("__name__")
        for name, value in list(variables.items()):
            if _is_made_by_code(value):
                of_class = _CONTENTS_OF_CLASS(value)
                if of_class.get("__module__") == module:
                    self._classes.append((name, len(of_class), _names_in(of_class)))

    def add_to(self, found: dict[int, Any], objects: _Objects) -> bool:
        """Adds the containers that are there now; whether the names are those that there were."""
        if len(self._variables) != self._length:
            return False
        _add_to(found, objects, self._variables, self._names)
        for name, length, names in self._classes:
            value = self._variables.get(name)
            if not _is_made_by_code(value):
                return False
            of_class = _CONTENTS_OF_CLASS(value)
            if len(of_class) != length:
                return False
            if names:
                _add_to(found, objects, of_class, names)
        return True


def _names_in(variables: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    for name, value in list(variables.items()):
        if type(name) is str and name.startswith("__"):
            continue  # such as __spec__, which leads to the loader
        if value is None or is_container(value) or _is_instance(value):
            found.append(name)
    return tuple(found)


def _add_to(
    found: dict[int, Any], objects: _Objects, variables: Mapping[str, Any], names: Iterable[str]
) -> None:
    for name in names:
        value = variables.get(name)
        if value is None:
            continue
        if is_container(value):
            found[id(value)] = value
        elif _is_instance(value):
            objects.add(value)


def _is_instance(value: Any) -> bool:
    """Whether it is an object of a class that code has made, and neither a class nor a module."""
    kind = type(value)
    if kind is types.SimpleNamespace:
        return True
    if not _FLAGS(kind) & _IS_HEAP_TYPE or issubclass(kind, _NO_INSTANCES):
        return False
    if id(kind) not in _leads_to_users:
        _leads_to_users[id(kind)] = _may_lead_to_users(kind)
    return _leads_to_users[id(kind)]


_leads_to_users: dict[int, bool] = {}
"""By the identity of a class; of one that is gone, the answer does no harm."""


def _may_lead_to_users(kind: type) -> bool:
    """What C code has made, such as an ``lru_cache``, has containers that are nobody's to fill.

    What is pytest's or a plugin's leads to all that these have.
    """
    is_harness = module_of(kind).partition(".")[0] in HARNESS
    return not is_harness and any(map(_has_places_from_code, _MRO(kind)))


def _has_places_from_code(kind: type) -> bool:
    """Whether a class statement has given instances their slots or their dict.

    Only then has the descriptor of the dict a text of its own.
    """
    contents = _CONTENTS_OF_CLASS(kind)
    of_dict = contents.get("__dict__")
    is_from_code = type(of_dict) is types.GetSetDescriptorType and bool(_TEXT(of_dict))
    return is_from_code or "__slots__" in contents


def _is_made_by_code(value: Any) -> bool:
    """Whether it is a class that no C code has made."""
    kind = type(value)
    return (kind is type or issubclass(kind, type)) and bool(_FLAGS(value) & _IS_HEAP_TYPE)


def _variables_of_user() -> Iterator[dict[str, Any]]:
    for module in list(sys.modules.values()):
        if not issubclass(type(module), types.ModuleType):  # anything may stand there
            continue
        variables = _CONTENTS_OF_MODULE(module)
        file = variables.get("__file__")
        if type(file) is str and owner(file) is Owner.USER:
            yield variables


def united(containers: list[Any], others: list[Any]) -> list[Any]:
    """All of both, each once."""
    known = {id(container) for container in containers}
    return [*containers, *(other for other in others if id(other) not in known)]
