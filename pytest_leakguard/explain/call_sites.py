"""Which installed packages a line of the user's calls; compiled code leaves no frame of Python."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import FrameType
from typing import Any

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.explain.code_owner import Owner, owner, package_of

_Name = tuple[str, ...]


def called_on(work: Callable[[], object], line: Frame) -> tuple[Frame, ...]:
    """What of installed packages is called on the line, as calls without a place.

    One run is followed to see it.

    On a line of the user's also what is named there: ``hash(moment)`` runs code of the package of
    ``moment``.
    """
    is_own = owner(line.file or "") is Owner.USER
    watch = _Watch(line.file or "", line.line or 0, is_own)
    others = sys.gettrace()
    sys.settrace(watch.trace)
    try:
        work()
    finally:
        sys.settrace(others)
    named = tuple(watch.found.values())
    return tuple(frame for frame in named if not (frame.function or "").endswith(".*")) or named


class _Watch:
    """Waits for the line, then looks up the names on it, running no code of theirs."""

    def __init__(self, file: str, line: int, takes_all: bool) -> None:
        self._file, self._line = file, line
        self._names = tuple(_names(file, line, takes_all))
        self.found: dict[str, Frame] = {}

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """For ``sys.settrace``."""
        if frame.f_code.co_filename != self._file:
            return None
        if event == "line" and frame.f_lineno == self._line:
            for name in self._names:
                self._look_up(name, frame)
        return self.trace

    def _look_up(self, name: _Name, frame: FrameType) -> None:
        places = (frame.f_locals, frame.f_globals, vars(builtins))
        thing = next((place[name[0]] for place in places if name[0] in place), None)
        for attribute in name[1:]:
            thing = inspect.getattr_static(thing, attribute, None)
        module = _module_of(thing)
        file = getattr(sys.modules.get(module), "__file__", None) or ""
        root_file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None) or ""
        if package_of(file or root_file):
            name_in_full = f"{module}.{_qualified(thing)}"
            self.found.setdefault(name_in_full, Frame(name_in_full, module=file or root_file))


def _names(file: str, line: int, takes_all: bool) -> Iterator[_Name]:
    """``("ujson", "loads")`` for each dotted name on the line, those that are called first."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError):
        return
    here = [
        node
        for node in ast.walk(tree)
        if getattr(node, "lineno", 0) <= line <= getattr(node, "end_lineno", 0)
    ]
    calls = [node.func for node in here if isinstance(node, ast.Call) and node.lineno == line]
    others = [
        node for node in here if isinstance(node, ast.Name | ast.Attribute) and node.lineno == line
    ]
    for node in (*calls, *(others if takes_all else ())):
        if name := _dotted(node):
            yield name


def _dotted(node: ast.AST) -> _Name:
    if isinstance(node, ast.Name):
        return (node.id,)
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else ()
    return (*inner, node.attr) if inner and isinstance(node, ast.Attribute) else ()


def _module_of(thing: Any) -> str:
    """The module that a function, a method or the type of an object comes from."""
    if isinstance(thing, types.ModuleType):
        return thing.__name__
    if not _has_name(thing):
        thing = type(thing)
    if isinstance(
        thing,
        types.MethodDescriptorType | types.ClassMethodDescriptorType | types.WrapperDescriptorType,
    ):
        thing = thing.__objclass__
    return str(getattr(thing, "__module__", None))


def _qualified(thing: Any) -> str:
    if isinstance(thing, types.ModuleType):
        return "*"
    return str((thing if _has_name(thing) else type(thing)).__qualname__)


def _has_name(thing: Any) -> bool:
    """Whether it is a function or a class; Cython's functions are of a type of its own."""
    if isinstance(thing, _NAMED):
        return True
    has_hooks = inspect.getattr_static(type(thing), "__getattr__", None) is not None
    return (
        not has_hooks
        and callable(thing)
        and isinstance(inspect.getattr_static(type(thing), "__qualname__", None), _SLOT)
    )


_NAMED = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.WrapperDescriptorType,
)
_SLOT = (types.GetSetDescriptorType, types.MemberDescriptorType)


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())


def release_of(package: str) -> str:
    """``simplejson 3.20.2`` for the name it is imported by; the name alone where nothing tells."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        distribution = _distributions().get(package, [package])[0]
        return f"{distribution} {version(distribution)}"
    except (PackageNotFoundError, OSError, ValueError):
        return package
