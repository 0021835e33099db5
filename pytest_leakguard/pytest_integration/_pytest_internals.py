"""All that is private to pytest and pluggy, each with a probe; nobody else looks there.

PYTEST_DONT_REWRITE: the door to pytest imports this before it can spare the package the rewriting
of assertions.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from _pytest import runner
from _pytest.runner import call_and_report as call_and_report
from _pytest.runner import show_test_item
from _pytest.tmpdir import tmppath_result_key as tmppath_result_key
from _pytest.unittest import TestCaseFunction

# Values of the ini file.


def ini_value(config: pytest.Config, name: str) -> Any:
    """What the ini file says, with the type that it has there; ``None`` where it says nothing.

    Since pytest 9 a TOML file may have numbers, truth values and lists. ``getini`` takes one type
    for each option only, and a size is ``64`` as well as ``"64 B"``.
    """
    raw = getattr(config, "_inicfg", None)
    if raw is None or not hasattr(raw.get(name), "value"):
        return config.getini(name)
    return raw[name].value


def ini_names(config: pytest.Config) -> list[str]:
    """Every name that the ini file or ``-o`` gives a value, known or not."""
    raw = getattr(config, "_inicfg", None)
    if raw is None:  # before pytest 9
        raw = getattr(config, "inicfg", {})
    overridden = config.getoption("override_ini", None) or ()
    return [*raw, *(str(setting).partition("=")[0] for setting in overridden)]


# Its protocol.


@contextmanager
def protocol_replaced(protocol: Callable[..., list[pytest.TestReport]]) -> Iterator[None]:
    """While this lasts, whoever looks for pytest's way of running a test finds this one."""
    before = runner.runtestprotocol
    runner.runtestprotocol = protocol
    try:
        yield
    finally:
        runner.runtestprotocol = before


# Set-up and tear-down of the collectors around an item.


def set_up_nodes(session: pytest.Session) -> list[Any]:
    """The collectors and the item that are set up now, outermost first."""
    return list(session._setupstate.stack)


