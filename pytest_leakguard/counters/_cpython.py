"""All that is private to CPython and its standard library, each with a probe.

Nobody else looks there.

A name that another version of the interpreter does not have is passed over where it is used, so
that measuring goes on; its probe says so by name, to `pytest-leakguard doctor` and to the tests.
"""

from __future__ import annotations

import ctypes
import linecache
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from pytest_leakguard.core.probes import Probe, expect

KEEPS_ALL_INTERNED = sys.version_info[:2] == (3, 12)
"""Python 3.12 never frees a string that was interned; the versions before and after do."""
_TASKS_ARE_IN_THREADS = sys.version_info >= (3, 14)
"""Since then tasks of asyncio's own are in lists of the threads, of which Python code sees one loop
at a time."""
_TELLS_INTERNED = sys.version_info >= (3, 12)
_TELLS_IMMORTAL = sys.version_info >= (3, 13)


# The attribute cache.


def cache_clearer() -> Callable[[], object]:
    """What empties the attribute cache, which keeps up to 4,096 names alive that nobody has."""
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    return clear or int


def _probe_attribute_cache() -> str:
    return expect(cache_clearer() is not int, "neither is there to empty the attribute cache with")


# Interned strings.


def interned_strings() -> int:
    """How many strings are interned, in a moment; 0 before Python 3.12, which does not tell."""
    return int(_interned_size())


def immortal_strings() -> int:
    """How many of them will never be freed.

    Takes as long as there are strings where some are mortal.
    """
    if _TELLS_IMMORTAL:
        return int(_interned_size(_only_immortal=True))
    return int(_interned_size())


_interned_size: Callable[..., int] = getattr(sys, "getunicodeinternedsize", int)


def _probe_interned_strings() -> str:
    if not _TELLS_INTERNED:
        return expect(interned_strings() == 0, "it is there before Python 3.12")
    before = interned_strings()
    kept = sys.intern(f"pytest_leakguard probe {os.urandom(8).hex()}")
    has_counted = interned_strings() > before and bool(kept)
    return expect(has_counted and immortal_strings() > 0, "it does not count what is interned")


# Tasks of asyncio.


def task_count() -> int:
    """asyncio tasks of all event loops that are not done.

    Since Python 3.14 of this thread's only.
    """
    tasks: Any = sys.modules.get("asyncio.tasks")
    if tasks is None:
        return 0
    if _TASKS_ARE_IN_THREADS:
        return _tasks_of_current_loop()
    known = getattr(tasks, "_scheduled_tasks", None)  # Python 3.12 and 3.13
    return len(known if known is not None else getattr(tasks, "_all_tasks", ()))


def _tasks_of_current_loop() -> int:
    import asyncio

    try:
        loop = asyncio.get_event_loop()  # makes none since Python 3.14
    except RuntimeError:
        return 0
    return len(asyncio.all_tasks(loop))


def _probe_tasks() -> str:
    import asyncio

    async def count() -> int:
        before = task_count()
        task = asyncio.ensure_future(asyncio.sleep(3600))
        risen = task_count() - before
        task.cancel()
        return risen

    loop = asyncio.new_event_loop()  # not asyncio.run, which takes the loop of this thread away
    try:
        risen = loop.run_until_complete(count())
    finally:
        loop.close()
    return expect(risen == 1, f"one more task makes it {risen} longer")


# Caches of the standard library.

_PATH_CACHES = (
    ("sys", "path_importer_cache"),
    ("linecache", "cache"),
    ("zipimport", "_zip_directory_cache"),
)
"""Unbounded, but by paths: a test with a fresh temporary directory per run would make them grow."""
_CLEARED_BY = (
    ("re", "purge"),
    ("urllib.parse", "clear_cache"),
    ("struct", "_clearcache"),
    ("_strptime", "_regex_cache.clear"),
    ("filecmp", "clear_cache"),
    ("fnmatch", "_compile_pattern.cache_clear"),
    ("tokenize", "_compile.cache_clear"),
)
"""What CPython's own hunt for reference leaks empties too
(``test.libregrtest.utils.clear_caches``)."""


