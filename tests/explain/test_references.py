"""The chain from a root down to an object: complete, always the same, and found without its code."""

from __future__ import annotations

import contextvars
import functools
import signal
import subprocess
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from pytest_leakguard.explain.kinds import is_test_double
from pytest_leakguard.explain.path_words import Growth
from pytest_leakguard.explain.references import path_to, path_without
from pytest_leakguard.explain.roots import UNKNOWN


class Order:
    """What is held."""


class Node:
    """One link of a list that is linked by hand."""

    def __init__(self, following: Any) -> None:
        self.next = following


def shop() -> Any:
    """A module that holds things, of which nothing else knows."""
    return sys.modules["shop"]


@pytest.fixture(autouse=True)
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType("shop")
    sys.modules["shop"] = made
    yield made
    del sys.modules["shop"]


def in_a_dict() -> Any:
    shop().ROWS = {"late": {"inner": [Order()]}}
    return lambda: shop().ROWS["late"]["inner"][0]


def in_an_attribute() -> Any:
    shop().APP = types.SimpleNamespace(orders=[Order()])
    return lambda: shop().APP.orders[0]


def in_a_closure() -> Any:
    def make() -> Callable[[Any], None]:
        seen: list[Any] = [Order()]

        def add(one: Any) -> None:
            seen.append(one)

        return add

    shop().ADD = make()
    return lambda: shop().ADD.__closure__[0].cell_contents[0]


def in_a_default() -> Any:
    exec("def add(one, seen=[]): seen.append(one)", shop().__dict__)
    shop().add(Order())
    return lambda: shop().add.__defaults__[0][0]


def in_a_weak_key_dictionary() -> Any:
    shop().KEY = Order()
    shop().RUNS = weakref.WeakKeyDictionary({shop().KEY: [Order()]})
    return lambda: shop().RUNS[shop().KEY][0]


def in_a_cache() -> Any:
    shop().price = functools.lru_cache(maxsize=None)(lambda number: [number])
    return lambda: shop().price(1)


def in_a_kept_context() -> Any:
    variable = contextvars.ContextVar[Any]("order")
    context = contextvars.Context()
    context.run(variable.set, Order())
    shop().KEPT = [context]
    return lambda: shop().KEPT[0][variable]


def under_a_key_of_plain_values() -> Any:
    shop().PAIRS = {"one": ({"two": b"text" * 100},)}  # the collector knows neither
    return lambda: shop().PAIRS["one"][0]["two"]


PATHS = {
    in_a_dict: 'shop.ROWS["late"]["inner"] (list) -> {here}.Order',
    in_an_attribute: "shop.APP.orders (list) -> {here}.Order",
    in_a_closure: (
        "shop.ADD (function in_a_closure.<locals>.make.<locals>.add) -> "
        "closure variable seen (list) -> {here}.Order"
    ),
    in_a_default: "shop.add (function add) -> default of argument seen (list) -> {here}.Order",
    in_a_weak_key_dictionary: "shop.RUNS.data (dict) -> list -> {here}.Order",
    in_a_kept_context: "shop.KEPT (list) -> _contextvars.Context -> {here}.Order",
    under_a_key_of_plain_values: 'shop.PAIRS["one"] (tuple) -> dict -> ["two"] (bytes)',
}


@pytest.mark.parametrize("hold", PATHS)
def test_the_path_reads_like_code(hold: Callable[[], Any]) -> None:
    path = path_to(hold()())
    assert path.read(Growth()) == PATHS[hold].format(here=__name__)
    assert path.texts[0] == "module shop"
    assert path.is_complete


def test_the_container_that_grows_is_named_with_its_pace() -> None:
    in_a_dict()
    container = shop().ROWS["late"]["inner"]
    path = path_to(container[0])
    growth = Growth(container, "+1 item per run", "shop.Order")
    expected = 'shop.ROWS["late"]["inner"] (list, +1 item per run) -> Order'
    assert path.read(growth) == expected
    assert path.texts_to(growth)[-2:] == ("list inner", "item of type shop.Order")


@pytest.mark.parametrize("links", [20, 3000])
def test_a_chain_of_any_length_leads_to_its_root(links: int) -> None:
    node = last = Node(None)
    for _ in range(links):
        node = Node(node)
    shop().HEAD = node
    del node
    path = path_to(last)
    assert path.texts[:2] == ("module shop", f"{__name__}.Node HEAD")
    assert path.texts[8] == f"{links - 14:,} further steps"
    assert path.read(Growth()).startswith("shop.HEAD.next.next.next (")
    assert "C extension" not in str(path.texts)


