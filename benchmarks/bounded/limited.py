"""Keeps orders, each way with a limit."""

import collections
import functools
import os
from typing import Any

LIMIT = int(os.environ["LIMIT"])
LAST: collections.deque[str] = collections.deque(maxlen=LIMIT)
ORDERS: dict[int, str] = {}
RECENT: list[str] = []


class Sessions:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: collections.OrderedDict[int, Any] = collections.OrderedDict()

    def add(self, number: int) -> None:
        self.entries[number] = {"user": f"user {number} " * 10}
        if len(self.entries) > self.limit:
            self.entries.popitem(last=False)


SESSIONS = Sessions(LIMIT)


@functools.lru_cache(maxsize=LIMIT)
def price(number: int) -> str:
    return f"{number} EUR " * 20


def in_lru_cache(number: int) -> None:
    price(number)


def in_deque(number: int) -> None:
    LAST.append(f"order {number} " * 20)


def in_sessions(number: int) -> None:
    SESSIONS.add(number)


def in_dict(number: int) -> None:
    ORDERS[number] = f"order {number} " * 20
    while len(ORDERS) > LIMIT:
        del ORDERS[next(iter(ORDERS))]


def in_list(number: int) -> None:
    RECENT.append(f"order {number} " * 20)
    if len(RECENT) > LIMIT:
        RECENT.pop(0)