def path_caches() -> Iterator[tuple[str, dict[Any, Any]]]:
    """Name and entries of each cache that is keyed by paths and whose module has been imported."""
    for module, name in _PATH_CACHES:
        cache = getattr(sys.modules.get(module), name, None)
        if isinstance(cache, dict):
            yield name, cache


def empty_library_caches() -> None:
    """Empties those whose module has been imported.

    What they held is computed again when it is missing.
    """
    for module, path in _CLEARED_BY:
        clear = attribute_at(sys.modules.get(module), path)
        if callable(clear):
            clear()
    for clear in getattr(sys.modules.get("typing"), "_cleanups", ()):
        clear()


def attribute_at(owner: object, path: str) -> object:
    """What a dotted path of attributes leads to; ``None`` where there is no such thing."""
    for name in path.split("."):
        owner = getattr(owner, name, None)
    return owner


def _probe_path_cache(module: str, name: str) -> str:
    __import__(module)
    cache = getattr(sys.modules[module], name, None)
    return expect(isinstance(cache, dict), "it is not a dictionary of paths")


def _probe_linecache() -> str:
    linecache.getlines(__file__)
    return expect(__file__ in linecache.cache, "it does not hold a file that was read through it")


def _probe_library_cache(module: str, path: str) -> str:
    __import__(module)
    return expect(callable(attribute_at(sys.modules[module], path)), "it cannot be called")


def _probe_patterns() -> str:
    """``re.purge`` is public; that it empties what is behind ``re.compile`` is what we rely on."""
    text = "pytest_leakguard probe"
    first = re.compile(text)
    if re.compile(text) is not first:
        return "a pattern is not kept"
    re.purge()
    return expect(re.compile(text) is not first, "re.purge leaves a pattern in its cache")


def _probe_typing() -> str:
    import typing

    cleanups = getattr(typing, "_cleanups", None)
    is_filled = isinstance(cleanups, list) and bool(cleanups) and all(map(callable, cleanups))
    return expect(is_filled, "it is not a list of functions that empty typing's caches")


# The environment, without the decoding of every name, which takes most of the time.

RAW_ENVIRONMENT: Any = getattr(os.environ, "_data", os.environ)
"""The environment as its own class keeps it; to be read only, since writing to it reaches no C
code."""


def decoded(raw: Any) -> str:
    """A name or a value of ``RAW_ENVIRONMENT`` as ``os.environ`` shows it."""
    return str(getattr(os.environ, "decodevalue", str)(raw))


def _probe_environment() -> str:
    shown = dict(os.environ)
    raw = {decoded(name): decoded(value) for name, value in RAW_ENVIRONMENT.items()}
    return expect(raw == shown and RAW_ENVIRONMENT is not os.environ, "it is not the environment")


# Answers of signal without an enum for each, which takes ten times as long.

try:
    import _signal as _plain_signals  # type: ignore[import-not-found]
except ImportError:
    import signal as _plain_signals

signal_handler: Callable[[int], Any] = _plain_signals.getsignal


def _probe_signals() -> str:
    import signal

    for number in signal.valid_signals():
        if signal_handler(number) != signal.getsignal(number):
            return f"it says another thing of signal {int(number)} than signal.getsignal"
    return expect(signal_handler is not signal.getsignal, "there is no such module")


# The list that collects warnings.


def recorded_warnings() -> list[Any] | None:
    """The list that ``warnings.catch_warnings(record=True)`` fills now.

    ``None`` when nobody records.
    """
    context = getattr(warnings, "_get_context", lambda: None)()  # Python 3.14: a thread has its own
    found = getattr(context, "log", None)
    if found is None:
        found = getattr(getattr(warnings, "_showwarnmsg_impl", None), "__self__", None)
    return found if isinstance(found, list) else None


def _probe_warnings() -> str:
    with warnings.catch_warnings(record=True) as recorded:
        return expect(
            recorded_warnings() is recorded, "it does not lead to the list that is filled"
        )


