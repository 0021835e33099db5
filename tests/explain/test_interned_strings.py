"""Calls are watched for interning only where some code on the way mentions it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_leakguard.explain import interned_strings
from pytest_leakguard.explain.interned_strings import interns_new_strings

CALL = "inte" + "rn"
"""Not in one piece: this file is on the way to every string as well."""


class Watched:
    """Every profile function that is set while a test runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._set = sys.setprofile
        monkeypatch.setattr(sys, "setprofile", self)

    def __call__(self, function: Any) -> None:
        self.count += function is not None
        self._set(function)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.fixture
def immortal(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many strings this interpreter keeps for good, whichever it is; a test may add to it."""
    count = [1]
    monkeypatch.setattr(interned_strings, "immortal_count", lambda: count[0])
    return count


def module_of(folder: Path, source: str) -> ModuleType:
    file = folder / "names.py"
    file.write_text(source)
    specification = importlib.util.spec_from_file_location("names", file)
    assert specification is not None and specification.loader is not None
    found = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(found)
    return found


def asked(module: ModuleType) -> bool:
    return interns_new_strings(module.work, lambda: [module.work()])


QUIET = "def work(): return ''.join(['a new name ', 'of this run'])\n"
INTERNS = f"""
import sys
COUNT = []
def work():
    text = ''.join(['a new name ', 'of this run'])
    COUNT[0] += 1
    return sys.{CALL}(text)
"""


def test_no_profile_function_is_set_where_nothing_mentions_it(
    tmp_path: Path, watched: Watched, immortal: list[int]
) -> None:
    assert not asked(module_of(tmp_path, QUIET))
    assert watched.count == 0


def test_none_is_set_where_the_interpreter_keeps_nothing_for_good(
    tmp_path: Path, watched: Watched, immortal: list[int]
) -> None:
    immortal[0] = 0
    assert not asked(module_of(tmp_path, INTERNS))
    assert watched.count == 0


def test_none_is_set_where_the_traced_run_has_no_such_string(
    tmp_path: Path, watched: Watched, immortal: list[int]
) -> None:
    module = module_of(tmp_path, INTERNS)
    assert not interns_new_strings(module.work, list)
    assert watched.count == 0


def test_calls_are_watched_where_the_users_code_mentions_it(
    tmp_path: Path, watched: Watched, immortal: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of(tmp_path, INTERNS)
    module.COUNT.append(1)
    before = sys.getprofile()
    assert not asked(module)  # nothing new is kept
    assert watched.count == 1 and sys.getprofile() is before


def test_a_string_that_is_new_during_the_call_is_found(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter(range(1, 100))
    monkeypatch.setattr(interned_strings, "immortal_count", lambda: next(readings))
    module = module_of(tmp_path, INTERNS)
    module.COUNT.append(1)
    assert asked(module)


def test_the_profile_function_of_somebody_else_is_put_back_after_an_error(
    tmp_path: Path, watched: Watched, immortal: list[int]
) -> None:
    module = module_of(tmp_path, INTERNS)
    module.COUNT.append(1)

    def fails() -> None:
        raise ZeroDivisionError

    before = sys.getprofile()
    with pytest.raises(ZeroDivisionError):
        interns_new_strings(fails, lambda: [module.work()])
    assert sys.getprofile() is before
