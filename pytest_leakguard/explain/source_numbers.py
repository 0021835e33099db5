"""The whole numbers that somebody's source names: constants, variables and attributes.

Runs nobody's code.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_leakguard.core.foreign import (
    attributes_of,
    is_a,
    mro_of,
    namespace_of_class,
    namespace_of_module,
)

_CELL_CONTENTS: Any = vars(types.CellType)["cell_contents"].__get__


def closure_of(holder: Any) -> Mapping[str, Any]:
    """The variables of enclosing functions that a function uses; none of anything else."""
    if type(holder) is not types.FunctionType:
        return {}
    found = {}
    names = holder.__code__.co_freevars
    for name, cell in zip(names, holder.__closure__ or (), strict=True):
        try:
            found[name] = _CELL_CONTENTS(cell)
        except ValueError:  # not given a value yet
            continue
    return found


_LENGTHS = frozenset({"len", "__len__", "qsize"})
"""Functions and methods that say how much is in a container."""


class Numbers:
    """What names stand for in one module's source, where a container's holder is known."""

    def __init__(self, file: str, holder: Any = None) -> None:
        self._file, self._holder = file, holder
        self._closure = closure_of(holder)

    def compared(self, condition: ast.expr) -> Iterator[int]:
        """The numbers above 0 that a condition compares a length or another number with.

        Seconds that have gone by since something are no number of entries.
        """
        for node in ast.walk(condition):
            if isinstance(node, ast.Compare):
                sides = (node.left, *node.comparators)
                numbers = [self.number(side) for side in sides]
                unknown = [at for at, number in zip(sides, numbers, strict=True) if number is None]
                if all(map(_is_length, unknown)):
                    yield from (number for number in numbers if number is not None and number > 0)

    def number(self, node: ast.expr) -> int | None:
        """A whole number, a product or sum of some, or a variable or attribute that is one."""
        if isinstance(node, ast.BinOp):
            left, right = self.number(node.left), self.number(node.right)
            compute = _OPERATIONS.get(type(node.op))
            if left is not None and right is not None and compute is not None:
                return compute(left, right)
            return None
        value = self._value(node)
        return value if type(value) is int else None

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            if node.id in self._closure:
                return self._closure[node.id]
            return self._variable(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            is_own = node.value.id in ("self", "cls")
            return _attribute(self._holder if is_own else self._value(node.value), node.attr)
        return None

    def _variable(self, name: str) -> Any:
        for module in list(sys.modules.values()):
            if type(module) is types.ModuleType:
                inside = namespace_of_module(module)
                if inside.get("__file__") == self._file:
                    return inside.get(name)
        return None


def _is_length(node: ast.expr) -> bool:
    """``len(CACHE)``, ``CACHE.qsize()``, or a sum with one."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            called = part.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in _LENGTHS:
                return True
    return False


def _attribute(holder: Any, name: str) -> Any:
    """An attribute of an object or of its classes, of a class or of a module."""
    if type(holder) is types.ModuleType:
        return namespace_of_module(holder).get(name)
    for attribute, value in attributes_of(holder):
        if attribute == name:
            return value
    for kind in mro_of(holder if is_a(holder, type) else type(holder)):
        found = namespace_of_class(kind).get(name)
        if found is not None:
            return found
    return None


_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.LShift: lambda left, right: left << min(right, 64),
}