def test_a_handler_of_a_signal_is_a_root() -> None:
    kept = [Order()]

    def handler(*_: Any) -> list[Order]:
        return kept

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        order = kept[0]
        del kept[1:], handler
        chain = path_to(order).texts
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert "C extension" not in chain[0]


VARIABLE = contextvars.ContextVar[Any]("request")


def set_in_the_context() -> Any:
    VARIABLE.set(Order())
    return weakref.ref(VARIABLE.get())


def test_a_context_variable_is_a_root() -> None:
    reference = set_in_the_context()
    assert chain_of(reference) == ("context variable request", f"{__name__}.Order")


def test_plain_values_in_a_context_variable_are_found() -> None:
    """The collector does not know a tuple of plain values."""
    VARIABLE.set(tuple(f"value {number}" for number in range(3)))
    chain = path_to(VARIABLE.get()[-1]).texts
    assert chain == ("context variable request", "tuple", "item of type str")


def chain_of(reference: Any) -> tuple[str, ...]:
    """Of what the caller does not hold; a call's own variables are found last of all."""
    return path_to(reference()).texts


def test_a_variable_of_a_call_that_runs_is_a_root() -> None:
    rows = [Order()]
    texts = chain_of(weakref.ref(rows[0]))
    call = f"call of {sys._getframe().f_code.co_qualname} (test_references.py)"
    assert texts[0] == f"{call} that is still running"
    assert texts[1:] in (("list rows", f"item of type {__name__}.Order"), (f"{__name__}.Order",))
    assert path_to(rows).read(Growth()).endswith("running -> rows (list)")


def test_what_nothing_of_python_holds_has_no_other_holder() -> None:
    import ctypes

    reference = weakref.ref(order := Order())
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(order))
    del order
    assert chain_of(reference) == (UNKNOWN, f"{__name__}.Order")


def test_a_module_that_each_run_makes_is_no_root() -> None:
    made = types.ModuleType("plugin_17")
    made.rows = [Order()]  # type: ignore[attr-defined]
    sys.modules["plugin_17"] = made
    order, is_new = made.rows[0], _is_one_of(made, made.rows, vars(made))
    try:
        path = path_to(order, is_new)
    finally:
        del sys.modules["plugin_17"]
    assert path.texts[:2] == ("module sys", "dict modules")
    assert "plugin_17" not in str(path.texts)


def test_a_class_that_each_run_makes_has_no_name() -> None:
    kind = type("".join(["Model", "17"]), (Order,), {})
    shop().KEPT = [kind()]
    thing = shop().KEPT[0]
    path = path_to(thing, _is_one_of(kind, kind.__qualname__, thing))
    expected = f"item of type a class that each run makes from {__name__}.Order"
    assert path.texts == ("module shop", "list KEPT", expected)


def test_a_key_that_only_this_run_has_is_not_named() -> None:
    key = "-".join(["order", "17"])
    shop().CACHE = {key: [Order()]}
    inside = shop().CACHE[key]
    texts = path_to(inside[0], _is_one_of(key, inside)).texts
    assert texts[:3] == ("module shop", "dict CACHE", "value of type list")


def _is_one_of(*things: Any) -> Callable[[Any], bool]:
    new = {id(thing) for thing in things}
    return lambda thing: id(thing) in new


def test_a_way_around_a_test_double_is_found() -> None:
    shop().PRODUCT = [Order()]
    shop().SPY = mock.Mock()
    shop().SPY.items = shop().PRODUCT
    order = shop().PRODUCT[0]
    path = path_without(order, _is_one_of(), is_test_double)
    assert path is not None
    assert path.texts[:2] == ("module shop", "list PRODUCT")


def test_what_only_a_test_double_holds_has_no_way_around_it() -> None:
    shop().SPY = mock.Mock()
    shop().SPY(Order())
    kinds = [type(thing) for thing in shop().SPY.call_args.args]
    assert kinds == [Order]
    found = path_without(shop().SPY.call_args, _is_one_of(), is_test_double)
    assert found is None or found.texts[0].startswith("call of")


DEAD = """
import asyncio, gc
from pytest_leakguard.explain.references import path_to

async def main():
    async def one():
        await asyncio.sleep(0)
        return await asyncio.wrap_future(asyncio.get_running_loop().run_in_executor(None, int))
    await asyncio.gather(*(one() for _ in range(20)))

asyncio.run(main())
for _ in range(3):
    path_to([bytearray(1)][0])  # nothing leads to it, so all is looked through
    asyncio.run(main())
    gc.collect()
print("ended")
"""


def test_looking_through_all_modules_brings_no_dead_object_back_to_life() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEAD], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ended\n", done.stderr
