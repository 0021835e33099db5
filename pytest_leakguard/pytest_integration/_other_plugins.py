"""All that is private to other plugins of pytest and to hypothesis, each with a probe.

Nobody else looks there.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.probes import Probe, expect
from pytest_leakguard.counters._cpython import attribute_at


def _plugin(config: pytest.Config, entry: str, module: str) -> Any:
    """A plugin by the name of its entry point, or of its module where ``-p`` has loaded it."""
    manager = config.pluginmanager
    return manager.get_plugin(entry) or manager.get_plugin(module)


# pytest-rerunfailures.

_RERUNS = "execution_count"
"""The attribute of an item that counts its attempts."""


def rerunner(item: pytest.Item) -> Any:
    """pytest-rerunfailures, when it runs this test by its own protocol; ``None`` otherwise."""
    plugin: Any = _plugin(item.config, "rerunfailures", "pytest_rerunfailures")
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
    if _plugin(item.config, "flaky", "flaky.flaky_pytest_plugin") is None:
        return False
    is_marked = item.get_closest_marker("flaky") is not None
    is_decorated = hasattr(item.function, _FLAKY_MARK)
    return is_marked or is_decorated or bool(item.config.getoption("force_flaky", False))


def _probe_flaky() -> str:
    flaky: Any = import_module("flaky").flaky

    def decorated() -> None:
        pass

    return expect(hasattr(flaky(decorated), _FLAKY_MARK), "the decorator leaves no such mark")


# Which plugins take part in running a test.

RUNNERS = frozenset(
    (
        "_hypothesis_pytestplugin",
        "anyio",
        "aiohttp",
        "hypothesis",
        "pyfakefs",
        "pytest_aiohttp",
        "pytest_asyncio",
        "pytest_assume",
        "pytest_cases",
        "pytest_check",
        "pytest_django",
        "pytest_factoryboy",
        "pytest_flask",
        "pytest_freezegun",
        "pytest_freezer",
        "pytest_homeassistant_custom_component",
        "pytest_httpx",
        "pytest_lazy_fixtures",
        "pytest_lazyfixture",
        "pytest_mock",
        "pytest_postgresql",
        "pytest_qt",
        "pytest_randomly",
        "pytest_recording",
        "pytest_remotedata",
        "pytest_sanic",
        "pytest_socket",
        "pytest_structlog",
        "pytest_subprocess",
        "pytest_subtests",
        "pytest_tornado",
        "pytest_tornasync",
        "pytest_trio",
        "pytest_twisted",
        "pytestqt",
        "time_machine",
    )
)
"""Packages whose hooks set up what a test needs, or run it; without them a repeated run would be
another."""
BUSY = frozenset(("xdist", "execnet", "pytest_leakguard", "_pytest"))
"""Packages whose objects change while a test runs, by other threads or by ourselves: never put
back."""
_FAILING = ("pytest_check.", "pytest_subtests.")
"""Modules that turn a phase which raised nothing into a failure."""


def may_fail_in_report(item: pytest.Item) -> bool:
    """Whether a phase that raised nothing may fail while its report is made."""
    for implementation in item.ihook.pytest_runtest_makereport.get_hookimpls():
        if implementation.function.__module__.startswith(_FAILING):
            return True
    return "subtests" in item.fixturenames  # type: ignore[attr-defined]  # of pytest.Function


# pytest-forked.


def is_forked(item: pytest.Item) -> bool:
    """Whether pytest-forked runs this test in a process of its own, by pytest's own protocol."""
    if _plugin(item.config, "pytest_forked", "pytest_forked") is None:
        return False
    marker = item.get_closest_marker("forked")
    return marker is not None or bool(item.config.getoption("forked", False))


def _probe_forked() -> str:
    source = _source(import_module("pytest_forked"))
    calls = "from _pytest.runner import runtestprotocol" in source
    return expect(calls, "it does not look for pytest's protocol when it runs a test")


# pytest-benchmark.

_BENCHMARKS = "_benchmarksession"


