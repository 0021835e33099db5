"""Which implementations of hooks a repeated run calls: what takes part in it, not what watches it.

A plugin that reports, measures or archives keeps something for each run of an item, and expects
one.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals


class Origin(Enum):
    """Whose a plugin is, which decides what of it a repeated run calls."""

    OWN = 1
    """Pytest's own, and ours: called."""
    RUNNER = 2
    """Installed, and known to take part in running tests, such as pytest-asyncio: called."""
    USER = 3
    """The project's, such as a ``conftest.py``: called unless the hook only reports."""
    WATCHER = 4
    """Installed, and not known to take part: not called."""


_ORIGINS = pytest.StashKey[dict[Any, Origin]]()
"""By implementation of a hook; looked up once."""
_OWN = ("_pytest", "pytest_leakguard", "pluggy")
_REPORTING = frozenset(
    (
        "pytest_assertion_pass",
        "pytest_exception_interact",
        "pytest_runtest_logreport",
        "pytest_runtest_logstart",
        "pytest_runtest_logfinish",
        "pytest_runtest_makereport",
        "pytest_warning_recorded",
    )
)
"""Hooks that tell of a run and have no part in it."""
_INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    | {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
)


@cache
def origin_of(module: str) -> Origin:
    """Whose a module is, by its name."""
    top = module.partition(".")[0]
    if top in _OWN:
        return Origin.OWN
    if top in _other_plugins.RUNNERS:
        return Origin.RUNNER
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:
        file = getattr(sys.modules.get(module), "__file__", None) or ""
    return Origin.WATCHER if _is_installed(str(file)) else Origin.USER


def origin_of_plugin(plugin: object) -> Origin:
    """The same of a plugin that is registered: a module, or an object by its class."""
    if isinstance(plugin, ModuleType):
        return origin_of(plugin.__name__)
    return origin_of(module_of_type(type(plugin)))


def module_of_type(type_: type) -> str:
    """Where a class was made, without asking its metaclass."""
    name = type.__dict__["__dict__"].__get__(type_).get("__module__")
    return name if isinstance(name, str) else ""


@contextmanager
def watchers_left_out(config: pytest.Config) -> Iterator[None]:
    """While this lasts, no hook reaches a plugin that only watches."""
    origins = config.stash.setdefault(_ORIGINS, {})

    def drops(hook: str, implementation: Any) -> bool:
        origin = origins.get(implementation)
        if origin is None:
            origin = origins[implementation] = _origin_of(implementation)
        if origin is Origin.USER:
            return hook in _REPORTING
        return origin is Origin.WATCHER

    with _pytest_internals.hooks_without(config.hook, drops):
        yield


def _origin_of(implementation: Any) -> Origin:
    if _pytest_internals.is_for_people(implementation):
        return Origin.WATCHER
    return origin_of(str(getattr(implementation.function, "__module__", None) or ""))


def _is_installed(file: str) -> bool:
    return file.startswith(_INSTALLED) and not Path(file).name.startswith("conftest")
