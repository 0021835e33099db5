"""The chain of references that keeps an object alive, from a root down, in words, step by step."""

from __future__ import annotations

import contextvars
import gc
import sys
import types
from collections.abc import Iterator
from typing import Any

from pytest_leakguard.counters._cpython import frames_of_threads
from pytest_leakguard.counters.caches import LRU_CACHE, limit_of
from pytest_leakguard.explain.code_owner import Owner, owner

MOST_STEPS = 12
"""How many references a chain has at most; a longer one is cut off, since each is a pass over the
heap and a reader follows no more."""
MOST_PER_STEP = 24
"""Objects followed at each step; each step is one pass over the heap, whatever their number."""
_MOST_KEY_CHARACTERS = 60
"""A longer key says more about the data than about the program."""
UNKNOWN = "a C extension, or a reference that C code took and never gave back"
CONTEXT = "the current context of a thread (contextvars)"
"""Nothing that the collector knows refers to it either."""


class _Search:
    """The lists of a search, which themselves refer to what is searched."""

    __slots__ = ("levels", "ours", "parents", "running")

    def __init__(self, target: Any) -> None:
        self.levels: list[list[Any]] = [[target]]
        self.parents: dict[int, Any] = {id(target): None}
        self.ours = {id(self.levels), id(self.levels[0]), id(self.parents)}
        self.running = frozenset(_running())
        """Ids of frames that run; others hang on an exception or a generator, which somebody
        holds."""

    def climb(self) -> bool:
        """One step up from every object of the last level; whether anything was found."""
        upper: list[Any] = []
        level = {id(thing): thing for thing in self.levels[-1][:MOST_PER_STEP]}
        self.ours |= {id(upper), id(level)}
        # One pass over the heap for all of them, which is what takes the time. Python 3.13 leaves
        # out its own copy of the arguments, not the tuple they were given in, which would be taken
        # for the holder of all.
        given = tuple(level.values())
        self.ours.add(id(given))
        holders = gc.get_referrers(*given)
        self.ours.add(id(holders))
        for holder in holders:
            if id(holder) in self.parents or id(holder) in self.ours or _is_ours(holder):
                continue
            child = next(
                (level[id(thing)] for thing in gc.get_referents(holder) if id(thing) in level), None
            )
            if child is not None:
                self.parents[id(holder)] = child
                upper.append(holder)
        self.ours -= {id(holders), id(level), id(given)}
        upper.sort(key=_preference)
        self.levels.append(upper)
        return bool(upper)


def chain_to(target: Any) -> tuple[str, ...]:
    """The steps from a root to ``target``, outermost first; the last step is ``target`` itself."""
    gc.collect()
    search = _Search(target)
    deepest = target
    for _ in range(MOST_STEPS):
        for thing in search.levels[-1]:
            if (not isinstance(thing, types.FrameType) or id(thing) in search.running) and (
                root := _root_of(thing)
            ):
                return _described(root, thing, search.parents, target)
        if not search.climb():
            break
        deepest = search.levels[-1][0]
    last = (
        CONTEXT
        if isinstance(deepest, contextvars.Context) or _is_inside_context(target)
        else UNKNOWN
    )
    return _described((last,), deepest, search.parents, target)


def _is_inside_context(thing: Any) -> bool:
    """Whether it is a node of the tree in which a context keeps its values."""
    return type(thing).__name__.startswith("hamt")


def _running() -> Iterator[int]:
    for frame in frames_of_threads().values():
        at: types.FrameType | None = frame
        while at is not None:
            yield id(at)
            at = at.f_back


def root_of(chain: tuple[str, ...]) -> str:
    """What distinguishes root causes: the chain's first two steps, without lines or counts."""
    return " / ".join(chain[:2])


def _preference(holder: Any) -> int:
    """Modules, classes and containers explain more than frames do."""
    if isinstance(holder, types.FrameType):
        return 3
    return 2 if isinstance(holder, types.FunctionType) else 1


def _is_ours(holder: Any) -> bool:
    """Held by the search itself, by the harness, or by a call that is running inside either."""
    if isinstance(holder, types.FrameType):
        return owner(holder.f_code.co_filename) is Owner.HARNESS
    if type(holder).__module__.startswith("pytest_leakguard"):
        return True
    return isinstance(holder, types.ModuleType) and holder.__name__.startswith("pytest_leakguard")


