"""Objects in words: ``dict``, ``shop.Order``, ``asyncio task of serve``.

The words are the same in every run.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

from pytest_leakguard.core.foreign import (
    is_a,
    module_of,
    mro_of,
    name_of,
    name_of_module,
    qualname_of,
)
from pytest_leakguard.counters.caches import LRU_CACHE, limit_of

IsNew = Callable[[Any], bool]
"""Whether an object was made by the runs that are looked at: the next run has another one."""


def nothing_is_new(thing: Any) -> bool:
    """For looking without a tracker."""
    return False


def type_in_words(kind: type, is_new: IsNew = nothing_is_new) -> str:
    """``dict`` or ``shop.Order``; without its name where each run gives the class another."""
    if not is_new(kind) or not is_new(qualname_of(kind)):
        return name_of(kind)  # a class that each run makes by one statement has one name
    base = next((base for base in mro_of(kind)[1:] if not is_new(base)), object)
    made = "a class that each run makes"
    return made if base is object else f"{made} from {name_of(base)}"


def kind_of(thing: Any, is_new: IsNew = nothing_is_new) -> str:
    """``dict``, ``shop.Order``, ``functools.lru_cache of at most 10 on shop.price``."""
    kind = type(thing)
    if kind is LRU_CACHE:
        return _lru_in_words(thing)
    if kind is types.FunctionType:
        return f"function {thing.__qualname__}"
    if kind is types.BuiltinFunctionType:
        return f"function {thing.__name__}"
    if issubclass(kind, types.ModuleType):
        return "module" if is_new(thing) else f"module {name_of_module(thing)}"
    if issubclass(kind, type):
        made = type_in_words(thing, is_new)
        return made if is_new(thing) else f"class {made}"
    if kind is types.FrameType:
        return f"call of {thing.f_code.co_qualname}"
    if kind is types.CoroutineType:
        return f"coroutine {thing.cr_code.co_qualname}"
    if kind is types.GeneratorType:
        return f"generator {thing.gi_code.co_qualname}"
    if kind is getattr(sys.modules.get("_asyncio"), "Task", None):  # whose methods are nobody's
        return _task_in_words(thing)
    return type_in_words(kind, is_new)


def _lru_in_words(cache: Any) -> str:
    most = limit_of(cache)
    limit = "without a limit" if most is None else f"of at most {most}"
    inside = cache.__dict__
    name = inside.get("__qualname__") if type(inside) is dict else None
    return f"functools.lru_cache {limit} on {name if type(name) is str else '?'}"


def _task_in_words(task: Any) -> str:
    """``asyncio task of serve``."""
    work = task.get_coro()
    if type(work) is types.CoroutineType:
        return f"asyncio task of {work.cr_code.co_qualname}"
    return "asyncio task"


def is_context_node(thing: Any) -> bool:
    """Whether it is a node of the tree in which a context keeps its values."""
    kind = type(thing)
    return qualname_of(kind).startswith("hamt") and module_of(kind) in ("builtins", "?")


def is_test_double(thing: Any) -> bool:
    """Whether it is of ``unittest.mock``, or of a class that is derived from one there."""
    return not is_a(thing, type) and is_type_of_double(type(thing))


def is_type_of_double(kind: type) -> bool:
    """Whether a class is one of ``unittest.mock``, or derived from one there."""
    return any(module_of(base) == "unittest.mock" for base in mro_of(kind))
