"""A holder that says how much it will keep is known by type or number; nobody's code runs."""

from __future__ import annotations

import functools
import gc
import sqlite3
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from pytest_leakguard.explain.limits import (
    CURSORS_OF_SQLITE,
    LARGEST_LIMIT,
    is_test_double,
    limit_on,
)


class Plain:
    """An object with the attributes that it is given."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Hidden:
    """As cachetools has it, with a name that is private to the class."""

    def __init__(self) -> None:
        self.__maxsize = 30

    def most(self) -> int:
        return self.__maxsize


class _Cache(OrderedDict[str, int]):
    """As cachetools and SQLAlchemy derive theirs from dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity = 40


class Hostile:
    """Every way to ask it runs its own code, which fails."""

    __slots__ = ("__dict__", "ran")

    def __init__(self) -> None:
        object.__setattr__(self, "ran", [])
        object.__getattribute__(self, "__dict__")["max_entries"] = 50

    def __getattribute__(self, name: str) -> Any:
        object.__getattribute__(self, "ran").append(name)
        raise RuntimeError(name)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("==")

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    @property
    def maxsize(self) -> int:
        raise RuntimeError("maxsize")


class Liar:
    """Says that it is another class."""

    ran = False

    def __init__(self) -> None:
        self.limit = 60

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        Liar.ran = True
        return deque


class Answering:
    """A property that is called like a limit is code, so it is not asked."""

    ran = False

    @property
    def maxsize(self) -> int:
        Answering.ran = True
        return 70


class Slotted:
    __slots__ = ("maxsize",)

    def __init__(self) -> None:
        self.maxsize = 80


class WithOddNames:
    def __init__(self) -> None:
        vars(self)[3] = 9  # type: ignore[index]
        self.maxsize = 90


