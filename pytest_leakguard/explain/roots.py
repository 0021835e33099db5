"""Where a chain of references begins: what lives as long as the process, a call or a thread."""

from __future__ import annotations

import contextvars
import gc
import inspect
import logging
import signal
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_leakguard.core.foreign import (
    is_a,
    module_of,
    modules,
    name_of,
    name_of_module,
    namespace_of,
    namespace_of_class,
    namespace_of_module,
    qualname_of,
    referents,
)
from pytest_leakguard.counters._cpython import frames_of_threads, signal_handler
from pytest_leakguard.explain.code_owner import HARNESS, Owner, owner
from pytest_leakguard.explain.code_owner import is_ours as is_our_file
from pytest_leakguard.explain.kinds import IsNew, nothing_is_new

UNKNOWN = "a C extension, or a reference that C code took and never gave back"
"""Nothing of Python refers to it."""
NOT_FOLLOWED = "references that were not followed further"
"""There is a holder, but the search took too long."""
_RANK_OF_CONTEXT = 3
"""After variables of modules: what a context has is often theirs."""
CONTEXT = "the current context of a thread (contextvars)"
RUNNER = "the test runner (pytest or a plugin)"
"""pytest or a plugin keeps it, such as the value of a fixture."""
AT_EXIT = "callbacks registered with atexit"
_RUNNING = "that is still running"


_COPIES = ("posix", "nt", "builtins")
"""Modules whose variables people know by another name, such as ``os.environ``."""


class Root:
    """Where a chain begins; an object of ours, so that it is never taken for a holder."""

    __slots__ = ("found", "module", "path", "rank", "text")

    def __init__(
        self, text: str, path: str = "", rank: int = 0, module: str = "", found: Any = None
    ) -> None:
        self.found = found
        """The module or class; ``None`` where it is neither."""
        self.text = text
        """For the report, such as ``module shop``."""
        self.path = path
        """As an expression of Python, where it is one."""
        self.rank = rank
        """Of several at the same distance, the one with the lowest is named."""
        self.module = module
        """The module that it is, or that it is in."""


class Roots:
    """All there are now. Says of an object whether it is one, and which."""

    __slots__ = ("_index", "_is_new", "_namespaces", "_running", "_special", "modules")

    def __init__(self, is_new: IsNew = nothing_is_new) -> None:
        self._is_new = is_new
        self.modules: list[Any] = []
        """The modules, by the rank of their names; none that a run has made."""
        self._namespaces: dict[int, str] = {}
        self._index: dict[int, list[str]] = {}
        """By the identity of an object, the modules that have it as a variable."""
        self._running = dict(_running())
        self._special = dict(_special())
        for name, module in sorted(modules(), key=lambda entry: (_rank_of(entry[0]), entry[0])):
            if not is_our_name(name) and name not in _COPIES:
                self._add(name, module)

    def _add(self, name: str, module: Any) -> None:
        inside = namespace_of_module(module)
        if id(inside) in self._namespaces or self._is_new(module):
            return
        self.modules.append(module)
        self._namespaces[id(inside)] = name
        self._namespaces[id(module)] = name
        for variable, value in list(inside.items()):
            if type(variable) is str and not variable.startswith("__"):
                self._index.setdefault(id(value), []).append(name)

    def of(self, thing: Any) -> Root | None:
        """The root that an object is; ``None`` where it is none."""
        key = id(thing)
        if key in self._namespaces:
            return _module_root(self._namespaces[key])
        if key in self._special:
            return self._special[key]
        if key in self._running:
            return _frame_root(thing)
        if is_fixture(thing):
            return _fixture_root(thing)
        if is_a(thing, type) and _is_in_its_module(thing) and not self._is_new(thing):
            name, rank = name_of(thing), _rank_of(module_of(thing))
            return Root(f"class {name}", name, rank, module_of(thing), thing)
        return None

    def variables_of(self, thing: Any) -> Iterator[Root]:
        """The modules that have it as a variable, also where the collector does not know it."""
        for name in self._index.get(id(thing), ()):
            yield _module_root(name)

    def starts(self) -> Iterator[tuple[Start, ...]]:
        """Where to search downwards from: modules, fixtures, calls that run, then the runner's."""
        others = [Start(thing, root) for thing, root in (*_handlers(), *_in_context())]
        yield (*map(_start_of_module, self.modules), *others)
        fixtures = list(_fixtures())  # a tuple that grows must not be among all objects
        yield tuple(Start(fixture, _fixture_root(fixture)) for fixture in fixtures)
        frames = list(self._running.values())
        yield tuple(_locals_of(frame for frame in frames if not is_runners(frame)))
        yield tuple(_locals_of(frame for frame in frames if is_runners(frame)))


class Start:
    """An object that a root holds; of ours, so that it is never taken for a holder."""

    __slots__ = ("name", "root", "thing")

    def __init__(self, thing: Any, root: Root, name: str = "") -> None:
        self.thing, self.root, self.name = thing, root, name


def _start_of_module(module: Any) -> Start:
    return Start(module, _module_root(name_of_module(module)))


