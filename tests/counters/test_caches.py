"""The search for caches passes over whatever else stands among modules and their variables."""

from __future__ import annotations

import functools
import sys
import types
import weakref

import pytest

from pytest_leakguard.counters.caches import filled_by


class Hostile:
    @property  # type: ignore[misc]  # read-only, as lazy objects have it
    def __class__(self) -> type:
        raise RuntimeError("looked at")


def test_a_dead_proxy_and_hostile_objects_among_modules_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = types.ModuleType("gone")
    monkeypatch.setitem(sys.modules, "gone", weakref.proxy(gone))
    del gone
    module = types.ModuleType("has_a_cache")
    cached = functools.lru_cache(maxsize=10)(abs)
    module.__dict__.update(hostile=Hostile(), cached=cached)
    monkeypatch.setitem(sys.modules, "has_a_cache", module)
    monkeypatch.setitem(sys.modules, "hostile", Hostile())
    assert filled_by(lambda: cached(-1)) == (cached.cache_clear,)
