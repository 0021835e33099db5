"""Who holds what a run has left, and which container grows by it."""

from __future__ import annotations

import gc
from typing import Any

from pytest_leakguard.core.foreign import is_a
from pytest_leakguard.core.text import ordinal
from pytest_leakguard.counters import _cpython
from pytest_leakguard.counters.caches import LRU_CACHE
from pytest_leakguard.counters.reader import HEAP, MAPPED, THREADS
from pytest_leakguard.explain import limits
from pytest_leakguard.explain.beside import Beside
from pytest_leakguard.explain.buffers import Buffer, growing_buffer
from pytest_leakguard.explain.growing_containers import (
    Growing,
    bytes_per_entry,
    growing,
    length,
    newest,
)
from pytest_leakguard.explain.kinds import IsNew, is_test_double, kind_of
from pytest_leakguard.explain.path_words import Growth
from pytest_leakguard.explain.probe import EVENTS, Evidence, Probe
from pytest_leakguard.explain.reach import is_reached
from pytest_leakguard.explain.references import Path, path_to, path_without
from pytest_leakguard.explain.removals import is_never_given, removals_of
from pytest_leakguard.explain.roots import AT_EXIT, UNKNOWN, Root
from pytest_leakguard.explain.survivors import Survivors, Target, made_since, survivors_of

MOST_TIED = 8
"""Containers of one pace whose chains are compared; each chain takes some passes over the heap."""
_WHOLE = 0.05
"""A pace that is so near to a whole number is that number: a run more or less was counted."""
BUFFER_SHARE = 0.5
"""The least part of what a run loses that a buffer must grow by to be what is lost."""


class Held:
    """What the search for a holder has found; of ours, so that it is never taken for a holder."""

    __slots__ = (
        "apart",
        "bounded",
        "buffer",
        "chain",
        "container",
        "is_known",
        "is_replaced",
        "limit",
        "limiting",
        "read",
        "removal",
        "types",
    )

    def __init__(self) -> None:
        self.chain: tuple[str, ...] = ()
        self.read = ""
        """The same as one line."""
        self.is_known = False
        """The chain begins at something of Python's."""
        self.container: Growing | None = None
        self.buffer: Buffer | None = None
        self.types: list[tuple[type, int]] = []
        """Of what one run has left."""
        self.limit = 0
        self.limiting: Any = None
        """The holder that has this limit."""
        self.apart: tuple[int, int] | None = None
        """Blocks and bytes of what stays beside a holder with a limit, where something does."""
        self.is_replaced = False
        """Each run puts something larger in the place of what the one before has left."""
        self.bounded = ""
        self.removal = ""


def holder_of(probe: Probe, evidence: Evidence, runs: int) -> Held:
    """The chain to what an old run has left, and the container on it that grows."""
    is_new = made_since(probe.tracker, evidence.old_run)
    lost_by = evidence.old_run if evidence.has_objects else None
    survivors = Survivors(survivors_of(probe.tracker, lost_by))
    types, first = survivors.types(), survivors.roots()
    del survivors  # or its list would be taken for a holder
    held = Held() if first is None else _held_by_path(probe, runs, first, is_new)
    has_survivors = first is not None
    limiting = held.limiting
    if limiting is None:
        limiting = _limiting_others(first, is_new)
    del first  # each of its references would count
    if limiting is not None and not evidence.is_unbounded:
        beside = _held_beside(probe, evidence, runs, limiting)
        if beside is not None:
            return beside
    if not has_survivors and evidence.counter == HEAP and not evidence.old_run:
        held = _replaced_held(probe)
    if not held.is_known:
        grown = _growing_held(probe, evidence, runs)
        held = grown if grown.is_known or not has_survivors else held
    held.types = types
    return held


def _replaced_held(probe: Probe) -> Held:
    """What holds the one thing that a run leaves in the place of what the one before has left."""
    number = probe.begin()
    probe.work()
    first = Survivors(survivors_of(probe.tracker, number)).roots()
    if first is None:
        return Held()
    path, _ = _path(first, made_since(probe.tracker, number))
    held = Held()
    held.is_replaced = True
    held.is_known, held.chain, held.read = path.is_complete, path.texts, path.read(Growth())
    return held


def _path(first: Target, is_new: IsNew) -> tuple[Path, bool]:
    """The way to the first of the survivors, and whether only test doubles hold any of them.

    To another one where nothing of Python is seen to hold the first, as what a ``StringIO`` has.
    """
    path = path_to(first.thing, is_new)
    if path.is_complete and not limits.is_test_double(path.steps):
        return path, False
    for target in first.all():
        other = path_without(target.thing, is_new, is_test_double)
        if other is not None:
            return other, False
    return path, limits.is_test_double(path.steps)


