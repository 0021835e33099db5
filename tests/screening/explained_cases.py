"""Small functions with one leak each, to see that line and holder are named right, and for good."""

from __future__ import annotations

import array
import asyncio
import atexit
import codecs
import contextvars
import ctypes
import functools
import io
import itertools
import logging
import os
import signal
import sqlite3
import sys
import tempfile
import tracemalloc
import types
import weakref
from typing import Any
from unittest import mock

NUMBERS = itertools.count()
LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
TRACED: list[object] = []
KEEP: list[Any] = []
CACHE: dict[Any, Any] = {}
BUFFER = bytearray()
VALUES = array.array("d")
PRODUCT: list[Any] = []
SPY = mock.Mock()
LOOP = asyncio.new_event_loop()
CURRENT = contextvars.ContextVar[Any]("current")


class Order:
    """What is lost."""


ANCHOR = Order()
INDEX = weakref.WeakSet[Any]()
RUNS: Any = weakref.WeakKeyDictionary()


class Node:
    """A link."""

    def __init__(self, following: Any) -> None:
        self.next = following


FIRST = LAST = Node(None)


class Hostile:
    """Whatever it is asked runs its code."""

    def _ran(self, *args: Any) -> Any:
        print("RAN somebody's code")
        raise RuntimeError("ran")

    __getattribute__ = __eq__ = __hash__ = __repr__ = __bool__ = __len__ = __sizeof__ = _ran
    __class__ = property(_ran)


class Native:
    """A small object that keeps much memory of a library."""

    def __init__(self) -> None:
        self.address = LIBC.malloc(100_000)


def hostile() -> None:
    KEEP.append(Hostile())


def class_per_run() -> None:
    KEEP.append(type(f"Model{next(NUMBERS)}", (Order,), {})())


def module_per_run() -> None:
    module = types.ModuleType(f"plugin_{next(NUMBERS)}")
    exec("class Plugin: pass", module.__dict__)
    sys.modules[module.__name__] = module


def keyed() -> None:
    CACHE[f"order-{next(NUMBERS)}"] = Order()


def logger_per_run() -> None:
    logging.getLogger(f"connection.{next(NUMBERS)}")


def beside_a_weak_set() -> None:
    order = Order()
    INDEX.add(order)
    KEEP.append(order)


def weak_keys_strong_values() -> None:
    RUNS.setdefault(ANCHOR, []).append(Order())


def linked() -> None:
    global LAST
    LAST.next = Node(None)
    LAST = LAST.next


def hooks() -> None:
    before = sys.excepthook
    sys.excepthook = lambda *args: before(*args)


def handlers() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, lambda *args: before)


TEXT = {"all": ""}
PAIRS: tuple[bool, ...] = ()


def text_grows() -> None:
    """One text in the place of another, and longer each time."""
    TEXT["all"] += "an order, "


def tuple_grows() -> None:
    global PAIRS
    PAIRS += (True, False)


LOG = logging.getLogger("shop.orders")
LOG.propagate = False


def stream_handlers() -> None:
    """Each has a text of its own, which compiled code keeps and which later runs make longer."""
    LOG.addHandler(logging.StreamHandler(io.StringIO()))
    LOG.warning("an order")


def at_exit() -> None:
    atexit.register(functools.partial(id, Order()))


def codec_search() -> None:
    codecs.register(lambda name: None)


def codec_errors() -> None:
    codecs.register_error(f"skip-{next(NUMBERS)}", lambda problem: ("", 0))


def code() -> None:
    """Made and run anew each time."""
    inside: dict[str, Any] = {}
    exec("def run(): pass", inside)
    inside["run"]()
    KEEP.append(inside["run"])


def watched_code() -> None:
    """The same after somebody has looked at what the process calls."""
    sys.setprofile(lambda *_: None)
    sys.setprofile(None)
    code()


DATABASE = sqlite3.connect(":memory:")
DATABASE.execute("CREATE TABLE orders (text TEXT)")


def rows() -> None:
    """A page of the database in every sixth run, beside cursors that are pruned."""
    DATABASE.execute("INSERT INTO orders VALUES (?)", ("x" * 600,))
    DATABASE.commit()


def temporary_file() -> None:
    descriptor, _ = tempfile.mkstemp()
    os.close(descriptor)


def context() -> None:
    made = contextvars.Context()
    made.run(CURRENT.set, Order())
    KEEP.append(made)


def buffer() -> None:
    BUFFER.extend(b"x" * 200)


def values() -> None:
    VALUES.extend([1.0] * 30)


async def wait() -> None:
    await asyncio.sleep(3600)


async def start() -> None:
    KEEP.append(asyncio.create_task(wait()))


def task() -> None:
    LOOP.run_until_complete(start())


def native() -> None:
    KEEP.append(Native())


def descriptor() -> None:
    closed = os.open(os.devnull, os.O_RDONLY)
    os.open("/dev/zero", os.O_RDONLY)
    os.close(closed)


def native_line() -> None:
    freed = LIBC.malloc(500)
    LIBC.malloc(500)
    LIBC.free(ctypes.c_void_p(freed))


def rare() -> None:
    if next(NUMBERS) % 40 == 0:
        KEEP.append(Order())


def recorded_and_kept() -> None:
    order = Order()
    SPY.send(order)
    PRODUCT.append(order)


def only_recorded() -> None:
    SPY.send(Order())


def environment() -> None:
    os.environ[f"NEW_{next(NUMBERS)}"] = "x"


def traces() -> None:
    tracemalloc.start()
    TRACED[:] = [Order()]
    tracemalloc.stop()


def traces_and_loses() -> None:
    traces()
    LIBC.malloc(600)


def unknown_list() -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object([0]))


def unknown_dict() -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object({"plain": 2}))
