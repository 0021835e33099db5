"""Containers in variables of the user's own modules and classes: what they gain may leave no block.

A list that takes in ``None`` or a small number leaves nothing in most runs, since it makes room for
many items at once. Only names are followed that need nobody's code: variables of modules, and of
the classes in them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

from pytest_leakguard.explain.code_owner import Owner, owner
from pytest_leakguard.tracker.containers import Lengths, is_container

_CONTENTS_OF_MODULE: Any = vars(types.ModuleType)["__dict__"].__get__
_CONTENTS_OF_CLASS: Any = vars(type)["__dict__"].__get__
_IS_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``: a class that was made by code, as the user's are."""
_FLAGS: Any = vars(type)["__flags__"].__get__


class UsersContainers:
    """Finds them anew for each test: holding one would keep alive what a test replaces."""

    def __init__(self) -> None:
        self._known_modules = 0
        self._variables: list[dict[str, Any]] = []

    def lengths(self) -> Lengths:
        """All that there are now, with their lengths."""
        if len(sys.modules) != self._known_modules:
            self._known_modules = len(sys.modules)
            self._variables = list(_variables_of_user())
        found: dict[int, Any] = {}
        for variables in self._variables:
            for container in _containers_in(variables):
                found[id(container)] = container
        return Lengths(found.values())


def _variables_of_user() -> Iterator[dict[str, Any]]:
    for module in list(sys.modules.values()):
        if not issubclass(type(module), types.ModuleType):  # anything may stand there
            continue
        variables = _CONTENTS_OF_MODULE(module)
        file = variables.get("__file__")
        if type(file) is str and owner(file) is Owner.USER:
            yield variables


def _containers_in(variables: dict[str, Any]) -> Iterator[Any]:
    name = variables.get("__name__")
    for value in list(variables.values()):
        if is_container(value):
            yield value
        elif issubclass(type(value), type) and _FLAGS(value) & _IS_HEAP_TYPE:
            of_class = _CONTENTS_OF_CLASS(value)
            if of_class.get("__module__") == name:
                yield from filter(is_container, list(of_class.values()))


def united(containers: list[Any], others: list[Any]) -> list[Any]:
    """All of both, each once."""
    known = {id(container) for container in containers}
    return [*containers, *(other for other in others if id(other) not in known)]
