"""The way from a root down to an object, in words: one text for each step, and one path to read."""

from __future__ import annotations

import types
from collections import deque
from typing import Any

from pytest_leakguard.core.foreign import (
    attributes_of,
    is_a,
    namespace_of,
    namespace_of_class,
    namespace_of_module,
    referents,
)
from pytest_leakguard.counters.caches import LRU_CACHE
from pytest_leakguard.explain.kinds import IsNew, is_context_node, kind_of, type_in_words
from pytest_leakguard.explain.roots import Root, is_fixture

_MOST_KEY_CHARACTERS = 60
"""A longer key says more about the data than about the program."""
MOST_TEXTS = 16
"""Steps that are written out; of a longer chain the first and the last ones."""
_FIRST_TEXTS = 8
"""Steps at the beginning of a longer chain: one half of ``MOST_TEXTS``, the end has the other."""
MOST_SHOWN, FIRST_SHOWN = 12, 4
"""Steps of a path that a line has room for, and those that are shown of a longer one."""
MOST_NAMED = 64
"""Steps that are looked up by name; a list that is linked item by item has thousands."""
_WITH_ITEMS = (list, tuple, set, frozenset, deque)
_NAMESPACES = (types.ModuleType, type)


class Step:
    """One object on the way and how the one above refers to it; an object of ours."""

    __slots__ = ("access", "name", "thing")

    def __init__(self, thing: Any, name: str = "", access: str = "") -> None:
        self.thing = thing
        self.name = name
        """Variable, attribute or key; empty where it has none, or one that only this run has."""
        self.access = access
        """``attribute``, ``key``, ``keyed``, ``item``, ``closure``, ``local`` or nothing."""


def steps_of(things: list[Any], is_new: IsNew) -> list[Step]:
    """The steps below the first of ``things``, without those that say nothing to a reader."""
    steps: list[Step] = []
    whose = things[0]
    for at in range(len(things) - 1):
        holder, child = things[at], things[at + 1]
        is_last = at == len(things) - 2
        if not is_last and (is_namespace(holder, child) or _is_inner(holder, child)):
            continue  # and what it holds belongs to the one above
        is_far = len(steps) > MOST_NAMED and len(things) - at > MOST_TEXTS
        steps.append(Step(child) if is_far else _step(whose, child, is_new))
        whose = child
    return steps


def is_namespace(holder: Any, child: Any) -> bool:
    """Whether ``child`` is the dict in which a module, a class or an instance has its names."""
    if type(child) is not dict:
        return False
    if is_a(holder, types.ModuleType):
        return namespace_of_module(holder) is child
    if is_a(holder, type):
        return any(part is child for part in referents(namespace_of_class(holder)))
    return namespace_of(holder) is child


def _is_inner(holder: Any, child: Any) -> bool:
    """Parts of a function and of a context that are no step for a reader."""
    if is_context_node(child) or type(child) is types.CellType:
        return True
    if type(child) is tuple and is_fixture(holder):
        return True
    if type(holder) is types.FunctionType and type(child) is tuple:
        return child is holder.__closure__ or child is holder.__defaults__
    return False


def _step(holder: Any, child: Any, is_new: IsNew) -> Step:
    kind = type(holder)
    if kind is types.FunctionType:
        return _of_function(holder, child, is_new)
    if kind is types.MethodType:
        return Step(child, "__self__" if child is holder.__self__ else "", "attribute")
    if issubclass(kind, dict):
        found = _under_key(dict.items(holder), child, is_new)
        if found.access:
            return found
    if issubclass(kind, types.ModuleType):
        return _named(namespace_of_module(holder).items(), child, is_new)
    if issubclass(kind, type):
        return _named(namespace_of_class(holder).items(), child, is_new)
    if issubclass(kind, _WITH_ITEMS):
        return Step(child, "", "item")
    return _named(attributes_of(holder), child, is_new)


def _of_function(function: types.FunctionType, child: Any, is_new: IsNew) -> Step:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        if cell is child or any(part is child for part in referents(cell)):
            return Step(child, name, "closure")
    defaults = function.__defaults__ or ()
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    for name, value in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=False):
        if value is child:
            return Step(child, name, "default")
    return _named(attributes_of(function), child, is_new)


def _named(items: Any, child: Any, is_new: IsNew) -> Step:
    for name, value in list(items):
        if value is child:
            is_readable = type(name) is str and not is_new(name)
            return Step(child, name if is_readable else "", "attribute" if is_readable else "")
    return Step(child)


