"""Whether code that takes entries out of a container can be reached by the runs of a test.

Nearly every registry has a method that takes a listener out again. Where no run calls it, nor
anything that might, what is put in stays. Everything in doubt counts as reached.
"""

from __future__ import annotations

import ast
import gc
import linecache
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from pytest_leakguard.core.foreign import is_a, modules, namespace_of_module
from pytest_leakguard.counters._cpython import frames_of_threads
from pytest_leakguard.explain.code_owner import Owner, owner

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SUSPENDED = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)
MOST_PASSES = 8
"""Passes over the sources, each of which finds who calls what the one before has found.

It bounds the time only: a chain of so many calls counts as reached, which is the careful answer."""


def function_of(tree: ast.Module, node: ast.AST) -> str:
    """The name of the function of a module, or of a class in it, in which a node is.

    Empty where it is called by no name of its own: inside another function, with a decorator, or
    by an operator.
    """
    for function, is_nested in _functions(tree):
        if any(part is node for part in ast.walk(function)):
            name = function.name
            is_special = name.startswith("__") and name.endswith("__")
            return "" if is_nested or is_special or function.decorator_list else name
    return ""


def _functions(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """Each outermost function, and whether there are functions inside it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _FUNCTIONS):
            inside = [part for part in ast.walk(node) if isinstance(part, _INNER)]
            yield node, len(inside) > 1
        elif isinstance(node, ast.ClassDef | ast.If | ast.Try | ast.With):
            yield from _functions(node)


_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def is_reached(name: str, work: Callable[[], object]) -> bool:
    """Whether a run calls a function of this name, or something that mentions it in its source.

    Runs the unit once more.
    """
    called = _called_by(work)
    names = _callers(name)
    if not name or names is None or not names.isdisjoint(called):
        return True
    waiting = list(_waiting(names))  # what makes it would be taken for a holder
    return _do_others_run() or any(map(_is_kept, waiting))


def _called_by(work: Callable[[], object]) -> frozenset[str]:
    """The names of all functions of Python that one run calls in this thread."""
    found: set[str] = set()

    def note(frame: types.FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return frozenset(found)


def _callers(name: str) -> frozenset[str] | None:
    """The function, and those that might call it, by their names.

    ``None`` where it is mentioned outside of all functions, so that anybody may have it.
    """
    sources = list(_sources())
    names = {name}
    for _ in range(MOST_PASSES):
        count = len(names)
        for text in sources:
            if not any(known in text for known in names):
                continue
            found = _mentioning(text, names)
            if found is None:
                return None
            names |= found
        if len(names) == count:
            return frozenset(names)
    return None


def _sources() -> Iterator[str]:
    """The text of every loaded module but the interpreter's and the test runner's."""
    for _, module in modules():
        file = namespace_of_module(module).get("__file__")
        if type(file) is str and file.endswith(".py") and owner(file) <= Owner.LIBRARY:
            yield "".join(linecache.getlines(file))


def _mentioning(text: str, names: set[str]) -> set[str] | None:
    """The functions that mention one of the names; ``None`` where other code does."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    found: set[str] = set()
    inside: set[int] = set()
    for function, _ in _functions(tree):
        parts = [*function.args.defaults, *function.decorator_list]
        inside.update(id(part) for part in ast.walk(function))
        inside.difference_update(id(part) for whole in parts for part in ast.walk(whole))
        if any(_mentions(part, names) for part in ast.walk(function) if part is not function):
            found.add(function.name)
    for part in ast.walk(tree):
        if id(part) not in inside and _mentions(part, names):
            return None
    return found


def _mentions(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Attribute):
        return node.attr in names
    return isinstance(node, ast.Constant) and type(node.value) is str and node.value in names


def _do_others_run() -> bool:
    """Whether other threads are in somebody's code."""
    for ident, frame in frames_of_threads().items():
        at: types.FrameType | None = frame if ident != threading.get_ident() else None
        while at is not None:
            if owner(at.f_code.co_filename) <= Owner.LIBRARY:
                return True
            at = at.f_back
    return False


def _waiting(names: frozenset[str]) -> Iterator[Any]:
    """Functions of these names, and calls of them that wait to go on."""
    for thing in gc.get_objects():
        kind = type(thing)
        if kind is types.FunctionType:
            # The test runner alone calls a test.
            if thing.__name__ in names and not thing.__name__.startswith("test"):
                yield thing
        elif kind in _SUSPENDED and thing.__name__ in names:
            yield thing


def _is_kept(thing: Any) -> bool:
    """Whether anything but its module or class has a function, or it is a call that waits."""
    if type(thing) is not types.FunctionType:
        return True
    for holder in gc.get_referrers(thing):
        if type(holder) is dict:
            if "__name__" not in holder and "__module__" not in holder:
                return True
        elif not is_a(holder, (types.FrameType, list)):
            return True
    return False
