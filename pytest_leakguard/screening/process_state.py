"""The state of this process that a test may change, as it was, so that runs of ours change it for nobody."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without an enum for every answer: a tenth of the time
import contextlib
import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from operator import is_
from typing import Any


class Surroundings:
    """As they are when this is made. ``restore`` changes only what differs, and never raises."""

    def __init__(self) -> None:
        self.directory = _directory()
        self._environ = dict(_RAW)
        self._signals = [_signal.getsignal(number) for number in _NUMBERS] if _is_main() else []
        lists: tuple[list[Any], ...] = (sys.path, sys.meta_path, sys.path_hooks, sys.argv)
        self._lists = [(one, list(one)) for one in lists]
        self._modules = dict(sys.modules)
        self._hooks = {
            name: getattr(sys, name) for name in ("excepthook", "displayhook", "unraisablehook")
        }
        self._values = [(read, write, read()) for read, write in _VALUES]
        self._root = (logging.root.level, list(logging.root.handlers), list(logging.root.filters))
        self._is_tracing = tracemalloc.is_tracing()
        numpy: Any = sys.modules.get("numpy.random")
        self._numpy = numpy.get_state() if hasattr(numpy, "get_state") else None

    def enter_directory(self) -> None:
        """The working directory as it was, where it still exists."""
        if self.directory:
            with contextlib.suppress(OSError):
                os.chdir(self.directory)

    def restore(self) -> None:
        """Puts back what is different by now."""
        self.enter_directory()
        for step in (
            self._restore_environment,
            self._restore_signals,
            self._restore_lists,
            self._restore_values,
            self._restore_logging,
            self._restore_tracing,
            self._restore_numpy,
        ):
            with contextlib.suppress(Exception):
                step()

    def _restore_environment(self) -> None:
        if self._environ == _RAW:
            return
        zone, decode = os.environ.get("TZ"), getattr(os.environ, "decodevalue", str)
        for name in _RAW.keys() - self._environ.keys():
            del os.environ[decode(name)]
        for name, value in self._environ.items():
            if _RAW.get(name) != value:
                os.environ[decode(name)] = decode(value)
        if zone != os.environ.get("TZ"):
            time.tzset()

    def _restore_signals(self) -> None:
        for number, handler in zip(_NUMBERS, self._signals, strict=False):
            if _signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)

    def _restore_lists(self) -> None:
        for one, entries in self._lists:
            if one != entries:
                one[:] = entries
        if len(self._modules) != len(sys.modules) or not all(
            map(is_, self._modules.values(), sys.modules.values())
        ):
            for (
                name,
                module,
            ) in self._modules.items():  # what was imported since may stay, as in any test
                if sys.modules.get(name) is not module:
                    sys.modules[name] = module
        for name, hook in self._hooks.items():
            setattr(sys, name, hook)

    def _restore_values(self) -> None:
        for read, write, value in self._values:
            if read() != value:
                write(value)

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


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # pathlib interns what it sees
    except OSError:
        return ""


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _collects(value: bool) -> None:
    (gc.enable if value else gc.disable)()


_RAW: Any = getattr(os.environ, "_data", os.environ)
"""Without the decoding of every name, which takes longer than all else here."""
_NUMBERS = tuple(sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
_VALUES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (gc.isenabled, _collects),
    (gc.get_threshold, lambda value: gc.set_threshold(*value)),
    (gc.get_debug, gc.set_debug),
    (random.getstate, random.setstate),
    (socket.getdefaulttimeout, socket.setdefaulttimeout),
    (lambda: locale.setlocale(locale.LC_ALL), lambda value: locale.setlocale(locale.LC_ALL, value)),
    (lambda: logging.root.manager.disable, logging.disable),
)