def _root_of(thing: Any) -> tuple[str, ...] | None:
    """The words for an object that lives as long as the process, or as a call or thread does."""
    if isinstance(thing, types.ModuleType):
        return (f"module {thing.__name__}",)
    if isinstance(thing, dict):
        name = thing.get("__name__") if "__builtins__" in thing or "__spec__" in thing else None
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and vars(module) is thing:
            return (f"module {name}",)
    if isinstance(thing, type):
        return (f"class {thing.__module__}.{thing.__qualname__}",)
    if isinstance(thing, types.FrameType):
        code = thing.f_code
        place = f"{code.co_filename}:{thing.f_lineno}"
        return (f"call of {code.co_qualname} that is still running ({place})",)
    return _variable_of_a_module(thing)


def _variable_of_a_module(thing: Any) -> tuple[str, ...] | None:
    """For what a module holds directly, such as a value the collector does not know."""
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType) or _is_ours(module):
            continue
        for name, value in list(vars(module).items()):
            if value is thing and not name.startswith("__"):
                return (f"module {module.__name__}", _step(thing, name))
    return None


def _described(
    root: tuple[str, ...], top: Any, parents: dict[int, Any], target: Any
) -> tuple[str, ...]:
    """The words of every step on the way down."""
    steps = list(root)
    holder = top
    if root[0] is UNKNOWN and top is not target:
        steps.append(kind_of(top))
    while holder is not target:
        child = parents[id(holder)]
        if child is None:
            break
        if child is target or not _is_inside_context(child):
            steps.append(_link(holder, child))
        holder = child
    if top is target and root[0] in (UNKNOWN, CONTEXT):
        steps.append(kind_of(target))
    return tuple(step for step in steps if step)


def _link(holder: Any, child: Any) -> str:
    """How ``holder`` refers to ``child``; empty where the step says nothing a reader wants."""
    if isinstance(holder, types.ModuleType | type) and child is vars(holder):
        return ""
    names = _names(holder, child)
    if names:
        return _step(child, names)
    if isinstance(holder, list | tuple | set | frozenset):
        return f"item of type {kind_of(child)}"
    return kind_of(child)


def _names(holder: Any, child: Any) -> str:
    """The key, attribute or variable under which ``child`` is found."""
    if isinstance(holder, types.FrameType):
        return next((name for name, value in holder.f_locals.items() if value is child), "")
    if isinstance(holder, types.FunctionType):
        cells = zip(holder.__code__.co_freevars, holder.__closure__ or (), strict=False)
        return next((f"closure variable {name}" for name, cell in cells if cell is child), "")
    if isinstance(holder, types.MethodType):
        return "__self__"
    inside = holder if isinstance(holder, dict) else getattr(holder, "__dict__", None)
    try:
        for key, value in list(inside.items()) if inside else ():
            if value is child:
                is_readable = isinstance(key, str) and len(key) < _MOST_KEY_CHARACTERS
                return key if is_readable else f"value under a {type(key).__name__} key"
            if key is child:
                return f"key of type {type(key).__name__}"
    except Exception:  # a mapping of somebody else's may do anything
        return ""
    return ""


def _step(thing: Any, name: str) -> str:
    kind = kind_of(thing)
    if isinstance(thing, LRU_CACHE):
        return kind
    return f"{kind} {name}" if name.isidentifier() else f"{name}: {kind}"


def kind_of(thing: Any) -> str:
    """``dict``, ``shop.Order``, ``functools.lru_cache of shop.price``."""
    if isinstance(thing, LRU_CACHE):
        most = limit_of(thing)
        limit = "without a limit" if most is None else f"of at most {most}"
        return f"functools.lru_cache {limit} on {getattr(thing, '__qualname__', '?')}"
    if isinstance(thing, types.FunctionType):
        return f"function {thing.__qualname__}"
    if isinstance(thing, types.FrameType):
        return f"call of {thing.f_code.co_qualname}"
    kind = type(thing)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
