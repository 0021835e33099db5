"""The state of this process that a test may change, so that our runs change it for nobody."""

from __future__ import annotations

import builtins
import contextlib
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from operator import is_
from typing import Any

from pytest_leakguard.counters._cpython import (
    RAW_ENVIRONMENT,
    decoded,
    exit_callbacks,
    signal_handler,
)
from pytest_leakguard.counters.originals import Original

_MOST_PROBLEM_CHARACTERS = 200
"""How much of a message is kept, in characters: it becomes part of a note, which is one line."""


class ProcessState:
    """The state as it is when this is made; ``restore`` changes only what differs by then."""

    def __init__(self) -> None:
        self.directory = _directory()
        self._environ = dict(RAW_ENVIRONMENT)
        self._signals = _signals() if _is_main() else []
        lists: tuple[list[Any], ...] = (
            sys.path,
            sys.meta_path,
            sys.path_hooks,
            sys.argv,
            gc.callbacks,
            sys.warnoptions,
        )
        self._lists = [(entries, list(entries)) for entries in lists]
        self._modules = dict(sys.modules)
        self._hooks = [(owner, name, getattr(owner, name)) for owner, name in _HOOKS]
        self._builtins = dict(vars(builtins))
        self._readings = [(name, read, _answer_of(read)) for name, read in _READINGS]
        self._values = [(name, read, write, _answer_of(read)) for name, read, write in _VALUES]
        self._root = (logging.root.level, list(logging.root.handlers), list(logging.root.filters))
        self._is_tracing = tracemalloc.is_tracing()
        numpy: Any = sys.modules.get("numpy.random")
        self._numpy = numpy.get_state() if hasattr(numpy, "get_state") else None

    def enter_directory(self) -> None:
        """The working directory as it was, where it still exists."""
        if self.directory:
            with contextlib.suppress(OSError):
                Original.chdir(self.directory)

    def restore(self) -> tuple[str, ...]:
        """Puts back what is different by now; never raises.

        Returns what could not be put back, each with the reason.

        What a test leaves changed for good is its own affair; what only our runs have changed is a
        false start for the tests after it, so somebody has to be able to read of it.
        """
        steps: list[tuple[str, Callable[[], object]]] = [
            ("the working directory", self._restore_directory),
            ("the environment", self._restore_environment),
            ("signal handlers", self._restore_signals),
            ("sys.path and other lists of sys", self._restore_lists),
            ("sys.modules", self._restore_modules),
            ("hooks of sys and threading", self._restore_hooks),
            ("builtins", self._restore_builtins),
            ("logging", self._restore_logging),
            ("tracemalloc", self._restore_tracing),
            ("numpy.random", self._restore_numpy),
        ]
        for name, read, write, value in self._values:
            steps.append((name, _restorer(read, write, value)))
        problems = []
        for name, restore in steps:
            try:
                restore()
            except Exception as error:  # whatever a test has put there may raise what it likes
                message = f"{type(error).__name__}: {error}"[:_MOST_PROBLEM_CHARACTERS]
                problems.append(f"{name} ({message})")
        for name, read, value in self._readings:
            now = _answer_of(read)
            if now != value:
                problems.append(f"{name} ({value} before, {now} now)"[:_MOST_PROBLEM_CHARACTERS])
        return tuple(problems)

    def _restore_directory(self) -> None:
        if self.directory and _directory() != self.directory:
            Original.chdir(self.directory)

    def _restore_environment(self) -> None:
        if self._environ == RAW_ENVIRONMENT:
            return
        zone = os.environ.get("TZ")
        for name in RAW_ENVIRONMENT.keys() - self._environ.keys():
            del os.environ[decoded(name)]
        for name, value in self._environ.items():
            if RAW_ENVIRONMENT.get(name) != value:
                os.environ[decoded(name)] = decoded(value)
        if zone != os.environ.get("TZ"):
            time.tzset()

    def _restore_signals(self) -> None:
        for number, handler in zip(_NUMBERS, self._signals, strict=False):
            # None is a handler that C code has set, which Python cannot set again.
            if signal_handler(number) != handler and handler is not None:
                signal.signal(number, handler)

    def _restore_lists(self) -> None:
        for entries, before in self._lists:
            if entries != before:
                entries[:] = before

    def _restore_modules(self) -> None:
        """What was imported since may stay, as it does after any test."""
        is_same = len(self._modules) == len(sys.modules)
        if is_same and all(map(is_, self._modules.values(), sys.modules.values())):
            return
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module

    def _restore_hooks(self) -> None:
        for owner, name, hook in self._hooks:
            setattr(owner, name, hook)

    def _restore_builtins(self) -> None:
        now = vars(builtins)
        is_same = len(now) == len(self._builtins)
        if is_same and all(map(is_, now.values(), self._builtins.values())):
            return
        for name in now.keys() - self._builtins.keys() - {"_"}:
            del now[name]
        now.update(self._builtins)

    def _restore_logging(self) -> None:
        level, handlers, filters = self._root
        logging.root.handlers[:], logging.root.filters[:] = handlers, filters
        if logging.root.level != level:
            logging.root.setLevel(level)

    def _restore_tracing(self) -> None:
        if tracemalloc.is_tracing() and not self._is_tracing:
            tracemalloc.stop()
        elif self._is_tracing and not tracemalloc.is_tracing():
            tracemalloc.start()

    def _restore_numpy(self) -> None:
        if self._numpy is not None:
            sys.modules["numpy.random"].set_state(self._numpy)


