"""The chain of references that keeps an object alive, from a root down. Runs nobody's code.

First upwards from the object, which takes one pass over the heap for each step. Where that finds no
root, because the chain is long or because the collector does not know a holder (a dict or tuple of
plain values), downwards from all roots.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from typing import Any

from pytest_leakguard.core.foreign import is_a, module_of, name_of, referents
from pytest_leakguard.explain.kinds import IsNew, is_context_node, nothing_is_new
from pytest_leakguard.explain.path_words import Growth, Step, path_of, steps_of, texts_of
from pytest_leakguard.explain.roots import (
    NOT_FOLLOWED,
    RUNNER,
    UNKNOWN,
    Root,
    Roots,
    Start,
    is_fixture,
    is_kept_by_runner,
    is_of_runner,
    is_our_name,
    is_ours,
)

MOST_STEPS = 12
"""Steps upwards before the search goes on downwards; each is a pass over the heap."""
MOST_PER_STEP = 24
"""Objects followed at each step; the time of a pass rises with their number."""
MOST_OBJECTS = 1_000_000
"""Objects that a search downwards looks at; so many take about a second. A number, not a time, so
that a busy machine changes no answer."""
_PLAIN = frozenset(map(id, (str, bytes, int, float, complex, bool, type(None), types.CodeType)))
"""By identity, types whose objects hold nothing of anybody's."""

Avoid = Callable[[Any], bool]
"""Whether an object is passed over as a holder."""


def _nobody(holder: Any) -> bool:
    return False


class Path:
    """The way from a root down to an object; of ours, so that it is never taken for a holder."""

    __slots__ = ("is_complete", "is_new", "root", "shown", "steps")

    def __init__(self, root: Root, things: list[Any], is_new: IsNew, shows_top: bool) -> None:
        self.root = root
        self.is_new = is_new
        self.steps = things
        """All objects, outermost first."""
        self.shown: list[Step] = steps_of(things, is_new)
        """Those that a reader is told of, without the root itself."""
        if shows_top:
            self.shown.insert(0, Step(things[0]))
        self.is_complete = root.text not in (UNKNOWN, NOT_FOLLOWED)

    @property
    def texts(self) -> tuple[str, ...]:
        """In words, outermost first; the last is the object itself."""
        return texts_of(self.root, self.shown, self.is_new)

    def texts_to(self, growth: Growth) -> tuple[str, ...]:
        """Down to the container that grows, and what it gets."""
        shown = self.shown
        for at, step in enumerate(shown):
            if step.thing is growth.container:
                shown = shown[: at + 1]
        texts = texts_of(self.root, shown, self.is_new)
        what = "key" if growth.is_key else "item"
        return (*texts, f"{what} of type {growth.item}") if growth.item else texts

    def read(self, growth: Growth) -> str:
        """As one line."""
        return path_of(self.root, self.shown, growth, self.is_new)


def chain_to(target: Any, is_new: IsNew = nothing_is_new) -> tuple[str, ...]:
    """The steps from a root to ``target``, outermost first; the last step is ``target`` itself."""
    return path_to(target, is_new).texts


def root_of(chain: tuple[str, ...]) -> str:
    """What distinguishes root causes: the chain's first two steps, without lines or counts."""
    return " / ".join(chain[:2])


def path_without(target: Any, is_new: IsNew, avoid: Avoid = _nobody) -> Path | None:
    """A way from a root by none of the objects to be avoided; ``None`` where there is none."""
    return _Upwards(target, Roots(is_new), is_new, avoid).run()


def path_to(target: Any, is_new: IsNew = nothing_is_new) -> Path:
    """The shortest way from a root to ``target``, always the same of several."""
    gc.collect()
    upwards = _Upwards(target, Roots(is_new), is_new, _nobody)
    found = upwards.run()
    if found is not None:
        return found
    downwards = _Downwards(target, upwards.roots, is_new)
    found = downwards.run()
    return upwards.without_root(downwards.has_seen_all) if found is None else found


