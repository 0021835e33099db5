"""A service for tests that leaks in one of several ways, standard library only."""

from __future__ import annotations

import asyncio
import ctypes
import email
import functools
import http.server
import io
import logging
import mmap
import os
import sys
import threading
from typing import Any, ClassVar


class Order:
    def __init__(self, number: int) -> None:
        self.number = number
        self.text = f"order {number} " * 20


class Store:
    by_key: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, str]] = {}


SEEN: list[Any] = []
STORE = Store()
HANDLERS = logging.getLogger("orders")
LOOP = asyncio.new_event_loop()
LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [ctypes.c_size_t]


def append(number: int) -> None:
    SEEN.append(bytes(4096))  # LINE append


def session(number: int) -> None:
    STORE.sessions[f"session-{number}"] = {"user": f"user {number} " * 10}  # LINE session


def class_dict(number: int) -> None:
    Store.by_key[f"key {number}"] = Order(number)  # LINE class_dict


def handler(number: int) -> None:
    HANDLERS.addHandler(logging.NullHandler())  # LINE handler


@functools.cache
def price(number: int) -> str:
    return f"{number} EUR " * 50  # LINE lru


def lru(number: int) -> None:
    price(number)


@functools.lru_cache(maxsize=600)
def small_price(number: int) -> str:
    return f"{number} EUR " * 50


def small_lru(number: int) -> None:
    small_price(number)


@functools.lru_cache(maxsize=50_000)
def large_price(number: int) -> str:
    return f"{number} EUR " * 50


def large_lru(number: int) -> None:
    large_price(number)


async def wait_for_ever(number: int) -> None:
    await asyncio.Event().wait()


def task(number: int) -> None:
    made = LOOP.call_soon_threadsafe(add_task, number)
    del made


TASKS: set[Any] = set()


def add_task(number: int) -> None:
    TASKS.add(LOOP.create_task(wait_for_ever(number)))  # LINE task


def nested(number: int) -> None:
    if number % 10 == 0:
        SEEN.append({"orders": [Order(number + i) for i in range(10)]})  # LINE nested


def thread(number: int) -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()  # LINE thread


def opened(number: int) -> None:
    SEEN.append(open(os.devnull))  # noqa: SIM115  # LINE opened


def descriptor(number: int) -> None:
    os.open(os.devnull, os.O_RDONLY)  # LINE descriptor


def child(number: int) -> None:
    if number % 20 == 0:
        os.posix_spawn("/bin/sleep", ["sleep", "300"], os.environ)  # LINE child


def ended_child(number: int) -> None:
    if number % 10 == 0 and os.fork() == 0:  # LINE ended_child
        os._exit(0)


BUFFERS: list[mmap.mmap] = []


def mapped(number: int) -> None:
    BUFFERS.append(mmap.mmap(-1, 16384))  # LINE mapped
    BUFFERS[-1].write(b"x" * 16384)


COUNTS: dict[tuple[str, str], list[int]] = {}


def keyed(number: int) -> None:
    """Nearly all that it keeps are the keys."""
    key = ("requests", f"order {number} " * 30)
    COUNTS.setdefault(key, [0])[0] += 1  # LINE keyed


LOG = io.StringIO()


def written(number: int) -> None:
    LOG.write(f"order {number + 100_000} was served to somebody\n")  # LINE written


LISTENERS: list[Any] = []


def listener(number: int) -> None:
    """What it keeps is made by a library, below a closure."""
    message = email.message_from_string("Subject: order\n\n" + "text " * 800)

    def listen() -> Any:  # LINE listener
        return message

    LISTENERS.append(listen)
    del listen


def native(number: int) -> None:
    LIBC.malloc(4096)  # LINE native


def clean(number: int) -> None:
    len(b"x" * 4096)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0

    def do_GET(self) -> None:
        if self.path.startswith("/orders"):
            Handler.served += 1
            globals()[sys.argv[2]](Handler.served)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


if __name__ == "__main__":
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
