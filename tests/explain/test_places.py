"""Where the newest entry of a container was made, at no more cost than it takes."""

from __future__ import annotations

import tracemalloc
from contextlib import AbstractContextManager

import pytest

from pytest_leakguard.explain.places import site_of_newest

ENTRIES: list[object] = []


def remember() -> None:
    ENTRIES.append(object())


@pytest.mark.parametrize(("is_in_function", "traced"), [(True, [False]), (False, [False, True])])
def test_only_the_tests_function_is_traced_where_the_entry_comes_from_there(
    is_in_function: bool, traced: list[bool]
) -> None:
    """What tracing notes is never given back until Python 3.12, and most of it is pytest's."""
    set_up: list[bool] = []

    def run(inside: AbstractContextManager[object]) -> None:
        set_up.append(tracemalloc.is_tracing())
        with inside:
            if is_in_function:
                remember()
        if not is_in_function:
            remember()

    site = site_of_newest(run, ENTRIES)
    assert site is not None and site.own is not None
    assert (site.own.function, set_up) == ("remember", traced)
    assert not tracemalloc.is_tracing()
