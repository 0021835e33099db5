"""All that is private to CPython and its standard library, each with a probe.

Nobody else looks there.

A name that another version of the interpreter does not have is passed over where it is used, so
that measuring goes on; its probe says so by name, to `pytest-leakguard doctor` and to the tests.
"""

from __future__ import annotations

import atexit
import codecs
import ctypes
import functools
import gc
import linecache
import logging
import marshal
import os
import re
import sys
import threading
import tracemalloc
import types
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, ModuleType
from typing import Any

from pytest_leakguard.core.collector import Collector
from pytest_leakguard.core.foreign import referents
from pytest_leakguard.core.probes import Probe, expect

KEEPS_ALL_INTERNED = sys.version_info[:2] == (3, 12)
"""Python 3.12 never frees a string that was interned; the versions before and after do."""
_TASKS_ARE_IN_THREADS = sys.version_info >= (3, 14)
"""Since then tasks of asyncio's own are in lists of the threads, of which Python code sees one loop
at a time."""
_TELLS_INTERNED = sys.version_info >= (3, 12)


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


_interned_size: Callable[..., int] = getattr(sys, "getunicodeinternedsize", int)


def _probe_interned_strings() -> str:
    if not _TELLS_INTERNED:
        return expect(interned_strings() == 0, "it is there before Python 3.12")
    before = interned_strings()
    kept = sys.intern(f"pytest_leakguard probe {os.urandom(8).hex()}")
    has_counted = interned_strings() > before and bool(kept)
    return expect(has_counted, "it does not count what is interned")


_BEFORE_INSTANCE_BYTES = 4 * ctypes.sizeof(ctypes.c_size_t)
"""Of an instance with a dict in Python 3.11: the collector's head, its values and its dict."""


def allocation_of(thing: Any) -> tracemalloc.Traceback | None:
    """As ``tracemalloc.get_object_traceback``, also for instances with a dict in Python 3.11.

    There it looks for the block where only the collector's head precedes the object.
    """
    found = tracemalloc.get_object_traceback(thing)
    read = getattr(ctypes.pythonapi, "_PyTraceMalloc_GetTraceback", None)
    if found is not None or sys.version_info >= (3, 12) or read is None:
        return found
    read.restype, read.argtypes = ctypes.py_object, (ctypes.c_uint, ctypes.c_size_t)
    frames = read(0, id(thing) - _BEFORE_INSTANCE_BYTES)
    return tracemalloc.Traceback(frames) if frames else None


class _Instance:
    """Has a dict."""


def _probe_allocation() -> str:
    if tracemalloc.is_tracing():
        return ""  # others trace, who would lose what they have
    tracemalloc.start()
    try:
        found = allocation_of(_Instance())
    finally:
        tracemalloc.stop()
    return expect(found is not None, "it does not know where an instance was allocated")


# Tasks of asyncio.


def asyncio_tasks() -> list[Any]:
    """asyncio tasks that the interpreter still knows, of all event loops and threads.

    Since Python 3.14 tasks of asyncio's own are in lists of the threads, of which Python code sees
    one loop at a time, so they are found among the collector's objects; those that are frozen are
    left out.
    """
    tasks: Any = sys.modules.get("asyncio.tasks")
    if tasks is None:
        return []
    found = []
    for reference in list(getattr(_registered(tasks), "data", ())):
        task = reference()
        if task is not None:
            found.append(task)
    if _TASKS_ARE_IN_THREADS:
        kinds = _task_types(tasks)
        found += [thing for thing in Collector.get_objects() if type(thing) in kinds]
    return found


def _registered(tasks: Any) -> Any:
    """The weak set of all tasks; since Python 3.14 of those only that are none of asyncio's own."""
    known = getattr(tasks, "_scheduled_tasks", None)  # Python 3.12 and later
    return known if known is not None else getattr(tasks, "_all_tasks", ())


def _task_types(tasks: Any) -> frozenset[type]:
    """asyncio's own and all that somebody has made of it."""
    found: set[type] = set()
    level: list[type] = [tasks.Task]
    while level:
        kind = level.pop()
        if kind not in found:
            found.add(kind)
            level.extend(type.__subclasses__(kind))
    return frozenset(found)


