"""Whether somebody's code takes entries out of a container again, as far as its source tells.

Runs nobody's code.
"""

from __future__ import annotations

import ast
import gc
import linecache
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pytest_leakguard.core.foreign import (
    attributes_of,
    is_a,
    module_of,
    modules,
    mro_of,
    namespace_of_class,
    namespace_of_module,
    qualname_of,
    referents,
)
from pytest_leakguard.explain import given_entries, source_uses
from pytest_leakguard.explain.code_owner import Owner, owner
from pytest_leakguard.explain.path_words import Step
from pytest_leakguard.explain.reach import function_of
from pytest_leakguard.explain.source_numbers import Numbers, closure_of

_TAKES_OUT = frozenset({"pop", "popitem", "popleft", "clear", "remove", "discard"})
"""Methods of containers after which there is less in them."""
_TAKES_OUT_BEYOND = "takes entries out beyond"
_MAKERS = ("__init__", "__new__", "__post_init__")
"""Functions that give an object its first container, which is no removal."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A place in somebody's source that takes something out of a container."""

    place: str
    """As ``shop.py:12``."""
    limit: int = 0
    """The number of entries from which on it does, where the source says so in plain numbers."""
    function: str = field(default="", compare=False)
    """The name by which the code around it is called; empty where that has none of its own."""
    does: str = field(default=_TAKES_OUT_BEYOND, compare=False)
    """What it does about the limit, in words."""
    is_given: bool = field(default=False, compare=False)
    """It takes out only what its function was given, as ``unsubscribe(listener)`` does."""


def removal_of(container: Any, holders: Iterable[Any] = ()) -> Removal | None:
    """The first place that takes something out of the container; ``None`` where none is seen."""
    return next(removals_of(container, holders), None)


def removals_of(container: Any, holders: Iterable[Any] = ()) -> Iterator[Removal]:
    """The places that take something out of the container.

    Looked for in the source of the modules that have it, or what it is an entry of, as a variable,
    of the classes whose objects, among ``holders``, have it as an attribute, of the functions among
    them that have it in their closure, and of its own class.
    """
    for name in _names(container, holders):
        yield from name.removals(container)


def is_never_given(entry: Any, container: Any, steps: list[Any]) -> bool:
    """Whether nobody can hand this entry to what takes out only what it is given.

    Nothing else refers to it, and no source gives an entry of the container to anybody.
    """
    if given_entries.has_other_holders(container, _known(steps)):
        return False
    is_alone = given_entries.is_only_in(entry, container)
    return is_alone and all(name.hands_out_nothing() for name in _names(container, steps))


def is_source_known(container: Any, holders: Iterable[Any] = ()) -> bool:
    """Whether all that can take something out of the container is source that was looked through.

    It is not where the container has no name there, where it is used in a way that may empty it, or
    where something refers to it that is none of its ``holders``.
    """
    names = list(_names(container, holders))
    if not names or _has_other_holders(container, holders):
        return False
    return all(name.is_harmless() for name in names)


def _has_other_holders(container: Any, holders: Iterable[Any]) -> bool:
    """Whether anything else refers to it, which may empty it by another name."""
    steps = list(holders)
    known = {id(holders), id(steps), *_known(steps)}
    for referrer in gc.get_referrers(container):
        # What a function that runs calls it stands in the source that is looked through.
        if id(referrer) not in known and not is_a(referrer, _RUNNING):
            return True
    return False


def _known(steps: Iterable[Any]) -> set[int]:
    """The identities of the holders, of their namespaces and closures, and of modules'."""
    known = {id(steps)}
    for step in steps:
        known.add(id(step))
        known.update(map(id, referents(step)))  # its namespace
        if type(step) is types.FunctionType:
            known.update(map(id, step.__closure__ or ()))
    known.update(id(namespace_of_module(module)) for _, module in modules())
    return known


_RUNNING = (
    *(types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType),
    Step,  # of the way to it, our own
)