def _held_by_path(probe: Probe, runs: int, first: Target, is_new: IsNew) -> Held:
    path, is_double = _path(first, is_new)
    return _held_by(path, probe, runs, is_double)


def _held_by(path: Path, probe: Probe, runs: int, is_double: bool = False) -> Held:
    exits = _cpython.exit_callbacks()
    growth = Growth()
    held = Held()
    near = limits.near(path.steps[:-1])
    held.container = _growing_of(near, probe, runs)
    if held.container is not None:
        item, is_key = _item_below(path, held.container.container)
        pace = pace_of(held.container.per_run)
        growth = Growth(held.container.container, pace, item, is_key)
        _look_for_removal(held, held.container.container, path.steps, probe)
    if path.root.text == UNKNOWN:
        registry = _cpython.registry_of_codecs(path.steps[0])
        if registry:
            path = Path(Root(registry), path.steps, path.is_new, shows_top=True)
        elif _cpython.exit_callbacks() > exits:
            things = _cpython.below_exit_callbacks(path.steps)
            path, growth = Path(Root(AT_EXIT), things, path.is_new, shows_top=True), Growth()
    held.is_known = path.is_complete
    held.chain, held.read = path.texts_to(growth), path.read(growth)
    _look_for_limit(held, _above(near, held.container), is_double)
    if gc.get_debug() & gc.DEBUG_SAVEALL and any(step is gc.garbage for step in path.steps):
        held.limiting = gc.garbage
        held.bounded = "gc.garbage keeps all that is collected while gc.DEBUG_SAVEALL is set"
    return held


def _limiting_others(first: Target | None, is_new: IsNew) -> Any:
    """A holder with a limit that has what does not hang on the first of the survivors."""
    for target in first.all() if first is not None else ():
        path = path_without(target.thing, is_new) if target is not first else None
        holder = limits.limiting(limits.near(path.steps[:-1])) if path is not None else None
        if holder is not None:
            return holder
    return None


def _held_beside(probe: Probe, evidence: Evidence, runs: int, limiting: Any) -> Held | None:
    """What stays beside a holder with a limit; ``None`` where nothing is known to."""
    if evidence.old_run is None:
        return None
    is_new = made_since(probe.tracker, evidence.old_run)
    beside = Beside(probe.tracker, evidence.old_run, limiting)
    for target in beside.first.all() if beside.first is not None else ():
        path = path_without(target.thing, is_new, beside.is_inside)
        if path is None or limits.is_test_double(path.steps):
            continue
        held = _held_by(path, probe, runs)
        if held.is_known and not held.bounded:
            held.types, held.apart = beside.types, (beside.blocks, beside.size_bytes)
            return held
    return None


def _above(steps: list[Any], container: Growing | None) -> list[Any]:
    """The container that grows and what holds it; what is in it says nothing of its size."""
    for at, step in enumerate(steps):
        if container is not None and step is container.container:
            return steps[: at + 1]
    return steps


def _item_below(path: Path, container: Any) -> tuple[str, bool]:
    """The type of what the container gets, and whether that is a key.

    Of a key and a value that are both new, the value.
    """
    steps = path.steps
    at = next(at for at, step in enumerate(steps) if step is container)
    child = newest(container) if type(container) is LRU_CACHE else steps[at + 1]
    if is_a(container, dict):
        for key, value in list(dict.items(container)):
            if key is child and not path.is_new(value):
                return kind_of(key, path.is_new), True
            if key is child:
                child = value
                break
    return kind_of(child, path.is_new), False


def _growing_of(steps: list[Any], probe: Probe, runs: int) -> Growing | None:
    """The outermost container among the holders that grows."""
    probe.begin()
    before = [length(holder) for holder in steps]
    for _ in range(runs):
        probe.work()
    probe.reader.forget_what_is_gone()
    for holder, count in zip(steps, before, strict=True):
        grown = length(holder) - count
        if grown > 0:
            return Growing(holder, grown / runs, None)
    return None


def pace_of(per_run: float) -> str:
    """``+1 item per run``, ``+1 item in every 10th run``."""
    if 0 < per_run < 1 - _WHOLE:
        return f"+1 item in every {ordinal(round(1 / per_run))} run"
    is_whole = abs(per_run - round(per_run)) <= _WHOLE * per_run
    number = f"{round(per_run)}" if is_whole else f"{per_run:.3g}"
    return f"+{number} {'item' if number == '1' else 'items'} per run"