def is_pending(task: Any) -> bool:
    """Whether a task of asyncio's own, or one made of it, is not done.

    Asks asyncio's type, so that nobody else's code runs; of other tasks it knows nothing.
    """
    owner = next(filter(_MRO_OF(type(task)).__contains__, _asyncios_own()), None)
    return owner is not None and not owner.done(task)


def is_task_type(kind: type) -> bool:
    """Whether objects of the type are tasks of asyncio's own."""
    return any(owner in _MRO_OF(kind) for owner in _asyncios_own())


def _asyncios_own() -> tuple[Any, ...]:
    tasks: Any = sys.modules.get("asyncio.tasks")
    return () if tasks is None else (tasks.Task, tasks._PyTask)


_MRO_OF: Any = type.__dict__["__mro__"].__get__


def task_count() -> int:
    """How many of them are not done."""
    return sum(map(is_pending, asyncio_tasks()))


def has_asyncio() -> bool:
    """Whether anybody has imported it, without which there are no tasks."""
    return "asyncio.tasks" in sys.modules


def task_probe() -> Probe:
    """That a task is found."""
    return Probe("asyncio.tasks._scheduled_tasks or _all_tasks", _probe_tasks)


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
    ("struct", "_clearcache"),
    ("_strptime", "_regex_cache.clear"),
    ("filecmp", "clear_cache"),
    ("inspect", "modulesbyfile.clear"),
    ("inspect", "_filesbymodname.clear"),
)
"""What CPython's own hunt for reference leaks empties too
(``test.libregrtest.utils.clear_caches``), and is no ``functools.lru_cache``."""
_LRU_CACHE = type(functools.lru_cache(int))
_LIBRARY = os.__file__.removesuffix("os.py")
_lru_caches: dict[int, list[Callable[[], object]]] = {}
"""What empties those of the library, by how many modules there were when they were looked for."""


def path_caches() -> Iterator[tuple[str, dict[Any, Any]]]:
    """Name and entries of each cache that is keyed by paths and whose module has been imported."""
    for module, name in _PATH_CACHES:
        cache = getattr(sys.modules.get(module), name, None)
        if isinstance(cache, dict):
            yield name, cache


def empty_library_caches() -> None:
    """Empties those whose module has been imported.

    What they held is computed again when it is missing. Patterns that were noted stay.
    """
    _forget_new_patterns()
    for module, path in _CLEARED_BY:
        clear = attribute_at(sys.modules.get(module), path)
        if callable(clear):
            clear()
    for clear in getattr(sys.modules.get("typing"), "_cleanups", ()):
        clear()
    for clear in _lru_caches_of_library():
        clear()


_PATTERNS = ("_cache", "_cache2")
"""Where ``re`` keeps compiled patterns, each by its type, text and flags; Python 3.11 has only the
first."""
_patterns: dict[str, tuple[Any, ...]] = {}
"""The keys that there were when they were last noted."""
_forgotten: list[bytes] = []
"""Text and flags of each that was taken out since, packed: the objects themselves are a run's."""


def note_patterns() -> None:
    """What ``re`` has compiled by now stays when caches are emptied.

    Compiling anew what every test uses would cost a millisecond each time.
    """
    _patterns.update((name, tuple(cache)) for name, cache in _pattern_caches())
    _forgotten.clear()


def compile_patterns_again() -> None:
    """Those that were taken out since the last note, so that the next test finds them."""
    compiling = getattr(sys.modules.get("re"), "_compile", None)
    if not _forgotten or compiling is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for packed in _forgotten:
            compiling(*marshal.loads(packed))
    note_patterns()


def _pattern_caches() -> Iterator[tuple[str, dict[Any, Any]]]:
    for name in _PATTERNS:
        cache = getattr(sys.modules.get("re"), name, None)
        if type(cache) is dict:
            yield name, cache


def _is_plain(key: Any) -> bool:
    """Whether comparing it runs nobody's code: the pattern may be of a class of the user's."""
    return (key[0] is str or key[0] is bytes) and issubclass(type(key[2]), int)