class _Upwards:
    """The lists of a search, which themselves refer to what is searched."""

    __slots__ = ("_avoid", "_is_new", "_runner", "levels", "ours", "parents", "roots")

    def __init__(self, target: Any, roots: Roots, is_new: IsNew, avoid: Avoid) -> None:
        self._avoid, self._is_new = avoid, is_new
        self.roots = roots
        self._runner: Path | None = None
        """The way from a call of the test runner, which is told where there is no other."""
        self.levels: list[list[Any]] = [[target]]
        self.parents: dict[int, Any] = {id(target): None}
        self.ours = {id(self.levels), id(self.levels[0]), id(self.parents)}

    def run(self) -> Path | None:
        first: Path | None = None
        for _ in range(MOST_STEPS):
            found = self._best()
            if first is not None:  # one step further there may be the module that defines it
                return min(filter(None, (first, found)), key=_order)
            if found is not None and not _is_elsewhere(found):
                return found
            first = found
            if not self._climb():
                return first
        return first or self._best()

    def _best(self) -> Path | None:
        """Of the roots on the last level the one that is nearest to what people have written."""
        found = []
        for thing in self.levels[-1]:
            root = self.roots.of(thing)
            if root is not None:
                path = self._path(root, thing)
                if path.root.text == RUNNER:
                    self._runner = self._runner or path
                    continue
                found.append(path)
            for root in self.roots.variables_of(thing):
                found.append(Path(root, [root.found, *self._way(thing)], self._is_new, False))
        return min(found, key=_order, default=None)

    def _path(self, root: Root, top: Any) -> Path:
        things = self._way(top)
        if root.found is not None and root.found is not top:
            things[0] = root.found  # the module instead of its dict
        shows_top = root.found is None and not is_a(top, types.FrameType)
        return Path(root, things, self._is_new, shows_top and not is_context_node(top))

    def _way(self, top: Any) -> list[Any]:
        things = [top]
        while self.parents[id(things[-1])] is not None:
            things.append(self.parents[id(things[-1])])
        return things

    def _climb(self) -> bool:
        """One step up from every object of the last level; whether anything was found."""
        upper: list[Any] = []
        level = {id(thing): thing for thing in self.levels[-1][:MOST_PER_STEP]}
        # One pass over the heap for all of them, which is what takes the time. Python 3.13 leaves
        # out its own copy of the arguments, not the tuple they were given in, which would be taken
        # for the holder of all.
        given = tuple(level.values())
        self.ours |= {id(upper), id(level), id(given)}
        holders = gc.get_referrers(*given)
        self.ours.add(id(holders))
        for holder in holders:
            if id(holder) in self.parents or id(holder) in self.ours:
                continue
            if is_ours(holder) or self._avoid(holder):
                continue
            child = _child_in(holder, level)
            if child is not None and is_kept_by_runner(holder) and not is_fixture(holder):
                self._note_runner(child)
            elif child is not None:
                self.parents[id(holder)] = child
                upper.append(holder)
        self.ours -= {id(holders), id(level), id(given)}
        upper.sort(key=_preference)
        self.levels.append(upper)
        return bool(upper)

    def _note_runner(self, child: Any) -> None:
        """The runner keeps what it keeps; that is told where nobody else is found."""
        if self._runner is None:
            self._runner = Path(Root(RUNNER, rank=9), self._way(child), self._is_new, True)

    def without_root(self, has_seen_all: bool) -> Path:
        """What is told where no root leads to the object."""
        if self._runner is not None:
            return self._runner
        level = next(level for level in reversed(self.levels) if level)
        root = Root(UNKNOWN if has_seen_all else NOT_FOLLOWED)
        return Path(root, self._way(level[0]), self._is_new, True)


def _child_in(holder: Any, level: dict[int, Any]) -> Any:
    for thing in referents(holder):
        if id(thing) in level:
            return level[id(thing)]
    return None


def _order(path: Path) -> tuple[int, bool, int, int, tuple[str, ...]]:
    """A module that defines the type of what it holds comes before one that imports it."""
    rank = path.root.rank
    return min(rank, 2), _is_elsewhere(path), rank, len(path.shown), path.texts


def _is_elsewhere(path: Path) -> bool:
    """Whether it begins at a library's module which only imports what it holds."""
    first = path.shown[0].thing if path.shown else None
    is_library = path.root.module != "" and path.root.rank > 1
    return is_library and module_of(type(first)) != path.root.module


def _preference(holder: Any) -> tuple[int, str]:
    """Modules, classes and containers explain more than frames; then by name, always the same."""
    kind = type(holder)
    if kind is types.FrameType:
        return 3, name_of(kind)
    return 2 if kind is types.FunctionType else 1, name_of(kind)


class _Downwards:
    """From all roots down, also through what the collector does not know."""

    __slots__ = ("_is_new", "_passed", "_roots", "_target", "_who", "has_seen_all")

    def __init__(self, target: Any, roots: Roots, is_new: IsNew) -> None:
        self._target, self._roots, self._is_new = target, roots, is_new
        self._who: dict[int, Any] = {}
        """By the identity of an object, what has led to it."""
        self._passed = _Passed()
        self.has_seen_all = True

    def run(self) -> Path | None:
        """``None`` where no root leads to it, or there was too much to look through."""
        for starts in self._roots.starts():
            for start in starts:
                if id(start.thing) not in self._who:
                    self._who[id(start.thing)] = start
            if id(self._target) in self._who or self._follow([start.thing for start in starts]):
                return self._path()
        return None

    def _follow(self, queue: list[Any]) -> bool:
        """Goes on from what is nearest; what is found joins the end of the queue."""
        who, target, is_passed = self._who, self._target, self._passed.is_passed
        is_text = type(target) is str
        for holder in queue:
            if is_text and is_a(holder, dict) and _is_key(target, holder):
                who[id(target)] = holder
                return True
            for part in referents(holder):
                key = id(part)
                if key in who:
                    continue
                if part is target:
                    who[key] = holder
                    return True
                if id(type(part)) not in _PLAIN and not is_passed(part):
                    who[key] = holder
                    queue.append(part)
            if len(queue) > MOST_OBJECTS:
                self.has_seen_all = False
                return False
        return False

    def _path(self) -> Path:
        things = [self._target]
        while type(self._who[id(things[-1])]) is not Start:
            things.append(self._who[id(things[-1])])
        start: Start = self._who[id(things[-1])]
        things.reverse()
        shows_top = start.root.found is None
        path = Path(start.root, things, self._is_new, shows_top)
        if shows_top and start.name:
            path.shown[0] = Step(things[0], start.name, "local")
        return path


def _is_key(text: str, holder: dict[Any, Any]) -> bool:
    """Whether it is a key: where all are strings, the collector is told of the values only."""
    return any(key is text for key in list(dict.keys(holder)))


class _Passed:
    """Which objects are not followed: ours and the runner's; by type, since it is asked often."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[int, bool] = {}

    def is_passed(self, thing: Any) -> bool:
        kind = type(thing)
        if kind is types.FrameType or kind is types.ModuleType:
            return is_ours(thing)
        key = id(kind)
        if key not in self._kinds:
            self._kinds[key] = is_our_name(module_of(kind)) or is_of_runner(kind)
        return self._kinds[key]