# Whether anybody disabled logging, and what logging calls at the end of the process.


def _probe_disabled_logging() -> str:
    before = logging.root.manager.disable
    logging.disable(before + 1)
    try:
        return expect(logging.root.manager.disable == before + 1, "logging.disable does not set it")
    finally:
        logging.disable(before)


# Frames.


def calling_frame() -> FrameType:
    """The frame of the caller's caller."""
    return sys._getframe(2)


def frames_of_threads() -> dict[int, FrameType]:
    """The innermost frame of every thread of Python's, by the thread's identity."""
    return sys._current_frames()


def _probe_calling_frame() -> str:
    def frame_of_caller() -> FrameType:
        return calling_frame()

    return expect(frame_of_caller().f_code is _probe_calling_frame.__code__, "another frame")


def _probe_frames() -> str:
    return expect(threading.get_ident() in frames_of_threads(), "this thread is not among them")


# The arenas of the interpreter's own allocator.

_ARENAS = re.compile(rb"\d+ arenas \* \d+ bytes/arena\s*=\s*([\d,]+)")


def arena_reader() -> Callable[[], int]:
    """A function that reads the bytes of all arenas, in some 200 microseconds.

    What it reads is always 0 where it cannot.

    The interpreter says how many there are in the text of ``sys._debugmallocstats``, which it
    writes to a C stream.
    """
    try:
        write_statistics = ctypes.pythonapi._PyObject_DebugMallocStats
        c = ctypes.CDLL(None)
        open_stream, close, free = c.open_memstream, c.fclose, c.free
    except (AttributeError, OSError, TypeError):
        return int
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    open_stream.restype, open_stream.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p)
    write_statistics.argtypes = close.argtypes = free.argtypes = (ctypes.c_void_p,)

    def read() -> int:
        stream = open_stream(ctypes.byref(text), ctypes.byref(size))
        if not stream:
            return 0
        write_statistics(stream)
        close(stream)
        found = _ARENAS.search(text.value or b"")
        free(text)
        return int(found[1].replace(b",", b"")) if found else 0

    return read


def _probe_arenas() -> str:
    if sys.platform != "linux" or os.environ.get("PYTHONMALLOC", "").startswith("malloc"):
        return ""  # no C stream in memory there, or no arenas at all
    return expect(arena_reader()() > 0, "its text has no line on arenas")


def probes() -> tuple[Probe, ...]:
    """One for each private name in this module."""
    path_probes = []
    for module, name in _PATH_CACHES:
        look = _bound(_probe_path_cache, module, name)
        path_probes.append(Probe(f"{module}.{name}", look))
    cache_probes = []
    for module, path in _CLEARED_BY:
        look = _bound(_probe_library_cache, module, path)
        cache_probes.append(Probe(f"{module}.{path}", look))
    return (
        Probe("sys._clear_internal_caches or sys._clear_type_cache", _probe_attribute_cache),
        Probe("sys.getunicodeinternedsize(_only_immortal=)", _probe_interned_strings),
        Probe("asyncio.tasks._scheduled_tasks or _all_tasks", _probe_tasks),
        *path_probes,
        Probe("linecache.cache holds what was read", _probe_linecache),
        *cache_probes,
        Probe("re._cache", _probe_patterns),
        Probe("typing._cleanups", _probe_typing),
        Probe("os.environ._data", _probe_environment),
        Probe("_signal.getsignal", _probe_signals),
        Probe("warnings._get_context or _showwarnmsg_impl", _probe_warnings),
        Probe("logging.root.manager.disable", _probe_disabled_logging),
        Probe("sys._getframe", _probe_calling_frame),
        Probe("sys._current_frames", _probe_frames),
        Probe("sys._debugmallocstats (_PyObject_DebugMallocStats)", _probe_arenas),
    )


def _bound(look: Callable[[str, str], str], module: str, name: str) -> Callable[[], str]:
    """A probe of one entry of a table."""
    return lambda: look(module, name)