def _forget_new_patterns() -> None:
    caches = list(_pattern_caches())
    if not _patterns or not all(_is_plain(key) for _, cache in caches for key in list(cache)):
        re.purge()
        return
    for name, cache in caches:
        for key in cache.keys() - set(_patterns.get(name, ())):
            if cache.pop(key, None) is not None and name == _PATTERNS[0]:
                # Flags may be an enumeration's, which Python 3.13 gives on.
                _forgotten.append(marshal.dumps((key[1], int.__add__(key[2], 0))))


def _lru_caches_of_library() -> list[Callable[[], object]]:
    """What empties every ``functools.lru_cache`` around a function of the library's own.

    The library has two dozen, others in each version; ``inspect`` keeps 128 classes in one.
    """
    count = len(sys.modules)
    if count not in _lru_caches:
        _lru_caches.clear()
        found = [cache.cache_clear for module in _library_modules() for cache in _cached_in(module)]
        _lru_caches[count] = found
    return _lru_caches[count]


def _library_modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in sys.stdlib_module_names and type(module) is ModuleType:
            yield module


def _cached_in(module: ModuleType) -> Iterator[Any]:
    """Cached functions of a module and of its classes, properties among them."""
    values = list(vars(module).values())
    of_classes: list[Any] = []
    for value in values:
        if type(value) is type and value.__module__ == module.__name__:
            of_classes.extend(vars(value).values())
    for value in (*values, *of_classes):
        cache = value.fget if type(value) is property else value
        if type(cache) is _LRU_CACHE and _is_of_library(cache):
            yield cache


def _is_of_library(cache: Any) -> bool:
    """Whether the function behind it is the library's, and nobody's who has put it there."""
    code = getattr(cache.__wrapped__, "__code__", None)
    return code is not None and code.co_filename.startswith(_LIBRARY)


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
    if re.compile(text) is first:
        return "re.purge leaves a pattern in its cache"
    is_found = any((str, text, 0) in cache for _, cache in _pattern_caches())
    return expect(is_found, "patterns are not kept by type, text and flags")


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


# What the end of the process will call.


def exit_callbacks() -> int:
    """How many functions that is; no module refers to them, nor can one be taken out."""
    return int(getattr(atexit, "_ncallbacks", int)())


def below_exit_callbacks(things: list[Any]) -> list[Any]:
    """A chain of references without what CPython 3.14 and later keep the functions in.

    That is a list that only the interpreter knows, of tuples of a function and its arguments.
    """
    if len(things) < 2 or type(things[0]) is not list or type(things[1]) is not tuple:
        return things
    return things[2:] or list(things[1][:1])


def _probe_exit_callbacks() -> str:
    before = exit_callbacks()
    atexit.register(_probe_exit_callbacks)
    has_risen = exit_callbacks() == before + 1
    atexit.unregister(_probe_exit_callbacks)
    return expect(has_risen, "one more function does not count")


# What code has beside it once the process has been watched.


def offset_of_watching() -> int:
    """Where a code object has the address of what it gets when it first runs, in bytes.

    It gets it in CPython 3.12 and later, and only once somebody has set a trace or profile function
    or used ``sys.monitoring``. 0 while that is not so, or where nothing of the kind is seen.
    """
    inside: dict[str, Any] = {}
    exec("def once(): pass", inside)  # what has never run is needed
    code = inside["once"].__code__
    before = _words_of(code)
    inside["once"]()
    words = zip(before, _words_of(code), strict=True)
    changed = [at for at, (old, new) in enumerate(words) if not old and new > _LEAST_ADDRESS]
    return changed[0] * ctypes.sizeof(ctypes.c_size_t) if len(changed) == 1 else 0


_LEAST_ADDRESS = 1 << 16
"""The lowest that Linux maps, in bytes; numbers in a code object are smaller."""