def _growing_held(probe: Probe, evidence: Evidence, runs: int) -> Held:
    """What grows, found by comparing all there is: for what leaves no object of its own."""
    if evidence.counter == THREADS:
        return Held()
    probe.begin()
    tidy = probe.reader.forget_what_is_gone
    if evidence.counter in (HEAP, MAPPED):
        held = _buffer_held(probe, evidence, runs)
        if held is not None:
            return held
    containers = growing(probe.work, EVENTS, tidy, among=probe.followed())
    if not containers and probe.followed():
        containers = growing(probe.work, EVENTS, tidy)
    if not containers and runs > EVENTS:
        containers = growing(probe.work, runs, tidy)
    first = first_of(containers)
    if first is None or (evidence.counter in (HEAP, MAPPED) and _is_beside(first, evidence)):
        return Held()
    return _of_container(first)


def _is_beside(first: Growing, evidence: Evidence) -> bool:
    """Whether a container that grows is too small for native memory that no object has.

    As the list of its cursors is for the pages of a database, or one with a limit for anything.
    """
    if evidence.per_run < 1:
        return False
    if first.most:
        return True
    grown_bytes = first.per_run * bytes_per_entry(first.container)
    return 0 < grown_bytes < BUFFER_SHARE * evidence.per_run


def _of_container(first: Growing) -> Held:
    path = path_to(first.container)
    growth = Growth(first.container, pace_of(first.per_run), kind_of(first.element))
    held = Held()
    held.container = first
    held.is_known = path.is_complete
    held.chain, held.read = path.texts_to(growth), path.read(growth)
    if first.most:
        held.limit = first.most
        held.bounded = f"it holds at most {first.most} items"
    else:
        _look_for_limit(held, limits.near(path.steps), is_double=False)
    return held


def _buffer_held(probe: Probe, evidence: Evidence, runs: int) -> Held | None:
    tidy = probe.reader.forget_what_is_gone
    buffer = growing_buffer(probe.work, runs, tidy, probe.followed())
    if buffer is None or buffer.bytes_per_run < BUFFER_SHARE * evidence.per_run:
        return None
    path = path_to(buffer.thing)
    held = Held()
    held.buffer = buffer
    held.is_known = path.is_complete
    held.chain = path.texts
    held.read = path.read(Growth(buffer.thing, f"+{buffer.bytes_per_run:,.0f} bytes per run"))
    _look_for_removal(held, buffer.thing, path.steps, probe)
    return held


def _look_for_removal(held: Held, container: Any, steps: list[Any], probe: Probe) -> None:
    """The first place that takes entries out again and may be reached by the runs."""
    reached: dict[str, bool] = {}
    given: list[bool] = []
    for removal in removals_of(container, steps):
        name = removal.function
        if name not in reached:
            probe.begin()
            reached[name] = is_reached(name, probe.work)
        if reached[name] and removal.is_given and not given:
            given.append(not _is_never_given(container, steps))
        if reached[name] and (not removal.is_given or given[0]):
            break
    else:
        return
    held.removal = removal.place
    if removal.limit:
        held.limit, held.limiting = removal.limit, container
        held.bounded = f"{removal.place} {removal.does} {removal.limit:,}"


def _is_never_given(container: Any, steps: list[Any]) -> bool:
    """Whether nobody can ask for the entry that the way goes through to be taken out."""
    at = next(at for at, step in enumerate(steps) if step is container)
    return at + 1 < len(steps) and is_never_given(steps[at + 1], container, steps)


def _look_for_limit(held: Held, steps: list[Any], is_double: bool) -> None:
    if is_double:
        held.bounded = "a test double (unittest.mock) records it, which is the test's own"
        return
    found = limits.limit_on(steps)
    if found is not None:
        held.limiting = limits.limiting(steps)
        held.limit = found[0]
        held.bounded = f"its holder says that it keeps at most {found[0]:,} ({found[1]})"


def first_of(containers: tuple[Growing, ...]) -> Growing | None:
    """The one that grows fastest.

    Of several at one pace the one nearest to a root, so that each run names the same.
    """
    as_fast = [candidate for candidate in containers if candidate.is_like(containers[0])]
    if len(as_fast) < 2:
        return next(iter(as_fast), None)

    def nearest(candidate: Growing) -> tuple[bool, int, tuple[str, ...]]:
        path = path_to(candidate.container)
        return not path.is_complete, len(path.texts), path.texts

    return min(as_fast[:MOST_TIED], key=nearest)