def _under_key(items: Any, child: Any, is_new: IsNew) -> Step:
    for key, value in list(items):
        if value is child:
            is_readable = type(key) is str and len(key) < _MOST_KEY_CHARACTERS
            if is_readable and not is_new(key) and not is_new(child):
                return Step(child, key, "key")
            return Step(child, type_in_words(type(key), is_new), "keyed")
        if key is child:
            return Step(child, type_in_words(type(key), is_new), "is key")
    return Step(child)


# One text for each step.


def texts_of(root: Root, steps: list[Step], is_new: IsNew) -> tuple[str, ...]:
    """From the root down, one text per step; of a long chain the first and the last ones."""
    texts = [root.text]
    texts.extend(_text(step, is_new) for step in steps)
    left_out = len(texts) - MOST_TEXTS
    if left_out > 1:
        texts[_FIRST_TEXTS : -(MOST_TEXTS - _FIRST_TEXTS)] = [f"{left_out:,} further steps"]
    return tuple(texts)


def _text(step: Step, is_new: IsNew) -> str:
    kind = kind_of(step.thing, is_new)
    if step.access == "item":
        return f"item of type {kind}"
    if step.access == "keyed":
        return f"value of type {kind}"
    if step.access == "is key":
        return f"key of type {kind}"
    if step.access == "closure":
        return f"closure variable {step.name}: {kind}"
    if step.access == "default":
        return f"default of argument {step.name}: {kind}"
    if not step.name or type(step.thing) is LRU_CACHE:
        return kind
    return f"{kind} {step.name}" if step.name.isidentifier() else f"{step.name}: {kind}"


# One path to read.


class Growth:
    """The container on the way that grows; an object of ours."""

    __slots__ = ("container", "is_key", "item", "pace")

    def __init__(
        self, container: Any = None, pace: str = "", item: str = "", is_key: bool = False
    ) -> None:
        self.container = container
        self.pace = pace
        """``+1 item per run``."""
        self.item = item
        """The type of what it gets."""
        self.is_key = is_key
        """It is a key that is new; the value under it is not."""


def path_of(root: Root, steps: list[Step], growth: Growth, is_new: IsNew) -> str:
    """``shop.SEEN (dict, +1 item per run) -> Order``."""
    shown = _shown(steps, growth.container)
    left_out = max(0, len(shown) - MOST_SHOWN)
    head, tail = (shown[:FIRST_SHOWN], shown[-1:]) if left_out else (shown, [])
    accesses = _accesses(head) if root.path else []
    parts = [root.text]
    if root.path:
        last = head[len(accesses) - 1] if accesses else None
        parts = [_annotated(root.path + "".join(accesses), last, growth, root, is_new)]
    parts.extend(_part(step, growth, root, is_new) for step in head[len(accesses) :])
    if tail:
        parts.append(f"({len(shown) - FIRST_SHOWN - 1:,} further)")
        parts.append(_part(tail[0], growth, root, is_new))
    if growth.item:
        item = _short(growth.item, root)
        parts.append(f"key of type {item}" if growth.is_key else item)
    return " -> ".join(parts)


def _accesses(steps: list[Step]) -> list[str]:
    """What is written one after the other behind the root, as far as names lead."""
    found = []
    for step in steps:
        access = _access(step)
        if not access:
            break
        found.append(access)
    return found


def _shown(steps: list[Step], container: Any) -> list[Step]:
    """The steps down to the container that grows, or all of them."""
    for at, step in enumerate(steps):
        if step.thing is container:
            return steps[: at + 1]
    return steps


def _access(step: Step) -> str:
    """What is written after an expression to get at it; empty where that takes more than a name."""
    if step.access == "attribute" and step.name.isidentifier():
        return f".{step.name}"
    return f'["{step.name}"]' if step.access == "key" else ""


def _annotated(
    expression: str, last: Step | None, growth: Growth, root: Root, is_new: IsNew
) -> str:
    if last is None:
        return expression
    return f"{expression} ({_with_pace(last, growth, root, is_new)})"


def _part(step: Step, growth: Growth, root: Root, is_new: IsNew) -> str:
    kind = _with_pace(step, growth, root, is_new)
    if step.access == "closure":
        return f"closure variable {step.name} ({kind})"
    if step.access == "default":
        return f"default of argument {step.name} ({kind})"
    if step.access == "local":
        return f"{step.name} ({kind})"
    if _access(step):
        return f"{_access(step)} ({kind})"
    return kind.replace(", ", " (", 1) + ")" if step.thing is growth.container else kind


def _with_pace(step: Step, growth: Growth, root: Root, is_new: IsNew) -> str:
    kind = _short(kind_of(step.thing, is_new), root)
    return f"{kind}, {growth.pace}" if step.thing is growth.container and growth.pace else kind


def _short(kind: str, root: Root) -> str:
    """Without the module that the path begins with."""
    return kind.removeprefix(f"{root.module}.") if root.module else kind
