"""A container says how much it will hold, or its source says that it never gives back."""

from __future__ import annotations

import collections
import functools
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain.open_ended import LEAST_GROWTH, Lengths

GROWTH = 4 * LEAST_GROWTH
Keep = Callable[[int], object]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module that has this source."""

    def imported(source: str) -> Any:
        module = types.ModuleType("shop_of_test")
        module.__file__ = str(tmp_path / "shop.py")
        Path(module.__file__).write_text(source)
        monkeypatch.setitem(sys.modules, "shop_of_test", module)
        exec(compile(source, module.__file__, "exec"), module.__dict__)
        return module

    yield imported


def asked(keep: Keep) -> dict[str, Any]:
    """What is told of the container that took entries between two questions."""
    lengths = Lengths()
    keep(-1)
    lengths.grown()
    for number in range(GROWTH):
        keep(number)
    return next(one for one in lengths.grown() if one["growth"] == GROWTH)


OPEN = [
    "SEEN = []\ndef keep(n): SEEN.append(f'order {n}')\n",
    "SEEN = {}\ndef keep(n): SEEN[n] = f'order {n}'\n",
    "SEEN = set()\ndef keep(n): SEEN.add(f'order {n}')\n",
    "class Shop:\n    def __init__(self): self.shop_rows = {}\n"
    "    def add(self, n): self.shop_rows[n] = [n]\nSHOP = Shop()\ndef keep(n): SHOP.add(n)\n",
    "class Shop:\n    def __init__(self): self.shop_rows = {}\n"
    "    def add(self, n): self.shop_rows[n] = f'order {n}'\nSHOP = Shop()\ndef keep(n): SHOP.add(n)\n",
    "class Shop:\n    def __init__(self, name): self.name, self.shop_rows = name, {}\n"
    "    def add(self, n): self.shop_rows[n] = [n]\nSHOP = Shop('a')\ndef keep(n): SHOP.add(n)\n",
    "import functools\n@functools.lru_cache(None)\ndef price(n): return f'order {n}'\n"
    "def keep(n): price(n)\n",
    "def make():\n    seen = []\n    return lambda n: seen.append(n)\nkeep = make()\n",
    "SEEN = []\ndef keep(n):\n    rows = SEEN\n    rows.append(n)\n    return len(rows)\n",
    "SEEN = {}\ndef keep(n):\n    if n not in SEEN: SEEN[n] = [n]\n"
    "    return [row for row in SEEN.values()]\n",
]


@pytest.mark.parametrize("source", OPEN)
def test_what_never_gives_back_has_no_end(shop: Callable[[str], Any], source: str) -> None:
    told = asked(shop(source).keep)
    assert (told["is_open"], told["most"]) == (True, 0)


LIMITED = [
    "import functools\n@functools.lru_cache(700)\ndef keep(n): return f'order {n}'\n",
    "from collections import deque\nLAST = deque(maxlen=700)\n"
    "def keep(n): LAST.append(f'order {n}')\n",
    "SEEN = {}\ndef keep(n):\n    SEEN[n] = f'order {n}'\n    if len(SEEN) > 700: SEEN.popitem()\n",
    "class Shop:\n    def __init__(self, limit): self.limit, self.shop_rows = limit, {}\n"
    "    def add(self, n):\n        self.shop_rows[n] = [n]\n"
    "        if len(self.shop_rows) > self.limit: self.shop_rows.popitem()\n"
    "SHOP = Shop(700)\ndef keep(n): SHOP.add(n)\n",
]


@pytest.mark.parametrize("source", LIMITED)
def test_what_has_a_limit_says_it(shop: Callable[[str], Any], source: str) -> None:
    told = asked(shop(source).keep)
    assert (told["is_open"], told["most"]) == (False, 700)
    assert "700" in told["why"]
    assert told["held_by"]


def test_a_limit_that_is_exceeded_is_none(shop: Callable[[str], Any]) -> None:
    source = "SEEN = []\ndef keep(n): SEEN.append(f'order {n}')\n"
    source += "def trim(): del SEEN[:-%d]\n"
    assert asked(shop(source % 700).keep)["most"] == 700
    linecache.clearcache()
    told = asked(shop(source % (GROWTH // 4)).keep)
    assert (told["is_open"], told["most"]) == (False, 0)


UNKNOWN = [
    "SEEN = []\ndef keep(n): SEEN.append(n); tidy(SEEN)\ndef tidy(rows): pass\n",
    "SEEN = []\ndef keep(n): SEEN.append(n)\ndef rows(): return SEEN\n",
    "SEEN = {}\ndef keep(n): SEEN[n] = n\ndef expire(n): del SEEN[n]\n",
    "def make():\n    seen = []\n    return seen, lambda n: seen.append(n)\nSEEN, keep = make()\n",
    "SEEN = []\ndef keep(n): SEEN.append(n)\n"
    "def expire(n):\n    rows, at = SEEN, n\n    rows.pop(at)\n",
    "SEEN = []\nTABLES = [SEEN]\ndef keep(n): SEEN.append(n)\n"
    "def expire():\n    for rows in TABLES: rows.clear()\n",
    "import threading\nSEEN = []\ndef keep(n): SEEN.append(n)\n"
    "def expire(rows): rows.clear()\n"
    "TIMER = threading.Timer(60, expire, args=(SEEN,))\n",
    "SEEN = set()\ndef keep(n): SEEN.add(n)\ndef expire(old):\n    global SEEN\n    SEEN -= old\n",
    "SEEN = []\ndef keep(n): SEEN.append(n)\nrows = lambda: SEEN\n",
    "import functools\n@functools.cache\ndef price(n): return f'order {n}'\n"
    "def keep(n): price(n)\ndef expire(): price.cache_clear()\n",
    "class Shop:\n    def __init__(self): self.day, self.shop_rows = 0, {}\n"
    "    def add(self, n): self.shop_rows[n] = [n]\n"
    "    def next(self): self.day, self.shop_rows = self.day + 1, {}\n"
    "SHOP = Shop()\ndef keep(n): SHOP.add(n)\n",
    "BY_DAY = {'today': []}\ndef keep(n): BY_DAY['today'].append(n)\n"
    "def expire():\n    for rows in BY_DAY.values(): rows.clear()\n",
]


@pytest.mark.parametrize("source", UNKNOWN)
def test_what_others_may_empty_is_neither(shop: Callable[[str], Any], source: str) -> None:
    told = asked(shop(source).keep)
    assert (told["is_open"], told["most"]) == (False, 0)


def test_lengths_keep_nothing_alive() -> None:
    class Kept(list[int]):
        pass

    kept = Kept(range(100))
    lengths = Lengths()
    lengths.grown()
    before = sys.getrefcount(kept)
    kept.extend(range(100))
    lengths.grown()
    assert sys.getrefcount(kept) == before


CACHE = functools.lru_cache(maxsize=5)(str)
LAST: collections.deque[int] = collections.deque(maxlen=5)


def test_what_is_full_does_not_grow() -> None:
    lengths = Lengths()
    lengths.grown()
    for number in range(100):
        CACHE(number)
        LAST.append(number)
    assert not [one for one in lengths.grown() if one["most"] == 5]


def test_a_container_of_a_class_is_found_by_its_name_there(shop: Callable[[str], Any]) -> None:
    source = "class Shop:\n    shop_rows = {}\ndef keep(n): Shop.shop_rows[n] = [n]\n"
    assert asked(shop(source).keep)["is_open"]
    linecache.clearcache()
    source += "def expire(n): Shop.shop_rows.pop(n)\n"
    assert not asked(shop(source).keep)["is_open"]


def test_what_looks_is_not_looked_at() -> None:
    from pytest_leakguard.explain import code_owner

    lengths = Lengths()
    lengths.grown()
    for number in range(GROWTH):
        code_owner.owner(f"/nowhere/shop{number}.py")
    assert not [one for one in lengths.grown() if one["growth"] == GROWTH]


@pytest.mark.parametrize(
    "expire",
    [
        "import shop\ndef expire(n): shop.STORE.shop_rows.pop(n)\n",
        "def expire():\n    from shop import STORE\n    for n in list(STORE.shop_rows): del STORE.shop_rows[n]\n",
        "import shop\ndef expire(tidy): tidy(shop.STORE.shop_rows)\n",
    ],
)
def test_what_another_module_may_empty_is_not_open(
    shop: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expire: str
) -> None:
    source = (
        "class Store:\n    def __init__(self): self.shop_rows = {}\n"
        "STORE = Store()\ndef keep(n): STORE.shop_rows[n] = [n]\n"
    )
    keep = shop(source).keep
    assert asked(keep)["is_open"]
    other = types.ModuleType("cleaner_of_test")
    other.__file__ = str(tmp_path / "cleaner.py")
    Path(other.__file__).write_text(expire)
    monkeypatch.setitem(sys.modules, "cleaner_of_test", other)
    keep(GROWTH + 1)
    assert not asked(shop(source).keep)["is_open"]


def test_a_limit_that_is_exceeded_by_far_leaves_what_the_source_says(
    shop: Callable[[str], Any],
) -> None:
    source = (
        "class Store:\n    limit = 5\n    def __init__(self): self.shop_rows = {}\n"
        "    def keep(self, n): self.shop_rows[n] = [n]\n"
    )
    assert asked(shop(source + "STORE = Store()\nkeep = STORE.keep\n").keep)["is_open"]
    linecache.clearcache()
    source += "    def expire(self, n): self.shop_rows.pop(n)\nSTORE = Store()\nkeep = STORE.keep\n"
    told = asked(shop(source).keep)
    assert (told["is_open"], told["most"]) == (False, 0)
