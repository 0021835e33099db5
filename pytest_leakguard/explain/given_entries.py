"""Whether anybody can still hand an entry of a container to code that takes out what it is given.

As ``unsubscribe(listener)`` does, which nobody can call for a listener that only the list of all
has. Runs nobody's code.
"""

from __future__ import annotations

import ast
import gc
import types
from collections.abc import Callable
from typing import Any

from pytest_leakguard.core.foreign import mro_of, namespace_of_class
from pytest_leakguard.explain.code_owner import is_ours as is_our_file
from pytest_leakguard.explain.roots import is_ours

IsIt = Callable[[ast.expr], bool]
"""Whether an expression is the container."""
_BY_VALUE: dict[type, frozenset[str]] = {
    list: frozenset({"remove"}),
    set: frozenset({"remove", "discard"}),
    dict: frozenset({"pop"}),
}
"""Methods that take out what they are given, or what is under the key that they are given."""
_GIVES_NOTHING = frozenset({"append", "add", "insert", "__len__", "__contains__"})
_ASKS = frozenset({"len", "bool", "id", "type"})
"""Functions that are given a container and hand out nothing of it."""


def is_by_value(node: ast.AST, container: Any, function: ast.AST | None) -> bool:
    """Return whether a removal takes out just what its function was given by its caller."""
    given = _given(node, container)
    if given is None or not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    arguments = function.args
    names = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return given in names and not _is_rebound(function, given)


def _given(node: ast.AST, container: Any) -> str | None:
    """The name of what it takes out: ``key`` of ``del CACHE[key]``, ``one`` of ``remove(one)``."""
    if isinstance(node, ast.Delete) and len(node.targets) == 1 and type(container) is dict:
        target = node.targets[0]
        return _name(target.slice) if isinstance(target, ast.Subscript) else None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    methods = next((names for kind, names in _BY_VALUE.items() if type(container) is kind), ())
    return _name(node.args[0]) if node.func.attr in methods and node.args else None


def _name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _is_rebound(function: ast.AST, name: str) -> bool:
    """Whether the function gives the name another value, such as one of the entries."""
    for part in ast.walk(function):
        if isinstance(part, ast.Name) and part.id == name and not isinstance(part.ctx, ast.Load):
            return True
    return False


def hands_out_nothing(scope: ast.AST, is_it: IsIt) -> bool:
    """Return whether no use of the container in this part of a source gives an entry to anybody."""
    parents: dict[int, ast.AST] = {}
    for node in ast.walk(scope):
        for child in ast.iter_child_nodes(node):
            parents[id(child)] = node
    for node in ast.walk(scope):
        if isinstance(node, ast.expr) and is_it(node) and _hands_out(node, parents):
            return False
    return True


def _hands_out(node: ast.expr, parents: dict[int, ast.AST]) -> bool:
    parent = parents.get(id(node))
    match parent:
        case ast.Assign() | ast.AnnAssign():  # its own beginning; a second name is not followed
            return parent.value is node
        case ast.Attribute(attr=method):
            call = parents.get(id(parent))
            if not isinstance(call, ast.Call) or call.func is not parent:
                return True
            is_statement = isinstance(parents.get(id(call)), ast.Expr)
            by_value = method in frozenset[str]().union(*_BY_VALUE.values())
            return not (method in _GIVES_NOTHING or (by_value and is_statement and call.args))
        case ast.Subscript(ctx=context):
            return parent.value is node and isinstance(context, ast.Load)
        case ast.Call(func=called):
            return _name(called) not in _ASKS
        case ast.Compare(ops=operators):
            return not all(isinstance(one, ast.In | ast.NotIn) for one in operators)
    return not isinstance(parent, ast.If | ast.While | ast.UnaryOp)


def is_only_in(entry: Any, container: Any) -> bool:
    """Return whether nothing but the container refers to an entry, or to the key that it is under.

    And whether nobody can make an equal one, since it equals nothing but itself.
    """
    wanted = _wanted(entry, container)
    if wanted is None or not _equals_itself_alone(wanted):
        return False
    return not has_other_holders(wanted, {id(container)})


def has_other_holders(thing: Any, known: set[int]) -> bool:
    """Return whether anything refers to it that is neither known nor part of the search."""
    holders = gc.get_referrers(thing)
    ours = {id(holders)}
    for holder in holders:
        if id(holder) not in known and not _is_of_the_search(holder, ours, _MOST_WITHIN):
            return True
    return False


def _wanted(entry: Any, container: Any) -> Any:
    """What has to be given to take it out."""
    if type(container) is not dict:
        return entry
    for key, value in list(dict.items(container)):
        if value is entry or key is entry:
            return key
    return None


def _equals_itself_alone(thing: Any) -> bool:
    """Whether no class of its says what it equals."""
    for kind in mro_of(type(thing)):
        if kind is not object and "__eq__" in namespace_of_class(kind):
            return False
    return True


_MOST_WITHIN = 3
"""Of our own lists, tuples and cells, one within the other."""
_OF_CALLS: tuple[type, ...] = (list, tuple, types.CellType, type(iter([])), type(iter(())))


def _is_of_the_search(thing: Any, ours: set[int], most: int) -> bool:
    """Whether it is a call of ours, an object of ours, or what only such have."""
    kind = type(thing)
    if kind is types.FrameType or is_ours(thing):
        return True
    if kind is types.GeneratorType:
        return is_our_file(thing.gi_code.co_filename)
    if not most or not any(kind is one for one in _OF_CALLS):
        return False
    holders = gc.get_referrers(thing)
    inner = ours | {id(holders)}
    for holder in holders:
        if id(holder) not in inner and not _is_of_the_search(holder, inner, most - 1):
            return False
    return True