@dataclass(frozen=True, slots=True)
class _Name:
    """How one module's source calls the container."""

    file: str
    name: str
    of_class: str = ""
    """The class whose own methods are meant, by ``self``."""
    is_entry: bool = False
    """The name is of what the container is an entry of: ``CACHES[key]``, ``CACHES.get(key)``."""
    holder: Any = None
    """The object or function that has it, whose attributes or closure have the numbers meant."""
    within: int = 0
    """A line of the function whose variable it is, or of one inside it; 0 for a module's."""

    def tree(self) -> ast.Module | None:
        """The module's source; ``None`` where there is none."""
        lines = linecache.getlines(self.file)
        try:
            return ast.parse("".join(lines)) if lines else None
        except (SyntaxError, ValueError, RecursionError):
            return None

    def is_harmless(self) -> bool:
        """Whether each use of it, here and in other modules, takes nothing out."""
        tree = self.tree()
        scope = self._scope(tree) if tree is not None else None
        if scope is None:
            return False
        if self.of_class:
            return True  # what takes something out by ``self`` was looked for
        if self.is_entry or not source_uses.are_harmless(scope, self._is_called):
            return False  # an entry is reached by whatever goes through all of them
        return bool(self.within) or source_uses.are_harmless_elsewhere(self.name, self.file)

    def hands_out_nothing(self) -> bool:
        """Whether no use of it, here and in other modules, gives an entry to anybody."""
        tree = self.tree()
        scope = self._scope(tree) if tree is not None else None
        if scope is None or self.of_class or self.is_entry:
            return False
        check = given_entries.hands_out_nothing
        if not check(scope, self._is_called):
            return False
        if self.within:
            return True
        return source_uses.are_harmless_elsewhere(self.name, self.file, check)

    def removals(self, container: Any) -> Iterator[Removal]:
        tree = self.tree()
        if tree is None:
            return
        scope = self._scope(tree)
        if scope is None:
            return
        is_it = _is_self if self.of_class else self._is_called
        found = [*_removing(scope, is_it), *_removing_by_another_name(scope, is_it)]
        if not (self.of_class or self.is_entry or self.within):
            found += _replacing(tree, self.name)
        numbers = Numbers(self.file, self.holder)
        for node in found:
            removal = self._removal(tree, node, _limit_of(tree, node, numbers))
            function = _function_around(tree, node)
            is_given = given_entries.is_by_value(node, container, function)
            yield replace(removal, is_given=is_given and not removal.limit)
        for node in ast.walk(scope):
            if isinstance(node, ast.Compare) and any(_is_length_of(is_it, node)):
                limit = max(numbers.compared(node), default=0)
                if limit:
                    yield self._removal(tree, node, limit, "compares its length with")

    def _removal(
        self, tree: ast.Module, node: ast.AST, limit: int, does: str = _TAKES_OUT_BEYOND
    ) -> Removal:
        place = f"{Path(self.file).name}:{getattr(node, 'lineno', 0)}"
        return Removal(place, limit, function_of(tree, node), does)

    def _scope(self, tree: ast.Module) -> ast.AST | None:
        """The part of the source in which the name means the container."""
        if self.of_class:
            return _class_in(tree, self.of_class)
        return _statement_at(tree, self.within) if self.within else tree

    def _is_called(self, node: ast.expr) -> bool:
        whole = _whole_of(node) if self.is_entry else node
        if isinstance(whole, ast.Name):
            return whole.id == self.name
        return isinstance(whole, ast.Attribute) and whole.attr == self.name


def _names(container: Any, holders: Iterable[Any]) -> Iterator[_Name]:
    steps = tuple(holders)
    yield from _names_of(container, steps, is_entry=False)
    for holder, inside in pairwise(steps):
        if inside is container and is_a(holder, _WITH_ENTRIES):
            yield from _names_of(holder, steps, is_entry=True)
            yield from _names_of(holder, steps, is_entry=False)  # which empties it with all else
    for file, kind in _classes(type(container)):
        yield _Name(file, "", kind, holder=container)