@contextmanager
def not_benchmarked(config: pytest.Config) -> Iterator[None]:
    """While this lasts, pytest-benchmark calls what it would measure once and measures nothing."""
    session = getattr(config, _BENCHMARKS, None)
    if session is None or not hasattr(session, "disabled"):
        yield
        return
    before, session.disabled = session.disabled, True
    try:
        yield
    finally:
        session.disabled = before


def _probe_benchmark() -> str:
    source = _source(import_module("pytest_benchmark.plugin"))
    is_there = f"config.{_BENCHMARKS}" in source and "disabled=bs.disabled" in source
    return expect(is_there, "its session does not say whether it measures")


# allure.


def attachment_hooks() -> Any:
    """Hooks of allure's own manager, by which attachments reach its files; ``None`` without it."""
    core = sys.modules.get("allure_commons._core")
    manager = getattr(core, "MetaPluginManager", None)
    return None if manager is None else manager.get_plugin_manager().hook


def _probe_allure() -> str:
    import_module("allure_commons._core")
    return expect(hasattr(attachment_hooks(), "attach_data"), "it has no hook for attachments")


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
    _few[function] = few
    setattr(function, _SETTINGS, few)
    try:
        yield
    finally:
        del _few[function]
        setattr(function, _SETTINGS, settings)


_few: dict[Any, Any] = {}
"""By test function, the settings that it has meanwhile."""


def unnest_settings() -> None:
    """The settings as before the run; hypothesis wraps those of a parametrized test in new ones."""
    for function, few in _few.items():
        setattr(function, _SETTINGS, few)


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


# pytest-memray.

LIMIT_LEAKS = "limit_leaks"
"""Its marker that limits what one place of a test may leave allocated."""
_MEMRAY_SIZE = re.compile(r"\s*([0-9.]{1,18})\s*([KMGTP]?)I?B?\s*", re.IGNORECASE)
_MEMRAY_UNITS = ("", "K", "M", "G", "T", "P")
"""Each 1024 times the one before: that is what it means by KB."""
_DECLARED = (
    f"{LIMIT_LEAKS}(location_limit): of pytest-memray, which is not active; with --leakguard its "
    "limit is the budget of the test"
)


def declare_limit_leaks(config: pytest.Config) -> None:
    """Makes the marker a known one where the plugin that it belongs to is not there."""
    loaded = {found.project_name for _, found in config.pluginmanager.list_plugin_distinfo()}
    if "pytest-memray" not in loaded:
        config.addinivalue_line("markers", _DECLARED)


def limit_of_memray(*given: object, location_limit: object = "", **_: object) -> str:
    """What ``limit_leaks`` is given as a budget; raises ``UsageProblem`` for what is none."""
    limit = given[0] if given else location_limit
    match = _MEMRAY_SIZE.fullmatch(str(limit))
    try:
        size = float(match.group(1)) if match else -1.0
    except ValueError:  # such as 1.2.3
        size = -1.0
    if match is None or size < 0:
        raise UsageProblem(f"invalid limit {str(limit)[:80]!r} (expected e.g. 64 B or 1 MB)")
    factor = 1024 ** _MEMRAY_UNITS.index(match.group(2).upper())
    return f"{size * factor:.0f} B"


def _probe_memray() -> str:
    module = import_module("pytest_memray.marks")
    parameters = inspect.signature(module.limit_leaks).parameters
    return expect(next(iter(parameters)) == "location_limit", "its first argument has another name")


_PROBES: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("pytest_rerunfailures", "runtestprotocol and get_reruns_count", _probe_rerunfailures),
    ("pytest_rerunfailures", _RERUNS, _probe_attempts),
    ("flaky", _FLAKY_MARK, _probe_flaky),
    ("pytest_forked", "runtestprotocol", _probe_forked),
    ("pytest_benchmark", _BENCHMARKS, _probe_benchmark),
    ("allure_commons", "MetaPluginManager", _probe_allure),
    ("hypothesis", _SETTINGS, _probe_hypothesis_settings),
    ("pytest_memray", LIMIT_LEAKS, _probe_memray),
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
