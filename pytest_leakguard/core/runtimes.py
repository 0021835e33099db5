"""Tells the frames of language runtimes and of header-only libraries from those of the program.

A generic container is compiled into the program that uses it, so neither module nor symbol table
tells whose code it is. What tells is where the source lies and how the name begins.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_leakguard.core.leaks import Frame

_RUST_SOURCE = re.compile(
    r"^/rustc/|/rustlib/src/rust/library/|^/rust/deps/"
    r"|/registry/src/[^/]+/(hashbrown|tokio(-\w+)?|futures-\w+)-\d"
)
"""rustc names the sources of its library by commit; those of crates are in cargo's registry."""
_LIBRARY_SOURCE = re.compile(
    r"(^|/)(absl|boost|folly|gtest|gmock|googletest|googlemock|Qt(Core|Gui|Widgets|Network|Qml"
    r"|Concurrent|DBus|Sql|Test|Xml))/.*\.(h|hh|hpp|ipp|inl|inc)$"
)
"""Headers alone: a program's own sources may lie below a folder of such a name."""
_LIBRARY_MODULE = re.compile(
    r"^lib(Qt[456]\w*|folly|boost_\w+|absl_\w+|gtest|gmock|gtest_main|gmock_main|std-[0-9a-f]+)"
    r"\.so"
)
_PYTHON_SOURCE = re.compile(
    r"^<frozen |(^|/)lib(64)?/python3\.\d+/(?!site-packages/|dist-packages/).*\.py$"
)
"""Python's own library; what is installed below it may be what is tested."""
_RUST_NAME = re.compile(
    r"^(alloc::|hashbrown::|tokio::"
    r"|core::(alloc|any|array|borrow|cell|char|clone|convert|default|fmt|future|hash|iter|mem|num"
    r"|ops|option|panic|pin|ptr|result|slice|str|task)::"
    r"|std::(rt|sys|sys_common|panicking|panic|backtrace|collections|io|ffi|env|fs|net|path"
    r"|thread::(local|lifecycle|spawnhook|builder|current|functions))::)"
)
_ALWAYS_RUST = re.compile(r"^(hashbrown|tokio)::|__rust_|^__rustc\[")
_CXX_NAME = re.compile(
    r"^(absl|boost|folly|testing|QtPrivate|QtSharedPointer)::"
    r"|^Q(String|ByteArray|List|Vector|Hash|Map|Multi(Hash|Map)|Set|LinkedList|Stack|Queue"
    r"|VarLengthArray|ArrayData|ArrayDataPointer|TypedArrayData|GenericArrayOps|PodArrayOps"
    r"|SharedPointer|WeakPointer|ScopedPointer|SharedDataPointer|Variant|Json\w+|MetaObject"
    r"|MetaType|MetaCallEvent|Object|Object(Private|Data)|CoreApplication|Application"
    r"|GuiApplication|EventLoop|EventDispatcher\w+|Thread|ThreadPrivate|FutureInterface)(<|::)"
)
_TYPE_PARAMETER = re.compile(r"^&?(mut )?[A-Z]$")
_IMPLEMENTATION = re.compile(r"^<(.+?) as (.+)$")
_INSTANTIATED = re.compile(r"^<([^ ]+)>::")
_HAS_PARAMETERS = re.compile(r"\)( const)?( &{1,2})?( \[clone [^]]*\])*$")
"""The end of a C++ name; Rust's names have no parameters."""


@lru_cache(maxsize=65536)
def is_library(frame: Frame) -> bool:
    """Whether a runtime's or a header-only library's code runs there, not the program's own."""
    file, function = frame.file or "", frame.function or ""
    if _PYTHON_SOURCE.search(file):
        return True
    if _RUST_SOURCE.search(file) or _LIBRARY_MODULE.match((frame.module or "").rpartition("/")[2]):
        return True
    if _ALWAYS_RUST.search(function):
        return True
    if _is_rust_name(function):
        return "/" not in file  # a file that is known and not the library's is the program's
    name = _without_return_type(function)
    if _CXX_NAME.match(name):
        return True
    is_unqualified = "::" not in name.partition("(")[0].partition("<")[0]
    return (frame.is_inlined or is_unqualified) and bool(_LIBRARY_SOURCE.search(file))


_PYTHON_NAME = re.compile(r"^_?Py[A-Z]\w*$")
_PYTHON_MODULE = re.compile(r"^(libpython[23]|python[23](\.\d+)?$)")
_RUST_ENTRY = re.compile(r"^(std::rt::lang_start|__rust_try$|std::sys::.*thread_start)")


@lru_cache(maxsize=65536)
def keeps_interior_pointers(stack: tuple[Frame, ...]) -> bool:
    """Whether a runtime ran there that refers to its blocks by pointers into their middle.

    CPython puts the collector's header before an object, Rust the counts of an ``Arc`` before its
    value, and both keep the address behind it. A tool calls such blocks, and all that hangs on
    them, possibly lost.
    """
    return any(map(_is_of_such_runtime, stack))


@lru_cache(maxsize=65536)
def _is_of_such_runtime(frame: Frame) -> bool:
    function = frame.function or ""
    if _PYTHON_NAME.match(function) or _RUST_ENTRY.match(function):
        return True
    module = (frame.module or "").rpartition("/")[2]
    return bool(_PYTHON_MODULE.match(module) or _RUST_SOURCE.search(frame.file or ""))


def _is_rust_name(function: str) -> bool:
    if _HAS_PARAMETERS.search(function):
        return False
    if implementation := _IMPLEMENTATION.match(function):
        kind, trait = implementation.groups()
        kind = kind.lstrip("&[*").removeprefix("mut ")
        return bool(_RUST_NAME.match(trait if _TYPE_PARAMETER.match(kind) else kind))
    if instantiated := _INSTANTIATED.match(function):
        return bool(_RUST_NAME.match(instantiated.group(1)))
    return bool(_RUST_NAME.match(function))


def _without_return_type(function: str) -> str:
    """``void boost::f<int>(int)`` becomes ``boost::f<int>(int)``; templates tell what they give."""
    depth = start = 0
    for index, char in enumerate(function):
        if char == "(" and depth == 0 and not function.startswith("(anonymous", index):
            break
        if char == " " and depth == 0 and not function.startswith("operator", start):
            start = index + 1
        depth += (char in "<({") - (char in ">)}")
    return function[start:].lstrip("*&")