_WITH_ENTRIES = (dict, list, tuple)


def _names_of(thing: Any, steps: tuple[Any, ...], is_entry: bool) -> Iterator[_Name]:
    """Each variable of a module or closure and each attribute of a holder that it is."""
    yield from _variables_of_modules(thing, is_entry)
    for holder in steps:
        for name, value in _attributes_of(holder):
            if value is thing and type(name) is str:
                for file in _files_of(holder):
                    yield _Name(file, name, is_entry=is_entry, holder=holder)
        for name, value in closure_of(holder).items():
            if value is thing:
                code = holder.__code__
                line = code.co_firstlineno
                yield _Name(code.co_filename, name, "", is_entry, holder, line)


def _attributes_of(holder: Any) -> Iterable[tuple[Any, Any]]:
    """Those of an object, or of a class."""
    if is_a(holder, type):
        return list(namespace_of_class(holder).items())
    return attributes_of(holder)


def _files_of(holder: Any) -> list[str]:
    if is_a(holder, type):
        return [file for file in (_file_of(holder),) if file]
    return [file for file, _ in _classes(type(holder))]


def _variables_of_modules(thing: Any, is_entry: bool) -> Iterator[_Name]:
    for module in list(sys.modules.values()):
        if type(module) is not types.ModuleType:  # anything may stand there, also a lazy module
            continue
        inside = namespace_of_module(module)
        file = inside.get("__file__")
        for name, value in list(inside.items()):
            if value is thing and type(name) is str and type(file) is str:
                yield _Name(file, name, is_entry=is_entry)


def _whole_of(node: ast.expr) -> ast.expr | None:
    """``CACHES`` of ``CACHES[key]`` and ``CACHES.get(key)``; ``None`` of all else."""
    if isinstance(node, ast.Subscript):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.value if node.func.attr in ("get", "setdefault") else None
    return None


def _classes(kind: type) -> Iterator[tuple[str, str]]:
    """The file of each class that is not the interpreter's, and how it is called there."""
    for base in mro_of(kind):
        file = _file_of(base)
        if file:
            yield file, qualname_of(base).rpartition(".")[2]


def _file_of(kind: type) -> str:
    """The source file of a class that is not the interpreter's; empty where there is none."""
    module = sys.modules.get(module_of(kind))
    if type(module) is not types.ModuleType:
        return ""
    file = namespace_of_module(module).get("__file__")
    return file if type(file) is str and owner(file) is not Owner.INTERPRETER else ""


def _statement_at(tree: ast.Module, line: int) -> ast.AST | None:
    """The function or class of the module in which a line is."""
    for node in tree.body:
        first = min((part.lineno for part in getattr(node, "decorator_list", ())), default=line)
        if min(first, node.lineno) <= line <= (node.end_lineno or node.lineno):
            return node
    return None


def _function_around(tree: ast.Module, node: ast.AST) -> ast.AST | None:
    """The innermost function in which a statement or call is."""
    found = None
    for function in ast.walk(tree):  # outer ones come first
        is_function = isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if is_function and any(part is node for part in ast.walk(function)):
            found = function
    return found


def _class_in(tree: ast.Module, name: str) -> ast.ClassDef | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    return None


_IsIt = Callable[[ast.expr], bool]
"""Whether an expression is the container."""


def _is_self(node: ast.expr) -> bool:
    """``self``, or ``super()``."""
    if isinstance(node, ast.Name):
        return node.id == "self"
    return isinstance(node, ast.Call) and _name_of(node.func) == "super"


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _removing(scope: ast.AST, is_it: _IsIt) -> Iterator[ast.AST]:
    """The statements and calls that take something out."""
    for node in ast.walk(scope):
        if (
            (isinstance(node, ast.Delete) and any(_is_entry(part, is_it) for part in node.targets))
            or (isinstance(node, ast.Call) and _is_removal(node.func, is_it))
            or (isinstance(node, ast.Assign) and _replaces_part(node, is_it))
        ):
            yield node


