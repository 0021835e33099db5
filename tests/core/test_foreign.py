"""Objects of other people are looked at without running a line of their code."""

from __future__ import annotations

import ctypes
import functools
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


Getter = ctypes.CFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)


class GetSet(ctypes.Structure):
    """``PyGetSetDef`` of CPython."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("get", Getter),
        ("set", ctypes.c_void_p),
        ("doc", ctypes.c_char_p),
        ("closure", ctypes.c_void_p),
    )


class Slot(ctypes.Structure):
    """``PyType_Slot`` of CPython."""

    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class Spec(ctypes.Structure):
    """``PyType_Spec`` of CPython."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(Slot)),
    )


GETTERS_OF_TYPE, BASE_TYPE = 73, 1 << 10
"""``Py_tp_getset`` and ``Py_TPFLAGS_BASETYPE``."""


def test_a_namespace_that_compiled_code_computes_is_not_asked_for() -> None:
    """As wrapt's proxies do, which hand on the question to what they wrap."""
    asked: list[object] = []

    def compute(thing: object, _: object) -> dict[str, int]:
        asked.append(thing)
        return {"wrapped": 1}

    getters = (GetSet * 2)(GetSet(b"__dict__", Getter(compute), None, None, None))
    slots = (Slot * 2)(Slot(GETTERS_OF_TYPE, ctypes.addressof(getters)))
    make: Any = ctypes.pythonapi.PyType_FromSpec
    make.restype = ctypes.py_object
    proxy = make(ctypes.byref(Spec(b"shop.Proxy", 0, 0, BASE_TYPE, slots)))
    thing = proxy()
    assert vars(thing) == {"wrapped": 1} and asked == [thing]
    asked.clear()
    assert foreign.namespace_of(thing) is None
    assert asked == []


def test_the_namespace_of_a_type_of_c_code_is_read() -> None:
    call = functools.partial(int)
    call.base = 2  # type: ignore[attr-defined]  # what a partial may have
    error = KeyError()
    error.key = 1  # type: ignore[attr-defined]  # what an error may have
    assert foreign.namespace_of(call) == {"base": 2}
    assert foreign.namespace_of(error) == {"key": 1}
