"""All that is private to other plugins of pytest and to hypothesis, each with a probe.

Nobody else looks there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_leakguard.core.probes import Probe, expect
from pytest_leakguard.counters._cpython import attribute_at

# pytest-rerunfailures.

_RERUNS = "execution_count"
"""The attribute of an item that counts its attempts."""


def rerunner(item: pytest.Item) -> Any:
    """pytest-rerunfailures, when it runs this test by its own protocol; ``None`` otherwise."""
    plugin: Any = item.config.pluginmanager.get_plugin("rerunfailures")
    if plugin is None or not hasattr(plugin, "runtestprotocol"):
        return None
    return None if plugin.get_reruns_count(item) is None else plugin


def reruns_so_far(item: pytest.Item) -> int:
    """How often pytest-rerunfailures has repeated the test."""
    return int(getattr(item, _RERUNS, 1)) - 1


@contextmanager
def never_rerun(item: pytest.Item) -> Iterator[None]:
    """While this lasts, pytest-rerunfailures takes each run for its last, and so keeps fixtures."""
    attempts = item.__dict__.get(_RERUNS)
    if attempts is None:
        yield
        return
    item.__dict__[_RERUNS] = sys.maxsize
    try:
        yield
    finally:
        item.__dict__[_RERUNS] = attempts


def _probe_rerunfailures() -> str:
    plugin: Any = import_module("pytest_rerunfailures")
    has_both = callable(plugin.runtestprotocol) and callable(plugin.get_reruns_count)
    return expect(has_both, "runtestprotocol and get_reruns_count are not both functions")


def _probe_attempts() -> str:
    plugin: Any = import_module("pytest_rerunfailures")
    names = plugin.pytest_runtest_protocol.__code__.co_names
    return expect(_RERUNS in names, "its protocol counts attempts elsewhere")


# flaky.

_FLAKY_MARK = "_flaky_max_runs"


def belongs_to_flaky(item: pytest.Function) -> bool:
    """Whether the plugin ``flaky`` runs the test, by a protocol that leaves no room for ours."""
    if not item.config.pluginmanager.hasplugin("flaky"):
        return False
    is_marked = item.get_closest_marker("flaky") is not None
    is_decorated = hasattr(item.function, _FLAKY_MARK)
    return is_marked or is_decorated or bool(item.config.getoption("force_flaky", False))


def _probe_flaky() -> str:
    flaky: Any = import_module("flaky").flaky

    def decorated() -> None:
        pass

    return expect(hasattr(flaky(decorated), _FLAKY_MARK), "the decorator leaves no such mark")


# Plugins that measure memory themselves.

_MEASURING = ("pytest_memray", "memray_manager")
"""By module and by the name it registers under."""


def is_measuring(implementation: Any) -> bool:
    """Whether the implementation of a hook belongs to a plugin that measures memory."""
    module = str(getattr(implementation.function, "__module__", ""))
    return implementation.plugin_name in _MEASURING or module.startswith(_MEASURING)


def _probe_memray() -> str:
    plugin = import_module("pytest_memray.plugin")
    return expect(
        "memray_manager" in _source(plugin), "it does not register what measures under this name"
    )


# Plugins that have a part in making reports.

_REPORT_MAKERS = (
    "_pytest.",
    "pytest_leakguard.",
    "_hypothesis_pytestplugin",
    "pytest_asyncio.",
    "xdist.",
)
"""Modules whose part in making a report changes nothing about a phase that raised nothing."""


def only_known_report_makers(item: pytest.Item) -> bool:
    """Whether nobody unknown to us looks at the reports of phases, or turns one into a failure."""
    for implementation in item.ihook.pytest_runtest_makereport.get_hookimpls():
        if not implementation.function.__module__.startswith(_REPORT_MAKERS):
            return False
    return "subtests" not in item.fixturenames  # type: ignore[attr-defined]  # of pytest.Function


# hypothesis.

_SETTINGS = "_hypothesis_internal_use_settings"
EXAMPLES = 10
"""How many examples a later run of a hypothesis test has: enough to run the same code, few enough
to be quick."""
_HYPOTHESIS_CACHES = (
    ("hypothesis.strategies._internal.utils", "clear_strategy_cache"),
    ("hypothesis.internal.conjecture.data", "STRUCTURAL_COVERAGE_CACHE.clear"),
    ("hypothesis.internal.conjecture.data", "POOLED_CONSTRAINTS_CACHE.cache.clear"),
)
"""Filled with every example, and no growth of the tested code."""


def is_of_hypothesis(function: Any) -> bool:
    """Whether hypothesis makes up the function's arguments, and fills its caches with every run."""
    return hasattr(function, _SETTINGS)


