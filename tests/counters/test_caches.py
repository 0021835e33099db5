"""Caches of the library are emptied, others are left alone."""

from __future__ import annotations

import functools
import gc
import inspect
import tokenize
import urllib.parse
import weakref
from typing import Any

import pytest

from pytest_leakguard.counters import caches


def test_a_class_that_inspect_has_looked_at_is_kept_no_longer() -> None:
    def looked_at() -> weakref.ref[type]:
        kind = type("Shop", (), {})
        inspect.getattr_static(kind(), "missing", None)
        return weakref.ref(kind)

    kept = looked_at()
    caches.empty()
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("cache", [urllib.parse.urlsplit, tokenize._compile])  # type: ignore[attr-defined]
def test_every_cached_function_of_the_library_is_emptied(cache: Any) -> None:
    cache("a")
    caches.empty()
    assert cache.cache_info().currsize == 0


def test_a_cached_function_of_the_users_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    users = functools.lru_cache(str.upper)
    made_here = functools.lru_cache(lambda text: text)
    monkeypatch.setattr(inspect, "users", users, raising=False)
    monkeypatch.setattr(urllib.parse, "made_here", made_here, raising=False)
    for cache in (users, made_here):
        cache("a")
    caches.empty()
    assert users.cache_info().currsize == made_here.cache_info().currsize == 1