def _removing_by_another_name(scope: ast.AST, is_it: _IsIt) -> Iterator[ast.AST]:
    """The same in functions that have given the container a name of their own."""
    for function in ast.walk(scope):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _removing(function, _is_one_of(_other_names(function, is_it)))


def _other_names(function: ast.AST, is_it: _IsIt) -> frozenset[str]:
    """``rows`` where there is ``rows = self.rows``."""
    found: set[str] = set()
    for part in ast.walk(function):
        if isinstance(part, ast.Assign) and is_it(part.value):
            found.update(map(_name_of, part.targets))
    return frozenset(found - {""})


def _is_one_of(names: frozenset[str]) -> _IsIt:
    return lambda node: _name_of(node) in names


def _replacing(tree: ast.Module, name: str) -> Iterator[ast.AST]:
    """What gives the variable another container in a function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        parts = list(ast.walk(function))
        is_global = any(isinstance(part, ast.Global) and name in part.names for part in parts)
        for part in parts:
            is_variable = is_global and _name_given(part, ast.Name) == name
            is_attribute = _name_given(part, ast.Attribute) == name
            if is_variable or (is_attribute and function.name not in _MAKERS):
                yield part


def _name_given(node: ast.AST, kind: type[ast.AST]) -> str:
    """The name that is given a value here; empty where the node does something else."""
    if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node, kind):
        return ""
    if not isinstance(node.ctx, ast.Store):
        return ""
    return node.id if isinstance(node, ast.Name) else node.attr


def _replaces_part(node: ast.Assign, is_it: _IsIt) -> bool:
    """``CACHE[:] = []`` and ``CACHE[at % 10] = entry``, which replace what was there."""
    return any(_is_entry(target, is_it) and _is_place(target) for target in node.targets)


def _is_place(target: ast.expr) -> bool:
    return isinstance(target, ast.Subscript) and (
        isinstance(target.slice, ast.Slice)
        or (isinstance(target.slice, ast.BinOp) and isinstance(target.slice.op, ast.Mod))
    )


def _is_entry(target: ast.expr, is_it: _IsIt) -> bool:
    """``CACHE[key]`` in ``del CACHE[key]``."""
    return isinstance(target, ast.Subscript) and is_it(target.value)


def _is_removal(called: ast.expr, is_it: _IsIt) -> bool:
    """``CACHE.pop`` in ``CACHE.pop(key)``."""
    return isinstance(called, ast.Attribute) and called.attr in _TAKES_OUT and is_it(called.value)


# The number from which on it does.


def _left_by(removal: ast.AST, numbers: Numbers) -> int:
    """How many ``del CACHE[:-200]`` leaves; 0 of all else."""
    for target in removal.targets if isinstance(removal, ast.Delete) else ():
        part = target.slice if isinstance(target, ast.Subscript) else None
        if isinstance(part, ast.Slice) and part.lower is None:
            upper = part.upper
            if isinstance(upper, ast.UnaryOp) and isinstance(upper.op, ast.USub):
                return numbers.number(upper.operand) or 0
    return 0


def _is_length_of(is_it: _IsIt, node: ast.Compare) -> Iterator[bool]:
    """Whether a side of the comparison is ``len(CACHE)``."""
    for side in (node.left, *node.comparators):
        for part in ast.walk(side):
            if isinstance(part, ast.Call) and _name_of(part.func) == "len":
                yield any(map(is_it, part.args))


def _limit_of(tree: ast.Module, removal: ast.AST, numbers: Numbers) -> int:
    """The largest number in the nearest condition around it that has one; 0 where none is known."""
    found = _left_by(removal, numbers)
    for node in ast.walk(tree):
        if not isinstance(node, ast.If | ast.While) or isinstance(node.test, ast.Constant):
            continue
        statements = (*node.body, *node.orelse)
        inside = (part for statement in statements for part in ast.walk(statement))
        if any(part is removal for part in inside):
            found = max(numbers.compared(node.test), default=found)
    return found
