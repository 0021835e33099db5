"""What the standard library keeps for its users, or caches for itself."""

from __future__ import annotations

import abc
import asyncio
import atexit
import codecs
import contextvars
import datetime
import decimal
import functools
import itertools
import json
import logging
import os
import signal
import struct
import sys
import types
import unittest.mock
import warnings
import zoneinfo
from typing import Any

COUNTER = itertools.count()

# ---------------------------------------------------------------- asyncio


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


async def _wait_for_ever() -> None:
    await asyncio.Event().wait()


async def _start() -> None:
    PENDING.append(asyncio.get_running_loop().create_task(_wait_for_ever()))
    await asyncio.sleep(0)


PENDING: list[asyncio.Task[None]] = []


def leak_pending_task() -> None:
    _loop().run_until_complete(_start())


async def _nothing() -> bytes:
    return bytes(100)


async def _finish() -> None:
    task = asyncio.get_running_loop().create_task(_nothing())
    await task
    FINISHED.append(task)


FINISHED: list[asyncio.Task[bytes]] = []


def leak_finished_task_kept() -> None:
    _loop().run_until_complete(_finish())


async def _gather() -> None:
    await asyncio.gather(*(_nothing() for _ in range(10)))


def clean_gather() -> None:
    _loop().run_until_complete(_gather())


async def _cancel() -> None:
    task = asyncio.get_running_loop().create_task(_wait_for_ever())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def clean_cancelled_task() -> None:
    _loop().run_until_complete(_cancel())


# ---------------------------------------------------------------- hooks and registries

REQUEST: contextvars.ContextVar[bytes] = contextvars.ContextVar("request")
CONTEXTS: list[contextvars.Context] = []


def leak_context_of_request() -> None:
    context = contextvars.copy_context()
    context.run(REQUEST.set, bytes(400))
    CONTEXTS.append(context)


def clean_context_variable_reset() -> None:
    token = REQUEST.set(bytes(400))
    REQUEST.reset(token)


def leak_atexit() -> None:
    atexit.register(len, bytes(130))


def leak_signal_chain() -> None:
    previous = signal.getsignal(signal.SIGUSR2)

    def handle(number: int, frame: types.FrameType | None) -> None:
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGUSR2, handle)


def clean_signal_handler() -> None:
    signal.signal(signal.SIGUSR1, lambda number, frame: None)


def leak_excepthook_chain() -> None:
    previous = sys.excepthook

    def report(kind: Any, error: Any, trace: Any) -> None:
        previous(kind, error, trace)

    sys.excepthook = report


def leak_environment() -> None:
    os.environ[f"LEAKGUARD_OWN_{next(COUNTER)}"] = "x" * 100


def clean_environment() -> None:
    os.environ["LEAKGUARD_OWN_SAME"] = "x" * 100


NAMES: list[str] = []


def leak_interned_names() -> None:
    NAMES.append(sys.intern(f"field_{next(COUNTER)}_of_form"))


def leak_module_made_by_exec() -> None:
    module = types.ModuleType(f"made_{next(COUNTER)}")
    exec("def area(x):\n    return x * x\n", module.__dict__)
    sys.modules[module.__name__] = module


def clean_module_made_by_exec() -> None:
    module = types.ModuleType("made")
    exec("def area(x):\n    return x * x\n", module.__dict__)
    assert module.area(3) == 9


LOGGER = logging.getLogger("own_set.shop")
LOGGER.propagate = False


def leak_logging_handler() -> None:
    LOGGER.addHandler(logging.NullHandler())


def leak_logger_per_request() -> None:
    logging.getLogger(f"own_set.request.{next(COUNTER)}")


def clean_logging_handler_removed() -> None:
    handler = logging.NullHandler()
    LOGGER.addHandler(handler)
    LOGGER.removeHandler(handler)
    handler.close()


@functools.singledispatch
def shown(value: object) -> str:
    return "?"


def leak_singledispatch_registration() -> None:
    shown.register(type("Local", (), {}), lambda value: "local")


def leak_codec_search_function() -> None:
    codecs.register(lambda name: None)


SENDER = unittest.mock.Mock()


def clean_mock_of_module() -> None:
    SENDER("message", number=next(COUNTER))


class Mailer:
    def send(self, text: str) -> str:
        return text


def clean_patched() -> None:
    with unittest.mock.patch.object(Mailer, "send", return_value="sent") as send:
        assert Mailer().send("x") == "sent"
        send.assert_called_once()


# ---------------------------------------------------------------- caches of the library


def clean_same_warning() -> None:
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        warnings.warn("always the same", stacklevel=1)


def clean_codecs_and_structs() -> None:
    name = ("utf-8", "latin-1", "utf-16", "cp1252")[next(COUNTER) % 4]
    "text".encode(name)
    struct.pack(f"{next(COUNTER) % 300 + 1}s", b"x")


class Encoder(json.JSONEncoder):
    def default(self, value: object) -> object:
        return str(value)


def clean_json_encoder() -> None:
    text = json.dumps({"a": {1, 2}, "b": list(range(50))}, cls=Encoder, indent=1)
    assert json.loads(text)["b"][-1] == 49


def clean_decimal_context() -> None:
    with decimal.localcontext() as context:
        context.prec = 20 + next(COUNTER) % 30
        decimal.Decimal(2).sqrt()


ZONES = ("UTC", "Europe/Paris", "Asia/Tokyo", "America/Lima", "Africa/Cairo")


def clean_time_zones() -> None:
    zone = zoneinfo.ZoneInfo(ZONES[next(COUNTER) % len(ZONES)])
    moment = datetime.datetime(2024, 1, 1 + next(COUNTER) % 28, tzinfo=zone)
    datetime.datetime.strptime(moment.strftime("%Y-%m-%d"), "%Y-%m-%d")


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


def clean_instance_check_of_new_class() -> None:
    assert not isinstance(type("Local", (), {})(), Shape)


def clean_import_on_first_use() -> None:
    import colorsys

    colorsys.rgb_to_hls(0.1, 0.2, 0.3)


@functools.cache
def _numpy() -> Any:
    import numpy

    return numpy


ARRAYS: list[Any] = []


def leak_numpy_array() -> None:
    ARRAYS.append(_numpy().ones(1000))


def clean_numpy_sorted() -> None:
    numpy = _numpy()
    values = numpy.random.default_rng(next(COUNTER)).random(1000)
    assert numpy.sort(values)[0] < 1
