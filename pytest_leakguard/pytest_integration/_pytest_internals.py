"""All that is private to pytest and pluggy, each with a probe; nobody else looks there.

PYTEST_DONT_REWRITE: the door to pytest imports this before it can spare the package the rewriting
of assertions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
from _pytest.runner import call_and_report as call_and_report
from _pytest.tmpdir import tmppath_result_key as tmppath_result_key
from _pytest.unittest import TestCaseFunction

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
def hook_without(config: pytest.Config, hook: str, drops: Callable[[Any], bool]) -> Iterator[None]:
    """While this lasts, a call of the hook reaches no implementation that ``drops`` says yes to.

    Proxies of a directory read the same list, so it is changed in its place.
    """
    caller: Any = getattr(config.hook, hook)
    saved = list(caller._hookimpls)
    caller._hookimpls[:] = [implementation for implementation in saved if not drops(implementation)]
    try:
        yield
    finally:
        caller._hookimpls[:] = saved
