"""Containers in variables of the user's own modules and classes: what they gain may leave no block.

A list that takes in ``None`` or a small number leaves nothing in most runs, since it makes room for
many items at once. Only names are followed that need nobody's code: variables of modules, and of
the classes in them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_leakguard.explain.code_owner import Owner, owner
from pytest_leakguard.tracker.containers import Lengths, is_container

_CONTENTS_OF_MODULE: Any = vars(types.ModuleType)["__dict__"].__get__
_CONTENTS_OF_CLASS: Any = vars(type)["__dict__"].__get__
_IS_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: a class that was made by code, as the user's are."""
_FLAGS: Any = vars(type)["__flags__"].__get__


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
        found: dict[int, Any] = {}
        for places in self._places:
            if not places.add_to(found):
                return None
        return found


class _Places:
    """Names of one module, and of its classes, that had a container or ``None``.

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

    def add_to(self, found: dict[int, Any]) -> bool:
        """Adds the containers that are there now; whether the names are those that there were."""
        if len(self._variables) != self._length:
            return False
        _add_to(found, self._variables, self._names)
        for name, length, names in self._classes:
            value = self._variables.get(name)
            if not _is_made_by_code(value):
                return False
            of_class = _CONTENTS_OF_CLASS(value)
            if len(of_class) != length:
                return False
            if names:
                _add_to(found, of_class, names)
        return True


def _names_in(variables: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    for name, value in list(variables.items()):
        if value is None or is_container(value):
            found.append(name)
    return tuple(found)


def _add_to(found: dict[int, Any], variables: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        value = variables.get(name)
        if value is not None and is_container(value):
            found[id(value)] = value


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
