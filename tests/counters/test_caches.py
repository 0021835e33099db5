"""Caches of the library are emptied, others are left alone."""

from __future__ import annotations

import enum
import functools
import gc
import inspect
import re
import sys
import tokenize
import urllib.parse
import weakref
from typing import Any

import pytest

from pytest_leakguard.counters import _cpython, caches


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


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> re.Pattern[str]:
    """A pattern that was there when the caches were noted."""
    monkeypatch.setattr(_cpython, "_patterns", {})
    monkeypatch.setattr(_cpython, "_forgotten", [])
    pattern = re.compile("there before")
    caches.note()
    return pattern


def test_a_pattern_that_was_noted_need_not_be_compiled_anew(noted: re.Pattern[str]) -> None:
    caches.empty()
    assert re.compile("there before") is noted


def test_a_pattern_that_came_later_is_dropped_and_can_be_compiled_again(
    noted: re.Pattern[str],
) -> None:
    text = b"late [a-z]".decode()
    references, late = sys.getrefcount(text), weakref.ref(re.compile(text))
    caches.empty()
    assert late() is None
    assert sys.getrefcount(text) == references, "a run's objects are held by nobody"
    caches.fill_again()
    assert any("late [a-z]" in key for key in re._cache)  # type: ignore[attr-defined]


def test_all_patterns_go_where_comparing_one_would_run_code_of_the_users(
    noted: re.Pattern[str],
) -> None:
    class Text(str):
        __slots__ = ()

    re.compile(Text("late"))
    caches.empty()
    assert re.compile("there before") is not noted


def test_all_patterns_go_where_none_were_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cpython, "_patterns", {})
    pattern = re.compile("there before")
    caches.empty()
    assert re.compile("there before") is not pattern


class Flags(enum.IntFlag):
    """As flags may be that somebody gives; no number that can be packed."""

    IGNORE_CASE = 2


def test_patterns_whose_flags_are_an_enumerations_are_compiled_again() -> None:
    _cpython.note_patterns()
    re.compile("an order (of )?flags", Flags.IGNORE_CASE)
    _cpython.empty_library_caches()
    _cpython.compile_patterns_again()
    caches: list[Any] = [cache for _, cache in _cpython._pattern_caches()]
    assert any(key[1] == "an order (of )?flags" for cache in caches for key in cache)
