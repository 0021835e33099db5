"""Objects of other people are looked at without running a line of their code."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core import foreign

RAN: list[str] = []


def ran(what: str) -> Any:
    """Every method of a hostile object: it tells on us, and fails."""

    def method(*args: Any) -> Any:
        RAN.append(what)
        raise RuntimeError(what)

    return method


HOOKS = (
    "__getattribute__ __getattr__ __eq__ __hash__ __repr__ __str__ __bool__ __len__ __sizeof__ "
    "__iter__ __contains__ __getitem__ __instancecheck__ __subclasscheck__ __dir__"
).split()


class HostileType(type):
    """A class of classes that is made to run code whatever its classes are asked."""


def hostile() -> Any:
    """An object whose class, and whose class's class, run code on every occasion."""
    methods = {name: ran(name) for name in HOOKS} | {"__class__": property(ran("__class__"))}
    kind: Any = HostileType("Hostile", (), methods)
    made: Any = object.__new__(kind)
    for name in (*HOOKS, "__class__"):
        if name not in ("__sizeof__", "__class__"):
            setattr(HostileType, name, ran(f"type's {name}"))
    return made


@pytest.fixture
def thing() -> Any:
    """One, with an attribute, while its class's class is hostile."""
    made = hostile()
    object.__getattribute__(made, "__dict__")["maxsize"] = 5
    RAN.clear()
    yield made
    for name in HOOKS:
        if name in HostileType.__dict__:
            type.__delattr__(HostileType, name)


def test_a_hostile_object_is_looked_at_without_its_code(thing: Any) -> None:
    assert foreign.qualname_of(type(thing)) == "Hostile"
    assert foreign.module_of(type(thing)) == __name__
    assert foreign.name_of(type(thing)) == f"{__name__}.Hostile"
    assert not foreign.is_a(thing, dict)
    assert foreign.namespace_of(thing) == {"maxsize": 5}
    assert list(foreign.attributes_of(thing)) == [("maxsize", 5)]
    assert [base is object for base in foreign.mro_of(type(thing))] == [False, True]
    assert RAN == []


def test_a_class_without_a_module_has_a_question_mark() -> None:
    class Sentinel(type):
        """As h11 makes its sentinels: each is its own type."""

        def __new__(cls, name: str, bases: Any, namespace: Any) -> Any:
            made = super().__new__(cls, name, bases, namespace)
            made.__class__ = made  # type: ignore[assignment]
            return made

    sentinel = Sentinel("IDLE", (Sentinel,), {})
    assert type(sentinel) is sentinel
    type.__delattr__(sentinel, "__module__")
    assert foreign.name_of(sentinel) in ("?.IDLE", f"{__name__}.IDLE")


@pytest.mark.parametrize("value", [property(lambda self: "x"), 5, None])
def test_a_module_name_that_is_no_text_is_a_question_mark(value: Any) -> None:
    kind = type("Odd", (), {})
    type.__setattr__(kind, "__module__", value)
    assert foreign.module_of(kind) == "?"


def test_slots_are_attributes_and_empty_ones_are_none() -> None:
    class Slotted:
        __slots__ = ("empty", "full")

    slotted: Any = Slotted()
    slotted.full = 1
    assert list(foreign.attributes_of(slotted)) == [("full", 1)]


def test_a_lazy_module_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "lazily.py").write_text("raise RuntimeError('loaded')\n")
    specification = importlib.util.spec_from_file_location("lazily", tmp_path / "lazily.py")
    assert specification is not None
    assert specification.loader is not None
    specification.loader = importlib.util.LazyLoader(specification.loader)
    module = importlib.util.module_from_spec(specification)
    sys.modules["lazily"] = module
    specification.loader.exec_module(module)
    try:
        assert ("lazily", module) in [(name, found) for name, found in foreign.modules()]
        assert "__spec__" in foreign.namespace_of_module(module)
        assert type(module) is not types.ModuleType, "it is as lazy as before"
    finally:
        del sys.modules["lazily"]


def test_what_is_no_module_is_passed_over() -> None:
    sys.modules["no_module"] = 5  # type: ignore[assignment]
    try:
        assert "no_module" not in dict(foreign.modules())
    finally:
        del sys.modules["no_module"]
