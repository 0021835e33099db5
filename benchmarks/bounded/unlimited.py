"""Keeps orders, each way without end."""

import collections
import functools
import os
from typing import Any

LAST: collections.deque[str] = collections.deque()
ORDERS: dict[int, str] = {}
RECENT: list[str] = []


class Sessions:
    def __init__(self) -> None:
        self.entries: collections.OrderedDict[int, Any] = collections.OrderedDict()

    def add(self, number: int) -> None:
        self.entries[number] = {"user": f"user {number} " * 10}


SESSIONS = Sessions()


@functools.cache
def price(number: int) -> str:
    return f"{number} EUR " * 20


SIZE = int(os.environ.get("SIZE", "0"))


def in_bytes(number: int) -> None:
    RECENT.append("x" * SIZE + chr(0x61 + number % 20))  # a single letter would be the same one


def in_nothing(number: int) -> None:
    """Clean."""


def in_lru_cache(number: int) -> None:
    price(number)


def in_deque(number: int) -> None:
    LAST.append(f"order {number} " * 20)


def in_sessions(number: int) -> None:
    SESSIONS.add(number)


def in_dict(number: int) -> None:
    ORDERS[number] = f"order {number} " * 20


def in_list(number: int) -> None:
    RECENT.append(f"order {number} " * 20)