def _restorer(
    read: Callable[[], Any], write: Callable[[Any], Any], value: Any
) -> Callable[[], None]:
    def restore() -> None:
        if read() != value:
            write(value)

    return restore


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _directory() -> str:
    try:
        return Original.getcwd()
    except OSError:
        return ""


def _signals() -> list[Any]:
    return [signal_handler(number) for number in _NUMBERS]


def _is_main() -> bool:
    """Only the main thread may set signal handlers."""
    return threading.current_thread() is threading.main_thread()


def _collects(value: bool) -> None:
    (gc.enable if value else gc.disable)()


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _set_locale(value: str) -> None:
    locale.setlocale(locale.LC_ALL, value)


def _mask() -> int:
    """Reading it means to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _limits() -> dict[int, tuple[int, int]]:
    return {number: resource.getrlimit(number) for number in _LIMITS}


def _set_limits(limits: dict[int, tuple[int, int]]) -> None:
    for number, limit in limits.items():
        if resource.getrlimit(number) != limit:
            resource.setrlimit(number, limit)


def _timer() -> bool:
    """Whether an alarm is set; how much of it is left changes all the time."""
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _set_timer(was_set: bool) -> None:
    if not was_set:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _start_method() -> str:
    """That of multiprocessing, where it has been imported and somebody has chosen one."""
    processes: Any = sys.modules.get("multiprocessing")
    return "" if processes is None else str(processes.get_start_method(allow_none=True) or "")


def _set_start_method(method: str) -> None:
    sys.modules["multiprocessing"].set_start_method(method or None, force=True)


def _precision() -> Any:
    """That of ``decimal``, with its rounding."""
    numbers: Any = sys.modules.get("decimal")
    if numbers is None:
        return None
    context = numbers.getcontext()
    return context.prec, context.rounding


def _set_precision(value: Any) -> None:
    context = sys.modules["decimal"].getcontext()
    if value is not None:
        context.prec, context.rounding = value


def _answer_of(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # whatever somebody has put in its place
        return None


_HOOKS: tuple[tuple[Any, str], ...] = (
    (sys, "excepthook"),
    (sys, "displayhook"),
    (sys, "unraisablehook"),
    (sys, "breakpointhook"),
    (threading, "excepthook"),
)
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_AS, resource.RLIMIT_STACK)
_READINGS: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("callbacks of atexit", exit_callbacks),
    ("the user", lambda: (os.getuid(), os.geteuid(), os.getgid(), os.getegid())),
    ("the session and process group", lambda: (os.getsid(0), os.getpgrp())),
    ("the priority", lambda: os.getpriority(os.PRIO_PROCESS, 0)),
    ("the root directory", lambda: _place(Original.stat("/"))),
)
"""What can be read and not set, or not again."""
_NUMBERS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_VALUES: tuple[tuple[str, Callable[[], Any], Callable[[Any], Any]], ...] = (
    ("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    ("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    ("gc.isenabled", gc.isenabled, _collects),
    ("gc.get_threshold", gc.get_threshold, lambda value: gc.set_threshold(*value)),
    ("gc.get_debug", gc.get_debug, gc.set_debug),
    ("random", random.getstate, random.setstate),
    ("the default timeout of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
    ("the locale", _locale, _set_locale),
    ("the umask", _mask, os.umask),
    ("resource limits", _limits, _set_limits),
    ("the alarm", _timer, _set_timer),
    ("the start method of multiprocessing", _start_method, _set_start_method),
    ("the context of decimal", _precision, _set_precision),
    ("logging.disable", lambda: logging.root.manager.disable, logging.disable),
)
"""What has a value that can be read and set: its name, and both."""