def tear_down(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Tears down what ``nextitem`` has no use for, as pytest does after an item's last phase."""
    capture = item.config.pluginmanager.get_plugin("capturemanager")
    capturing = capture.item_capture("teardown", item) if capture is not None else nullcontext()
    with capturing:
        item.session._setupstate.teardown_exact(nextitem)


def show_set_up(item: pytest.Item) -> None:
    """With ``--setup-show`` the test and its fixtures, as pytest does between set-up and call."""
    if item.config.getoption("setupshow", False):
        takes_space = "add_space" in inspect.signature(show_test_item).parameters
        show_test_item(item, **({"add_space": True} if takes_space else {}))  # pytest 9.2


# The state of an item that is about to run again.


def has_request(item: Any) -> bool:
    """Whether it is a test function, which has a request for its fixtures."""
    return hasattr(item, "_request")


def renew_request(item: Any) -> None:
    """Makes the request that a new item has, where the last run has ended it."""
    if has_request(item) and not item._request:
        item._initrequest()


def end_request(item: Any) -> None:
    """As pytest's own protocol does after each run."""
    item._request, item.funcargs = False, None


def function_object(item: pytest.Item) -> Any:
    """The function of an item that is in no class, as it is now.

    ``None`` before it was asked for.
    """
    return item.__dict__.get("_obj")


def forget_instance(item: Any, function: Any) -> None:
    """Has the class instantiated anew for the next run; outside a class puts the function back."""
    if isinstance(item.parent, pytest.Class):
        for name in ("_instance", "_obj"):
            item.__dict__.pop(name, None)
    elif function is not None:
        item._obj = function


_RENEWED = ("_request", "funcargs", "_obj", "_instance", "runtest", "_report_sections", "stash")
"""Attributes that each run has of its own, or that are taken back run by run."""


def restore_attributes(item: Any, before: dict[str, Any]) -> None:
    """Attributes of an item as they were, such as those that plugins leave there for reports."""
    attributes = item.__dict__
    for name in attributes.keys() - before.keys() - set(_RENEWED):
        del attributes[name]
    for name, value in before.items():
        if name not in _RENEWED and attributes.get(name) is not value:
            attributes[name] = value


class AttributesOfRun:
    """What plugins leave on an item while they wrap its protocol, and take away at its end.

    Repeated runs and the tear-down of larger fixtures come later, and need it.
    """

    def __init__(self, item: Any) -> None:
        self._attributes: dict[str, Any] = {}
        for name, value in vars(item).items() if item is not None else ():
            if name not in _RENEWED:  # the values of the test's fixtures would stay alive
                self._attributes[name] = value

    @contextmanager
    def there_again(self, item: Any) -> Iterator[None]:
        """While this lasts, what was taken away is there again."""
        missing = self._attributes.keys() - item.__dict__.keys()
        for name in missing:
            item.__dict__[name] = self._attributes[name]
        try:
            yield
        finally:
            for name in missing:
                item.__dict__.pop(name, None)


NO_ATTRIBUTES = AttributesOfRun(None)


def report_sections(item: pytest.Item) -> list[Any]:
    """What the item has captured so far, phase by phase."""
    return item._report_sections


def is_of_unittest(item: pytest.Item) -> bool:
    """Whether pytest runs it through ``unittest``, which keeps what went wrong to itself."""
    return isinstance(item, TestCaseFunction)


def note_passed(item: pytest.Item, phase: str) -> None:
    """Leaves what ``tmp_path`` asks for at its end, and what making a report would have left."""
    item.stash.setdefault(tmppath_result_key, {})[phase] = True


# Fixtures.


def fixture_names_of_plugins(item: pytest.Item) -> frozenset[str]:
    """Names of the item's fixtures that plugins define; its parameters are none."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    names = set()
    for name, same_named in definitions.items():
        if same_named and not same_named[-1].baseid:
            names.add(name)
    return frozenset(names.difference(parameters_of(item)))


def parameters_of(item: pytest.Item) -> Mapping[str, Any]:
    """Names and values that parametrization gave the item."""
    parameters: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return parameters


_FINALIZERS = pytest.StashKey[tuple[int, tuple[list[Any], ...]]]()
_REGISTRIES = ("_arg2node2fixturedefs", "_arg2nodeid2fixturedefs", "_arg2fixturedefs")
"""By name, then in the first two by what they are visible from; before pytest 9.2 there was only
the last."""


def finalizers(session: pytest.Session) -> tuple[list[Any], ...]:
    """The lists of finalizers of all fixtures.

    A test may ask for one that its signature does not name.
    """
    registries = _fixture_registries(session)
    count, found = session.stash.get(_FINALIZERS, (-1, ()))
    if count != sum(map(len, registries)):
        lists = []
        for registry in registries:
            for definition in _fixture_definitions(registry):
                lists.append(definition._finalizers)
        found = tuple(lists)
        session.stash[_FINALIZERS] = sum(map(len, registries)), found
    return found


def _fixture_registries(session: pytest.Session) -> list[Mapping[str, Any]]:
    manager: Any = session._fixturemanager
    found = (getattr(manager, name, None) for name in _REGISTRIES)
    return [registry for registry in found if registry is not None]


def _fixture_definitions(registry: Mapping[str, Any]) -> Iterator[Any]:
    for definitions in registry.values():
        lists = definitions.values() if isinstance(definitions, Mapping) else (definitions,)
        for same_named in lists:
            yield from same_named


class Registrations:
    """Takes back fixtures that a run registers, as pytest-bdd does for what its steps return."""

    def __init__(self, item: Any) -> None:
        self._manager: Any = item.session._fixturemanager
        self._registries: list[Any] = _fixture_registries(item.session)
        names = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
        self._names: Any = {} if names is None else names
        self._known = dict(self._names)
        """What the item's own names lead to; an item that asks for others makes it longer."""
        closure = getattr(getattr(item, "_fixtureinfo", None), "names_closure", None)
        self._closure = closure if isinstance(closure, list) else []
        self._length = len(self._closure)
        self._before: dict[str, list[Any]] = {}
        """By name, what each registry had of it before the first registration of a run."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While this lasts, registrations are noted, so that no run has to be searched for them."""
        register = self._manager._register_fixture

        def noting(*args: Any, **kwargs: Any) -> object:
            name = kwargs.get("name") or next((arg for arg in args if isinstance(arg, str)), "")
            if name not in self._before:
                self._before[name] = [_copied(registry.get(name)) for registry in self._registries]
            return register(*args, **kwargs)

        self._manager.__dict__["_register_fixture"] = noting
        try:
            yield
        finally:
            self._manager.__dict__.pop("_register_fixture", None)

    def take_back(self) -> None:
        """What was registered since the last time is there no longer."""
        for name, before in self._before.items():
            for registry, found in zip(self._registries, before, strict=True):
                registry.pop(name, None)
                if found is not None:
                    registry[name] = found
        self._before.clear()
        del self._closure[self._length :]
        if len(self._names) != len(self._known):
            self._names.clear()
            self._names.update(self._known)


def _copied(found: Any) -> Any:
    """A registry's entry of one name, which the next registration does not change."""
    if isinstance(found, dict):
        return {place: list(definitions) for place, definitions in found.items()}
    return list(found) if isinstance(found, list) else found


# What pytest collects of a test while it runs.


def log_handlers(config: pytest.Config) -> tuple[Any, ...]:
    """Those of ``caplog`` and of the report, in this order; none where logging is switched off."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    found = (getattr(plugin, name, None) for name in ("caplog_handler", "report_handler"))
    return tuple(handler for handler in found if handler is not None)


def captured_files(config: pytest.Config) -> list[Any]:
    """The binary files that output goes to now, for pytest and for a capturing fixture."""
    capturing = config.pluginmanager.get_plugin("capturemanager")
    fixture = getattr(capturing, "_capture_fixture", None)
    files = []
    for multi in (
        getattr(capturing, "_global_capturing", None),
        getattr(fixture, "_capture", None),
    ):
        for name in ("out", "err"):
            file = getattr(getattr(multi, name, None), "tmpfile", None)
            if file is not None and hasattr(file, "buffer"):
                files.append(file.buffer)
    return files


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """While this lasts, what is written reaches the terminal, also from within a test."""
    capturing: Any = config.pluginmanager.get_plugin("capturemanager")
    if capturing is None:
        return nullcontext()
    disabled: AbstractContextManager[None] = capturing.global_and_fixture_disabled()
    return disabled


def terminal_columns(reporter: pytest.TerminalReporter) -> int:
    """How many characters a line of the terminal has room for."""
    return reporter._tw.fullwidth


def suite_properties(config: pytest.Config) -> list[list[Any]]:
    """The lists that ``record_testsuite_property`` makes longer with every run."""
    found = []
    for plugin in config.pluginmanager.get_plugins():
        properties = getattr(plugin, "global_properties", None)
        if isinstance(properties, list):
            found.append(properties)
    return found


# Temporary directories.


def temporary_directories(config: Any) -> tuple[str, ...]:
    """What pytest's own temporary directories begin with; it tidies up there by itself."""
    factory = getattr(config, "_tmp_path_factory", None)
    return (str(factory.getbasetemp()) + os.sep,) if factory else ()


@contextmanager
def removed_when_passed(config: Any) -> Iterator[None]:
    """While this lasts, ``tmp_path`` removes the directory of a test that has passed, at once."""
    factory = getattr(config, "_tmp_path_factory", None)
    policy = getattr(factory, "_retention_policy", None)
    if factory is None or policy != "all":  # the others remove it anyway
        yield
        return
    factory._retention_policy = "failed"
    try:
        yield
    finally:
        factory._retention_policy = policy


# Rewriting of assertions.


def spare_rewriting(config: pytest.Config, package: str) -> None:
    """Has modules of the package imported from now on as they are compiled."""
    hook = config.pluginmanager.rewrite_hook
    marked = getattr(hook, "_must_rewrite", None)
    if isinstance(marked, set):
        marked.discard(package)
        getattr(hook, "_marked_for_rewrite_cache", {}).clear()


def rewrite_caches() -> list[dict[str, Any]]:
    """What each hook for rewriting remembers by name of every module that was ever looked for."""
    caches = []
    for hook in sys.meta_path:
        cache = getattr(hook, "_marked_for_rewrite_cache", None)
        if isinstance(cache, dict):
            caches.append(cache)
    return caches


# Implementations of hooks, which pluggy keeps.


@contextmanager
def hooks_without(relay: Any, drops: Callable[[str, Any], bool]) -> Iterator[None]:
    """While this lasts, no call of a hook reaches an implementation that ``drops`` says yes to.

    Proxies of a directory read the same lists, so they are changed in their place.
    """
    changed = []
    for name, caller in list(vars(relay).items()):
        saved = getattr(caller, "_hookimpls", None)
        if not isinstance(saved, list):
            continue
        kept = [implementation for implementation in saved if not drops(name, implementation)]
        if len(kept) < len(saved):
            changed.append((caller, list(saved), kept))
            saved[:] = kept
    try:
        yield
    finally:
        for caller, before, kept in changed:
            _put_back(caller, before, kept)


def _put_back(caller: Any, saved: list[Any], kept: list[Any]) -> None:
    """All implementations again, but for what was registered and unregistered meanwhile."""
    now = list(caller._hookimpls)
    caller._hookimpls[:] = saved
    if now == kept:
        return
    for implementation in kept:
        if implementation not in now:
            caller._hookimpls.remove(implementation)
    for implementation in now:
        if implementation not in kept:
            caller._add_hookimpl(implementation)


@contextmanager
def hook_without(config: pytest.Config, hook: str, drops: Callable[[Any], bool]) -> Iterator[None]:
    """The same of one hook of pytest's."""
    with hooks_without(config.hook, lambda name, found: name == hook and drops(found)):
        yield


_FOR_PEOPLE = ("_pytest.debugging", "_pytest.setuponly", "_pytest.setupplan")
"""Modules whose hooks stop at a test, or show what it sets up."""


def is_for_people(implementation: Any) -> bool:
    """Whether pytest's own implementation of a hook shows somebody what runs, or stops there."""
    return getattr(implementation.function, "__module__", "") in _FOR_PEOPLE


def stashed(holder: Any) -> list[Any]:
    """What plugins and pytest itself keep in a stash."""
    return list(holder.stash._storage.values())


# Whose code runs.


@contextmanager
def teardown_wrapped(
    session: pytest.Session, wrapper: Callable[[Callable[[], object]], None]
) -> Iterator[None]:
    """While this lasts, the tear-down of items and their fixtures is run by ``wrapper``."""
    state: Any = session._setupstate
    teardown = state.teardown_exact

    def wrapped(nextitem: pytest.Item | None) -> None:
        wrapper(lambda: teardown(nextitem))

    state.teardown_exact = wrapped
    try:
        yield
    finally:
        state.__dict__.pop("teardown_exact", None)


def is_of_item(request: pytest.FixtureRequest) -> bool:
    """Whether a fixture lives as long as the item that asks for it, by its scope.

    Outside a class its scope may be a class.
    """
    if request.scope == "class":
        return getattr(request, "cls", None) is None
    return request.scope == "function"


_USERS_CODE = ("xunit_setup_", "unittest_")
"""How functions begin that pytest makes of somebody's ``setup_method``, as fixtures."""


def is_pytests_own(fixturedef: pytest.FixtureDef[Any]) -> bool:
    """Whether the fixture is pytest's, such as ``tmp_path``; xunit-style set-up is the user's."""
    function = fixturedef.func
    module = getattr(function, "__module__", "") or ""
    name = getattr(function, "__name__", "")
    return module.startswith("_pytest.") and not name.startswith(_USERS_CODE)


def is_simple(item: pytest.Item) -> bool:
    """Whether the item is one call of a plain function.

    No fixture of its own scope, no instance, no coroutine.
    """
    if type(item) is not pytest.Function or item.cls is not None:
        return False
    function: Any = item.function
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        return False
    if hasattr(function, "hypothesis") or hasattr(function, "__wrapped__"):
        return False
    definitions: Any = item._fixtureinfo.name2fixturedefs
    for same_named in definitions.values():
        for definition in same_named[-1:]:
            if definition.scope == "function" and not _is_parameter(item, definition):
                return False
    return True


def _is_parameter(item: pytest.Function, definition: Any) -> bool:
    """Whether it stands for a value of ``parametrize``, which pytest hands in as it is."""
    return definition.argname in parameters_of(item) and is_pytests_own(definition)
