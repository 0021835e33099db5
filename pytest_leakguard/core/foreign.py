"""Looks at objects of other people without running any of their code.

``x.__class__``, ``isinstance``, ``getattr``, ``repr``, ``==``, ``hash`` and ``in`` may all run a
method of the object's type, or of its metaclass; a module may be loaded by asking it for anything.
So a type is asked by the getters of ``type`` itself, and a namespace by those of its own kind.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import types
from collections.abc import Iterator
from typing import Any

_MODULE_OF: Any = type.__dict__["__module__"].__get__
_QUALNAME_OF: Any = type.__dict__["__qualname__"].__get__
_NAMESPACE_OF_CLASS: Any = type.__dict__["__dict__"].__get__
_MRO_OF: Any = type.__dict__["__mro__"].__get__
_NAMESPACE_OF_MODULE: Any = vars(types.ModuleType)["__dict__"].__get__
_HAS_DICT: Any = type.__dict__["__dictoffset__"].__get__
_TEXT_OF: Any = vars(types.GetSetDescriptorType)["__doc__"].__get__


class _Instance:
    """Has a dict, as every instance of a class statement's."""


_TEXT_OF_OWN = _TEXT_OF(vars(_Instance)["__dict__"])
"""The descriptor of such a dict has this text of its own."""
_DICT_OF: Any = ctypes.pythonapi.PyObject_GenericGetDict
_DICT_OF.restype, _DICT_OF.argtypes = ctypes.py_object, (ctypes.py_object, ctypes.c_void_p)
_WITHOUT_INSTANCES = (types.ModuleType, type)
"""Their namespace is not that of an instance."""


def is_a(thing: Any, kind: type | tuple[type, ...]) -> bool:
    """What ``isinstance`` answers of objects that do not lie; ``kind`` is the interpreter's."""
    return issubclass(type(thing), kind)


def module_of(kind: type) -> str:
    """The module that a class says it is from; a question mark where it says nothing."""
    try:
        module = _MODULE_OF(kind)
    except AttributeError:  # of a class that is its own type, or whose namespace was emptied
        return "?"
    return module if type(module) is str else "?"


def qualname_of(kind: type) -> str:
    """The qualified name of a class."""
    name = _QUALNAME_OF(kind)
    return name if type(name) is str else "?"


def name_of(kind: type) -> str:
    """``dict`` or ``shop.Order``."""
    module = module_of(kind)
    return qualname_of(kind) if module == "builtins" else f"{module}.{qualname_of(kind)}"


def mro_of(kind: type) -> tuple[type, ...]:
    """The class and its bases, as they are searched."""
    return _MRO_OF(kind) or ()


def namespace_of_class(kind: type) -> Any:
    """A view of the attributes that a class has itself."""
    return _NAMESPACE_OF_CLASS(kind)


def namespace_of_module(module: Any) -> dict[str, Any]:
    """The variables of a module, also of one that is loaded at its first use."""
    found: dict[str, Any] = _NAMESPACE_OF_MODULE(module)
    return {} if found is None else found


def referents(thing: Any) -> list[Any]:
    """What an object refers to, as the collector sees it; of a module its variables alone.

    The module ``_asyncio`` of CPython 3.12 also tells of objects in its free list, which are dead:
    a reference to one has it freed once more, and the next collection never ends.
    """
    if is_a(thing, types.ModuleType):
        return [namespace_of_module(thing)]
    return gc.get_referents(thing)


def namespace_of(thing: Any) -> dict[Any, Any] | None:
    """The attributes of an instance; ``None`` where it has no namespace of the usual kind."""
    kind = type(thing)
    if issubclass(kind, _WITHOUT_INSTANCES):
        return None
    if issubclass(kind, types.FunctionType):
        inside = thing.__dict__ if kind is types.FunctionType else None
        return inside if type(inside) is dict else None
    for base in mro_of(kind):
        member = _NAMESPACE_OF_CLASS(base).get("__dict__")
        if type(member) in (types.GetSetDescriptorType, types.MemberDescriptorType):
            inside = _read(member, thing)
            return inside if type(inside) is dict else None
    return None


def _read(member: Any, thing: Any) -> Any:
    """What a ``__dict__`` has; a getter that is not the interpreter's own is never called.

    wrapt's asks the wrapped object, which takes twice as long at each of 24 levels.
    """
    if type(member) is types.MemberDescriptorType or _TEXT_OF(member) == _TEXT_OF_OWN:
        return member.__get__(thing)
    if not _HAS_DICT(type(thing)):
        return None
    return _DICT_OF(thing, None)


def slots_of(thing: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of each filled slot."""
    if issubclass(type(thing), _WITHOUT_INSTANCES):
        return
    for base in mro_of(type(thing)):
        for name, member in list(_NAMESPACE_OF_CLASS(base).items()):
            is_slot = type(member) is types.MemberDescriptorType
            if is_slot and type(name) is str and not name.startswith("__"):
                try:
                    yield name, member.__get__(thing)
                except (AttributeError, TypeError):  # an empty slot
                    continue


def attributes_of(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Name and value of what an instance keeps in its namespace and in slots."""
    inside = namespace_of(thing)
    if inside is not None:
        yield from list(inside.items())
    yield from slots_of(thing)


def modules() -> Iterator[tuple[str, Any]]:
    """Each loaded module by the name it is found under; anything else may stand there too."""
    for name, module in list(sys.modules.items()):
        if type(name) is str and issubclass(type(module), types.ModuleType):
            yield name, module


def name_of_module(module: Any) -> str:
    """The name that a module has; a question mark without one."""
    name = namespace_of_module(module).get("__name__")
    return name if type(name) is str else "?"