def _words_of(code: types.CodeType) -> list[int]:
    words = ctypes.c_size_t * (types.CodeType.__basicsize__ // ctypes.sizeof(ctypes.c_size_t))
    return list(words.from_address(id(code)))


def _probe_watching() -> str:
    if sys.version_info < (3, 12):
        return expect(not offset_of_watching(), "code has something beside it before Python 3.12")
    if not sys.getprofile():
        sys.setprofile(_ignore)
        sys.setprofile(None)
    return expect(offset_of_watching() > 0, "code that first runs gets nothing")


def _ignore(*_: object) -> None:
    """As a profile function."""


# What is registered with codecs.


def registry_of_codecs(holder: Any) -> str:
    """What a list or dict that only the interpreter knows has, in words; empty for any other."""
    if type(holder) is list:
        search = getattr(sys.modules.get("encodings"), "search_function", None)
        # A list that C code has made may have places without an entry, which nobody may read.
        is_registry = search is not None and any(entry is search for entry in referents(holder))
        return "search functions registered with codecs" if is_registry else ""
    if type(holder) is dict and dict.get(holder, "strict") is codecs.strict_errors:
        return "error handlers registered with codecs"
    return ""


def _probe_codecs() -> str:
    search = getattr(sys.modules.get("encodings"), "search_function", None)
    found = {registry_of_codecs(one) for one in gc.get_referrers(search, codecs.strict_errors)}
    return expect(len(found - {""}) == 2, "nothing is found that has them")


# Child processes.


def collect_abandoned_children() -> None:
    """What starting the next child does: those that nobody has waited for are collected."""
    module = sys.modules.get("subprocess")
    if module is not None:
        getattr(module, "_cleanup", int)()


def _probe_abandoned_children() -> str:
    module = sys.modules.get("subprocess")
    is_there = module is None or callable(getattr(module, "_cleanup", None))
    return expect(is_there, "abandoned children are collected elsewhere")


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


# Profilers.

_MOST_STATE_WORDS = 64
"""Machine words of a thread's state that may hold its profiler; it is among the first 20."""
_PROFILE_FUNCTION = -2
"""Where the C function of a profiler is, in machine words from the object that goes with it."""


def suspend_profiler() -> Callable[[], object] | None:
    """Has this thread's profiler see nothing; returns what has it go on, ``None`` without one."""
    profiler: Any = sys.getprofile()
    if _is_lsprof(profiler) or _is_lsprof(profiler := _monitoring_profiler()):
        # It ends what it has open, so nothing is counted twice, and it has no mark for our frames.
        profiler.disable()
        enable: Callable[[], object] = profiler.enable
        return enable
    profiler = sys.getprofile()
    if profiler is None or _module_of_method(profiler) == "profile":
        return None  # the slow one of the library checks that each call has its return
    function = 0 if callable(profiler) else _profile_function(profiler)
    sys.setprofile(None)
    if callable(profiler):
        return lambda: sys.setprofile(profiler)
    if not function:
        return int
    return lambda: _set_profile(function, profiler)


def _module_of_method(method: object) -> str:
    return type(getattr(method, "__self__", None)).__module__


def _is_lsprof(profiler: object) -> bool:
    return type(profiler).__module__ in ("_lsprof", "cProfile") and hasattr(profiler, "enable")


def _monitoring_profiler() -> object:
    """The profiler behind callbacks of ``sys.monitoring``, where cProfile is since Python 3.12."""
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is None or monitoring.get_tool(monitoring.PROFILER_ID) is None:
        return None
    tool, event = monitoring.PROFILER_ID, monitoring.events.PY_START
    callback = monitoring.register_callback(tool, event, None)
    monitoring.register_callback(tool, event, callback)
    return getattr(callback, "__self__", None)


def _profile_function(profiler: object) -> int:
    """The address of the C function that goes with a profiler which is no Python function."""
    state = ctypes.pythonapi.PyThreadState_Get
    state.restype, state.argtypes = ctypes.c_void_p, ()
    words = (ctypes.c_size_t * _MOST_STATE_WORDS).from_address(state())
    for at in range(-_PROFILE_FUNCTION, _MOST_STATE_WORDS):
        if words[at] == id(profiler):
            return int(words[at + _PROFILE_FUNCTION])
    return 0


def _set_profile(function: int, profiler: object) -> None:
    setter = ctypes.pythonapi.PyEval_SetProfile
    setter.restype, setter.argtypes = None, (ctypes.c_void_p, ctypes.py_object)
    setter(function, profiler)


def _probe_profiler() -> str:
    if sys.getprofile() is not None:
        return ""  # somebody profiles us; leave them alone

    def look(*_: object) -> None:
        pass

    sys.setprofile(look)
    function = _profile_function(look)
    sys.setprofile(None)
    other = _profile_function(look)
    return expect(function and not other, "a thread's state does not hold it where it was")


def _probe_lsprof() -> str:
    import cProfile

    if sys.getprofile() is not None or _monitoring_profiler() is not None:
        return ""
    profiler = cProfile.Profile()
    profiler.enable()
    resume = suspend_profiler()
    was_off = sys.getprofile() is None and _monitoring_profiler() is None
    if resume is not None:
        resume()
    profiler.disable()
    return expect(resume is not None and was_off, "it cannot be found and switched off")


# What running calls refer to, which the collector does not know of since Python 3.11.

_WORD_BYTES = 8
"""Bytes of a pointer: only 64-bit builds are read."""
_OF_FRAME = object.__basicsize__ + _WORD_BYTES
"""Where a frame has the address of the interpreter's own one: behind ``f_back``."""
_TAG = 7
"""Bits of an address in which it marks references that it does not own, since Python 3.14."""
_MOST_HEAD_WORDS = 16
"""Of the interpreter's own frame before its variables, more than any version has."""


def _head_words() -> int:
    """Words of the interpreter's own frame before its variables; 0 where they are not found."""
    sought = object()
    inner = ctypes.c_size_t.from_address(id(sys._getframe()) + _OF_FRAME).value
    words = array("Q", ctypes.string_at(inner, _MOST_HEAD_WORDS * _WORD_BYTES))
    addresses = [word & ~_TAG for word in words]
    return addresses.index(id(sought)) if id(sought) in addresses else 0


def variables_of_calls(frames: Iterable[FrameType], read: Callable[[int, int], bytes]) -> set[int]:
    """Addresses of what running calls have in their variables.

    Asking a frame for ``f_locals`` would keep what it has alive. ``read`` returns memory, or
    nothing where there is none.
    """
    found: set[int] = set()
    head = _head_words()
    for frame in frames if head else ():
        code = frame.f_code
        names = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
        inner = array("Q", read(id(frame) + _OF_FRAME, _WORD_BYTES))
        if inner:
            words = array("Q", read(inner[0], (head + len(names)) * _WORD_BYTES))
            found.update(words[head:])
    return {address & ~_TAG for address in found}


def _probe_calls() -> str:
    held = object()
    calls = variables_of_calls((sys._getframe(),), ctypes.string_at)
    return expect(id(held) in calls, "a variable of a running call is not found")


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
        Probe("sys.getunicodeinternedsize", _probe_interned_strings),
        Probe("tracemalloc.get_object_traceback of instances", _probe_allocation),
        task_probe(),
        *path_probes,
        Probe("linecache.cache holds what was read", _probe_linecache),
        *cache_probes,
        Probe("re._cache", _probe_patterns),
        Probe("typing._cleanups", _probe_typing),
        Probe("os.environ._data", _probe_environment),
        Probe("_signal.getsignal", _probe_signals),
        Probe("warnings._get_context or _showwarnmsg_impl", _probe_warnings),
        Probe("logging.root.manager.disable", _probe_disabled_logging),
        Probe("atexit._ncallbacks", _probe_exit_callbacks),
        Probe("PyCodeObject._co_monitoring", _probe_watching),
        Probe("PyInterpreterState.codec_search_path", _probe_codecs),
        Probe("subprocess._cleanup", _probe_abandoned_children),
        Probe("sys._getframe", _probe_calling_frame),
        Probe("sys._current_frames", _probe_frames),
        Probe("PyFrameObject.f_frame", _probe_calls),
        Probe("PyThreadState.c_profilefunc", _probe_profiler),
        Probe("_lsprof.Profiler", _probe_lsprof),
    )


def _bound(look: Callable[[str, str], str], module: str, name: str) -> Callable[[], str]:
    """A probe of one entry of a table."""
    return lambda: look(module, name)