class Many(type):
    """A class of classes that runs code when its classes are asked."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class OfMany(metaclass=Many):
    pass


def cached(maxsize: int | None) -> Any:
    @functools.lru_cache(maxsize=maxsize)
    def square(number: int) -> int:
        return number * number

    return square


@pytest.mark.parametrize("most", [1, 128, 4000])
def test_an_lru_cache_says_how_much_it_keeps(most: int) -> None:
    found = limit_on([{}, cached(most), []])
    assert found is not None and found[0] == most


def test_an_lru_cache_without_limit_has_none() -> None:
    assert limit_on([cached(None)]) is None


def test_an_lru_cache_that_keeps_nothing_is_no_limit() -> None:
    assert limit_on([cached(0)]) is None


def test_a_deque_says_how_much_it_keeps() -> None:
    assert limit_on([deque(maxlen=20)]) == (20, "deque")
    assert limit_on([deque()]) is None


def fails(*_: object) -> Any:
    raise RuntimeError


Window: Any = type("Window", (deque,), {"maxlen": property(fails), "__getattribute__": fails})
"""A deque that runs its own code, which fails, when it is asked."""


def test_a_class_derived_from_deque_is_not_asked_by_its_own_code() -> None:
    assert limit_on([Window(maxlen=25)]) == (25, "Window")


@pytest.mark.parametrize(
    "name",
    [
        "maxsize",
        "max_size",
        "maxlen",
        "max_entries",
        "MAX_ITEMS",
        "maxcount",
        "max_num",
        "capacity",
        "_capacity",
        "limit",
        "item_limit",
        "bound",
        "_Cache__maxsize",
    ],
)
def test_an_attribute_called_like_a_limit_is_one(name: str) -> None:
    assert limit_on([Plain(**{name: 10})]) == (10, "Plain")


@pytest.mark.parametrize(
    "name", ["size", "maximum_temperature", "limited", "maxsize_seen", "capacity_unit"]
)
def test_an_attribute_called_otherwise_is_none(name: str) -> None:
    assert limit_on([Plain(**{name: 10})]) is None


@pytest.mark.parametrize("value", [0, -1, None, True, 3.0, "10", LARGEST_LIMIT, sys.maxsize])
def test_a_value_that_limits_nothing_is_none(value: object) -> None:
    assert limit_on([Plain(maxsize=value)]) is None


def test_the_largest_number_below_is_a_limit() -> None:
    assert limit_on([Plain(maxsize=LARGEST_LIMIT - 1)]) == (LARGEST_LIMIT - 1, "Plain")


def test_a_private_name_of_a_class_is_found() -> None:
    assert limit_on([Hidden()]) == (Hidden().most(), "Hidden")


def test_a_dictionary_with_a_capacity_is_a_holder_with_a_limit() -> None:
    assert limit_on([_Cache()]) == (40, "_Cache")


def test_of_several_holders_with_a_limit_the_one_nearest_to_the_entries_is_named() -> None:
    steps = [[], Plain(limit=11), deque(maxlen=5), Plain(size=3)]
    assert limit_on(steps) == (5, "deque")


def test_holders_without_limits_have_none() -> None:
    holders = [[], {}, (), set(), 5, "text", None, object(), Plain(), len, sys]
    assert limit_on(holders) is None
    assert limit_on([]) is None


def test_modules_classes_and_functions_are_no_holders_with_a_limit() -> None:
    module = ModuleType("module")
    vars(module)["maxsize"] = 5

    class Klass:
        maxsize = 5

    def function() -> None: ...

    vars(function)["limit"] = 5
    assert limit_on([module, Klass, function, sys._getframe()]) is None


def test_a_constant_of_a_class_is_the_limit_of_its_objects() -> None:
    class Ring:
        MAXSIZE = 5

    class Larger(Ring):
        pass

    for holder in (Ring(), Larger()):
        assert (limit_on([holder]) or (0, ""))[0] == 5
    assert limit_on([Ring]) is None, "the class itself keeps nothing"


def test_a_slot_is_an_attribute_like_any_other() -> None:
    assert limit_on([Slotted()]) == (80, "Slotted")


def test_an_object_that_fails_however_it_is_asked_is_not_asked() -> None:
    hostile = Hostile()
    assert limit_on([hostile]) == (50, "Hostile")
    assert object.__getattribute__(hostile, "ran") == []


def test_an_object_that_pretends_to_be_another_class_is_what_it_is() -> None:
    assert limit_on([Liar()]) == (60, "Liar")
    assert not Liar.ran


def test_a_property_is_not_asked() -> None:
    assert limit_on([Answering()]) is None
    assert not Answering.ran


def test_names_that_are_no_text_are_passed_over() -> None:
    assert limit_on([WithOddNames()]) == (90, "WithOddNames")


def test_a_class_of_classes_does_not_run_its_code() -> None:
    assert limit_on([OfMany()]) is None


@pytest.mark.parametrize("kind", [mock.Mock, mock.MagicMock, mock.NonCallableMock])
def test_a_mock_is_a_test_double(kind: Callable[[], Any]) -> None:
    assert is_test_double([[], kind()])


def test_the_calls_that_a_mock_records_are_a_test_double() -> None:
    double = mock.MagicMock()
    double(1)
    assert is_test_double([double.mock_calls])
    assert is_test_double([double.call_args_list, {}])


def test_other_holders_are_no_test_double() -> None:
    assert not is_test_double([[], {}, Plain(), mock, mock.Mock, Liar(), Hostile()])
    assert not is_test_double([])


def test_a_mock_is_told_without_asking_it() -> None:
    double = mock.MagicMock()
    before = list(double.mock_calls)
    assert is_test_double([double])
    assert limit_on([double]) is None
    assert double.mock_calls == before


def test_what_pretends_to_be_a_mock_is_none() -> None:
    class Pretending:
        __module__ = "mine"

        def __init__(self) -> None:
            self.__module__ = "unittest.mock"

    assert not is_test_double([Pretending()])


def test_a_class_of_classes_does_not_run_its_code_to_name_a_limit() -> None:
    holder = OfMany()
    object.__setattr__(holder, "maxsize", 5)
    assert limit_on([holder]) == (5, "OfMany")


def test_a_module_name_that_is_no_text_is_not_compared() -> None:
    kind = type("Odd", (), {"__module__": Hostile()})
    assert not is_test_double([kind()])


class Database(sqlite3.Connection):
    """As SQLAlchemy and others derive theirs."""


@pytest.mark.parametrize("factory", [sqlite3.Connection, Database])
def test_a_connection_of_sqlite_keeps_so_many_cursors_that_are_gone(
    factory: type[sqlite3.Connection],
) -> None:
    connection = sqlite3.connect(":memory:", factory=factory)
    (most,) = {limit_on([connection])}
    lengths = []
    for _ in range(3 * CURSORS_OF_SQLITE):
        connection.execute("select 1").fetchall()
        lists = [part for part in gc.get_referents(connection) if type(part) is list]
        lengths.append(max(map(len, lists)))
    assert most == (CURSORS_OF_SQLITE, factory.__qualname__)
    assert 0.9 * CURSORS_OF_SQLITE <= max(lengths) <= 1.1 * CURSORS_OF_SQLITE
    connection.close()