@contextmanager
def few_examples(function: Any) -> Iterator[None]:
    """While this lasts, hypothesis gives the function few examples that are always the same.

    Ever new examples would fill its caches with every run. It objects to a second instance of the
    test's class, and to an example that takes long once, which is allowed meanwhile.
    """
    settings = getattr(function, _SETTINGS, None)
    if settings is None:
        yield
        return
    import hypothesis

    allowed = [*settings.suppress_health_check, hypothesis.HealthCheck.differing_executors]
    few = hypothesis.settings(
        settings,
        suppress_health_check=allowed,
        deadline=None,
        database=None,
        derandomize=True,
        max_examples=min(settings.max_examples, EXAMPLES),
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    setattr(function, _SETTINGS, few)
    try:
        yield
    finally:
        setattr(function, _SETTINGS, settings)


def empty_caches() -> None:
    """Empties hypothesis' caches where it has been imported."""
    for module, path in _HYPOTHESIS_CACHES:
        clear = attribute_at(sys.modules.get(module), path)
        if callable(clear):
            clear()


def _probe_hypothesis_settings() -> str:
    import hypothesis
    from hypothesis import strategies

    seen = []

    @hypothesis.settings(max_examples=3 * EXAMPLES, database=None, deadline=None)
    @hypothesis.given(strategies.integers())
    def test(number: int) -> None:
        seen.append(number)

    with few_examples(test):
        test()
    has_obeyed = 0 < len(seen) <= EXAMPLES
    return expect(
        has_obeyed, f"asked for {EXAMPLES} examples through it, hypothesis made {len(seen)}"
    )


def _probe_hypothesis_cache(module: str, path: str) -> str:
    __import__(module)
    return expect(callable(attribute_at(sys.modules[module], path)), "it cannot be called")


# pytest-split and pytest-xdist.


def is_split(config: pytest.Config) -> bool:
    """Whether pytest-split leaves some of the tests to other shards."""
    return config.pluginmanager.hasplugin("pytestsplitplugin")


def _probe_split() -> str:
    plugin: Any = import_module("pytest_split.plugin")
    names = plugin.pytest_configure.__code__.co_consts
    return expect("pytestsplitplugin" in names, "it does not register under this name")


def is_xdist_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another that reports them."""
    return hasattr(config, "workerinput")


def xdist_output(config: Any) -> dict[str, Any]:
    """What a worker sends to that process at its end."""
    output: dict[str, Any] = config.workeroutput
    return output


def xdist_output_of(node: Any) -> dict[str, Any] | None:
    """The same there, from one worker; ``None`` from one that has crashed."""
    output: dict[str, Any] | None = getattr(node, "workeroutput", None)
    return output


def xdist_name_of(node: Any) -> str:
    """How xdist calls a worker, such as ``gw0``."""
    return str(getattr(getattr(node, "gateway", None), "id", "?"))


def _probe_xdist() -> str:
    remote, workermanage = import_module("xdist.remote"), import_module("xdist.workermanage")
    of_worker, of_node = _source(remote), _source(workermanage)
    missing = []
    for name, text in (
        ("config.workerinput", of_worker),
        ("config.workeroutput", of_worker),
        ("self.workeroutput", of_node),
        ("gateway.id", of_node),
    ):
        if name not in text:
            missing.append(name)
    return expect(not missing, f"its source has no {', no '.join(missing)}")


def _source(module: ModuleType) -> str:
    """What names a plugin uses on objects that only exist while it runs, can only be read."""
    return Path(module.__file__ or "").read_text(encoding="utf-8")


_PROBES: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("pytest_rerunfailures", "runtestprotocol and get_reruns_count", _probe_rerunfailures),
    ("pytest_rerunfailures", _RERUNS, _probe_attempts),
    ("flaky", _FLAKY_MARK, _probe_flaky),
    ("pytest_memray", "memray_manager", _probe_memray),
    ("hypothesis", _SETTINGS, _probe_hypothesis_settings),
    ("pytest_split", "pytestsplitplugin", _probe_split),
    ("xdist", "workerinput, workeroutput and gateway.id", _probe_xdist),
)
"""Package, name, and how to look."""


def probes() -> tuple[Probe, ...]:
    """One for each private name of a plugin that is installed."""
    found = []
    for package, name, look in _PROBES:
        if find_spec(package) is not None:
            found.append(Probe(f"{package} {name}", look))
    if find_spec("hypothesis") is not None:
        for module, path in _HYPOTHESIS_CACHES:
            found.append(Probe(f"{module}.{path}", _bound(module, path)))
    return tuple(found)


def _bound(module: str, path: str) -> Callable[[], str]:
    return lambda: _probe_hypothesis_cache(module, path)
