"""Whether somebody's code takes entries out of a container again, as far as its source tells.

Runs nobody's code.
"""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DICT_OF_MODULE: Any = vars(types.ModuleType)["__dict__"].__get__
_TAKES_OUT = frozenset({"pop", "popitem", "popleft", "clear", "remove", "discard"})
"""Methods of containers after which there is less in them."""


def removal_of(container: Any) -> str:
    """The place that takes something out of the container, as ``shop.py:12``.

    Looked for in the source of the modules that have it as a variable; empty where none is seen.
    """
    for name, file in _variables(container):
        line = _line_that_removes(file, name)
        if line:
            return f"{Path(file).name}:{line}"
    return ""


def _variables(container: Any) -> Iterator[tuple[str, str]]:
    """Each name of the container in a module, with the module's file."""
    for module in list(sys.modules.values()):
        if type(module) is not types.ModuleType:  # anything may stand there, also a lazy module
            continue
        inside = _DICT_OF_MODULE(module)
        file = inside.get("__file__")
        for name, value in list(inside.items()):
            if value is container and type(name) is str and type(file) is str:
                yield name, file


def _line_that_removes(file: str, name: str) -> int:
    """The first line that does, 0 where none does."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Delete) and any(_is_entry(part, name) for part in node.targets):
            return node.lineno
        if isinstance(node, ast.Call) and _is_removal(node.func, name):
            return node.lineno
        if isinstance(node, ast.Assign) and _replaces_part(node, name):
            return node.lineno
    return _line_that_replaces(tree, name)


def _line_that_replaces(tree: ast.Module, name: str) -> int:
    """The first line in a function that gives the variable another container, 0 where none does."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        parts = list(ast.walk(function))
        is_global = any(isinstance(part, ast.Global) and name in part.names for part in parts)
        for part in parts:
            is_variable = is_global and _name_given(part, ast.Name) == name
            is_attribute = _name_given(part, ast.Attribute) == name
            if is_variable or (is_attribute and function.name not in _MAKERS):
                return int(getattr(part, "lineno", 0))
    return 0


def _name_given(node: ast.AST, kind: type[ast.AST]) -> str:
    """The name that is given a value here; empty where the node does something else."""
    if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node, kind):
        return ""
    if not isinstance(node.ctx, ast.Store):
        return ""
    return node.id if isinstance(node, ast.Name) else node.attr


_MAKERS = ("__init__", "__new__", "__post_init__")
"""Functions that give an object its first container, which is no removal."""


def _replaces_part(node: ast.Assign, name: str) -> bool:
    """``CACHE[:] = []`` and ``CACHE[at % 10] = entry``, which replace what was there."""
    return any(_is_entry(target, name) and _is_place(target) for target in node.targets)


def _is_place(target: ast.expr) -> bool:
    return isinstance(target, ast.Subscript) and (
        isinstance(target.slice, ast.Slice)
        or (isinstance(target.slice, ast.BinOp) and isinstance(target.slice.op, ast.Mod))
    )


def _is_entry(target: ast.expr, name: str) -> bool:
    """``CACHE[key]`` in ``del CACHE[key]``."""
    return isinstance(target, ast.Subscript) and _is_called(target.value, name)


def _is_removal(called: ast.expr, name: str) -> bool:
    """``CACHE.pop`` in ``CACHE.pop(key)``."""
    is_method = isinstance(called, ast.Attribute) and called.attr in _TAKES_OUT
    return is_method and isinstance(called, ast.Attribute) and _is_called(called.value, name)


def _is_called(node: ast.expr, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name
    return isinstance(node, ast.Attribute) and node.attr == name