def _locals_of(frames: Iterable[types.FrameType]) -> Iterator[Start]:
    """The variables of calls that run; the collector does not see what these refer to."""
    for frame in frames:
        if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            continue  # of a module or a class: a namespace that others refer to as well
        inside = frame.f_locals
        for name, value in list(inside.items()):
            yield Start(value, _frame_root(frame), name)
        if type(inside) is dict:  # until Python 3.12 a copy that keeps everything alive
            inside.clear()


def _module_root(name: str) -> Root:
    return Root(f"module {name}", name, _rank_of(name), name, sys.modules.get(name))


def _frame_root(frame: types.FrameType) -> Root:
    if is_runners(frame):
        return Root(RUNNER, rank=9)
    code = frame.f_code
    text = f"call of {code.co_qualname} ({Path(code.co_filename).name}) {_RUNNING}"
    return Root(text, rank=5)


def _rank_of(module: str) -> int:
    """What people write before what tests import from it, and that before libraries."""
    top = module.partition(".")[0]
    file = namespace_of_module(sys.modules[module]).get("__file__") if module in sys.modules else ""
    whose = owner(file) if type(file) is str else Owner.INTERPRETER
    if whose is not Owner.USER:
        return 1 + int(whose)
    is_test = top in ("conftest", "__main__") or module.rpartition(".")[2].startswith("test_")
    return int(is_test)


def is_fixture(thing: Any) -> bool:
    """Whether it is what pytest keeps the value of a fixture in."""
    kind = type(thing)
    return qualname_of(kind) == "FixtureDef" and module_of(kind) == "_pytest.fixtures"


def _fixtures() -> Iterator[Any]:
    known: dict[int, bool] = {}
    for thing in gc.get_objects():
        key = id(type(thing))
        if key not in known:
            known[key] = is_fixture(thing)
        if known[key]:
            yield thing


def _fixture_root(fixture: Any) -> Root:
    name = (namespace_of(fixture) or {}).get("argname")
    text = f"fixture {name if type(name) is str else '?'}"
    return Root(text, text, 1, found=fixture)


def is_kept_by_runner(thing: Any) -> bool:
    """Whether an object is of pytest or of a plugin that runs tests; no class and no module is."""
    return is_of_runner(type(thing)) and not is_a(thing, (type, types.ModuleType))


def is_of_runner(kind: type) -> bool:
    """Whether a class is of pytest, or of a plugin that runs tests."""
    return module_of(kind).partition(".")[0] in HARNESS


def _running() -> Iterator[tuple[int, Any]]:
    """Frames that run, without ours; others hang on an exception or a generator."""
    for frame in frames_of_threads().values():
        at: types.FrameType | None = frame
        while at is not None:
            if not is_our_file(at.f_code.co_filename):
                yield id(at), at
            at = at.f_back


def is_runners(frame: types.FrameType) -> bool:
    """Whether a frame is of pytest, a plugin of its, or of ours."""
    return owner(frame.f_code.co_filename) is Owner.HARNESS


def _handlers() -> Iterator[tuple[Any, Root]]:
    for number in signal.valid_signals():
        handler = signal_handler(number)
        if handler is not None and not is_a(handler, int):  # the system's own ones are numbers
            yield handler, Root(f"handler of the signal {_name_of_signal(number)}")


def _name_of_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals
        return str(int(number))


def _special() -> Iterator[tuple[int, Root]]:
    for handler, root in _handlers():
        yield id(handler), root
    manager = logging.root.manager
    yield id(manager), Root("module logging", "logging.root.manager", 0, "logging", manager)
    context = contextvars.copy_context()
    for part in referents(context):
        yield id(part), Root(CONTEXT, rank=_RANK_OF_CONTEXT)
    for value, root in _in_context():
        yield id(value), root


def _in_context() -> Iterator[tuple[Any, Root]]:
    """The values of context variables in this thread."""
    for variable, value in contextvars.copy_context().items():
        text = f"context variable {variable.name}"
        yield value, Root(text, rank=_RANK_OF_CONTEXT)


def is_our_name(module: str) -> bool:
    """Whether a module is of this package."""
    return module.partition(".")[0] == "pytest_leakguard"


def is_ours(holder: Any) -> bool:
    """Held by the search itself, or by a call that is running inside this package."""
    if type(holder) is types.FrameType:
        return is_our_file(holder.f_code.co_filename)
    if is_our_name(module_of(type(holder))):
        return True
    return is_a(holder, types.ModuleType) and is_our_name(name_of_module(holder))


def _is_in_its_module(kind: type) -> bool:
    """Whether a class is found under its name; one that was made for a call is held by others."""
    module = sys.modules.get(module_of(kind))
    if module is None or not is_a(module, types.ModuleType):
        return False
    inside: Any = namespace_of_module(module)
    for name in qualname_of(kind).split("."):
        found = inside.get(name)
        if found is kind:
            return True
        if found is None or not is_a(found, type):
            return False
        inside = namespace_of_class(found)
    return False
