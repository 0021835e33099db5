"""Caches, pools and buffers: with a bound they are clean, however large it is."""

from __future__ import annotations

import functools
import itertools
import random
import re
import time
from collections import OrderedDict, deque
from string import ascii_lowercase
from typing import Any

COUNTER = itertools.count()
RANDOM = random.Random(8)


class Prices:
    """A service whose method is cached for each instance."""

    def __init__(self) -> None:
        self.price = functools.lru_cache(maxsize=2000)(self._price)

    def _price(self, number: int) -> str:
        return f"price {number}"


PRICES = Prices()


def clean_lru_cache_per_instance() -> None:
    PRICES.price(next(COUNTER))


class Taxes:
    @functools.lru_cache(maxsize=None)  # noqa: B019, UP033 - that it keeps every instance is the leak
    def tax(self, number: int) -> list[int]:
        return [number] * 20


def leak_lru_cache_keeps_instances() -> None:
    Taxes().tax(3)


@functools.cache
def spelled(number: int) -> str:
    return f"number {number}"


def leak_cache_without_limit() -> None:
    spelled(next(COUNTER))


@functools.lru_cache(maxsize=10_000)
def rounded(number: int) -> list[int]:
    return [number]


def clean_lru_cache_10_000() -> None:
    rounded(next(COUNTER))


CLEARED: dict[int, bytes] = {}


def clean_dict_cleared_at_4000() -> None:
    CLEARED[next(COUNTER)] = bytes(20)
    if len(CLEARED) >= 4000:
        CLEARED.clear()


MEMO: dict[int, str] = {}


def clean_memo_of_4000_random_keys() -> None:
    key = RANDOM.randrange(4000)
    if key not in MEMO:
        MEMO[key] = f"value {key}"


class Lru(OrderedDict[int, bytes]):
    def __init__(self, maxsize: float) -> None:
        super().__init__()
        self.maxsize = maxsize

    def put(self, key: int, value: bytes) -> None:
        self[key] = value
        if len(self) > self.maxsize:
            self.popitem(last=False)


KNOWN = Lru(6000)
BROKEN = Lru(float("inf"))


def clean_ordered_dict_of_6000() -> None:
    KNOWN.put(next(COUNTER), bytes(40))


def leak_ordered_dict_never_evicts() -> None:
    BROKEN.put(next(COUNTER), bytes(40))


EXPIRING: dict[int, tuple[float, bytes]] = {}


def clean_ttl_swept() -> None:
    now = time.monotonic()
    EXPIRING[next(COUNTER)] = (now + 0.03, bytes(30))
    for key in [key for key, (end, _) in EXPIRING.items() if end < now]:
        del EXPIRING[key]


UNSWEPT: dict[int, tuple[float, bytes]] = {}


def leak_ttl_expired_only_when_read() -> None:
    UNSWEPT[next(COUNTER)] = (time.monotonic(), bytes(30))


RING: list[bytes | None] = [None] * 500
_at = 0


def clean_ring_buffer() -> None:
    global _at
    RING[_at] = bytes(64)
    _at = (_at + 1) % len(RING)


RECENT: deque[bytes] = deque(maxlen=300)


def clean_deque_of_300() -> None:
    RECENT.append(bytes(100))


HISTORY: deque[bytes] = deque(maxlen=20_000)


def clean_deque_of_20_000() -> None:
    HISTORY.append(bytes(100))


POOL: list[bytearray] = []


def clean_pool_of_buffers() -> None:
    buffer = POOL.pop() if POOL else bytearray(500)
    buffer[0] = 1
    POOL.append(buffer)


YOUNG: dict[int, bytes] = {}
OLD: dict[int, bytes] = {}


def clean_cache_of_two_generations() -> None:
    global YOUNG, OLD
    YOUNG[next(COUNTER)] = bytes(70)
    if len(YOUNG) >= 150:
        YOUNG, OLD = {}, YOUNG


TRIMMED: list[object] = []


def clean_history_trimmed() -> None:
    TRIMMED.append(object())
    del TRIMMED[:-250]


def clean_re_cache() -> None:
    re.compile(f"a{{{next(COUNTER)}}}b")


RESERVOIR: list[str] = []


def clean_reservoir_of_50() -> None:
    number = next(COUNTER)
    if len(RESERVOIR) < 50:
        RESERVOIR.append(str(number))
    else:
        at = RANDOM.randrange(number)
        if at < 50:
            RESERVOIR[at] = str(number)


FILLED: dict[int, bytes] = {}
SEEN = itertools.count(1)


def clean_logarithmic_fill() -> None:
    number = next(SEEN)
    if number & (number - 1) == 0:
        FILLED[number] = bytes(40)


@functools.cache
def _packages() -> dict[str, Any]:
    """What other packages bring; imported by the functions that need it alone."""
    import cachetools

    return {
        "lru": cachetools.LRUCache(5000),
        "ttl": cachetools.TTLCache(maxsize=3000, ttl=3600),
    }


def clean_cachetools_lru_5000() -> None:
    _packages()["lru"][next(COUNTER)] = bytes(30)


def clean_cachetools_ttl_3000() -> None:
    _packages()["ttl"][next(COUNTER)] = bytes(30)


@functools.cache
def _engine() -> Any:
    import sqlalchemy

    return sqlalchemy.create_engine("sqlite://")


def clean_sqlalchemy_compiled_cache() -> None:
    """A statement that has not been there yet; new names would be kept for ever for quoting."""
    import sqlalchemy

    number = next(COUNTER)
    labels = [ascii_lowercase[number // place % 26] for place in (1, 26, 676)]
    with _engine().connect() as connection:
        statement = sqlalchemy.select(*[sqlalchemy.literal(1).label(label) for label in labels])
        assert connection.execute(statement).scalar() == 1
