"""``leakguard.watch``: what one block leaves, by one entry or by several."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

HEAD = """
import collections, ctypes, functools, json, logging, os, re, zlib
import pytest

KEEP, NAMED, MEMO, LAST = [], {}, {}, collections.deque(maxlen=3)
C = ctypes.CDLL(None)
CONFIGURED = None

class Order:
    def __init__(self):
        self.items = [bytearray(1000)]

def add():
    KEEP.append(Order())

@functools.cache
def cached(size):
    return bytearray(size)

def configure():
    global CONFIGURED
    if CONFIGURED is None:
        CONFIGURED = Order()

class Service:
    def __init__(self):
        self.last = None

SERVICE = Service()

class Slotted:
    __slots__ = ("item",)
"""
LEAKING = {
    "add()": ".KEEP (list) -> Order",
    "NAMED['a'] = bytearray(100)": '.NAMED["a"] (bytearray)',
    "C.malloc(24)": "24 B of native memory (1 block)",
    "os.dup(1)": "1 file descriptor left open",
    "x = Order(); ctypes.pythonapi.Py_IncRef(ctypes.py_object(x)); del x": "kept alive by  a C extension",
}
CLEAN = (
    "pass",
    "x = Order(); z = zlib.compressobj(); z.compress(b'abc' * 1000)",
    "import xmlrpc.client, decimal",
    "re.compile('a(b|c)*d').match('abc'); json.loads('[1]')",
    "cached(100)",
    "configure()",
    "SERVICE.last = Order()",
    "x = Order(); x.me = x; del x",
    "logging.getLogger('a.b').warning('hi %s', Order()); print('hello')",
    "mine = [Order()]",
    "print('hello', sep='', end='', file=None, flush=False)",
    "Slotted.only = Slotted(); Slotted.only.item = Order()",
)
"""What is made once, is still in use, or is gone."""


def outcomes(pytester: pytest.Pytester, code: str) -> tuple[list[str], str]:
    """The outcome of each check, and what the run has printed."""
    pytester.makepyfile(code)
    result = pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-report=out", "-p", "no:asyncio", "-p", "no:anyio"
    )
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    return [check["outcome"] for check in report["checks"]], result.stdout.str()


def entered_once(statements: tuple[str, ...]) -> str:
    tests = []
    for number, statement in enumerate(statements):
        tests.append(
            f"def test_{number:02}(leakguard):\n    with leakguard.watch():\n        {statement}\n"
        )
    return HEAD + "\n".join(tests)


def test_what_piles_up_or_is_lost_in_one_entry_is_a_leak_with_line_and_holder(
    pytester: pytest.Pytester,
) -> None:
    found, text = outcomes(pytester, entered_once(tuple(LEAKING)))
    assert found == ["leak"] * len(LEAKING), text
    for words in LEAKING.values():
        assert words in text
    # With what is behind the object, the array of 1,000 bytes.
    assert re.search(r"^new leak: 1,[34]\d\d B at \S+ in (add|Order)", text, re.MULTILINE)
    assert "NEW LEAK  157 B (2 blocks)" in text


def test_what_is_in_use_or_made_once_is_no_leak_of_one_entry(pytester: pytest.Pytester) -> None:
    found, text = outcomes(pytester, entered_once(CLEAN))
    assert found == ["clean"] * len(CLEAN), text


def test_a_block_that_is_entered_often_is_judged_by_its_entries(pytester: pytest.Pytester) -> None:
    code = """
def test_leak(leakguard):
    for _ in range(6):
        with leakguard.watch():
            add()

def test_bounded(leakguard):
    for _ in range(10):
        with leakguard.watch():
            LAST.append(Order())

def test_first_use(leakguard):
    for _ in range(5):
        with leakguard.watch():
            MEMO.setdefault("key", Order())

def test_native(leakguard):
    for _ in range(6):
        with leakguard.watch():
            C.malloc(24)

@pytest.mark.parametrize("number", range(6))
def test_by_parametrization(leakguard, number):
    with leakguard.watch(budget="1 KiB"):
        KEEP.append(bytearray(2000 if number == 5 else 10))
"""
    found, text = outcomes(pytester, HEAD + code)
    assert found == ["clean"] * 7 + ["clean", "leak", "leak"], text
    assert re.search(r"^new leak: 1,[34]\d\d B at \S+ in (add|Order)", text, re.MULTILINE)
    assert "left each of 6 times through the block" in text
    assert "24 B of native memory (1 block)" in text


def test_a_block_that_fails_is_not_judged_and_none_may_be_inside_another(
    pytester: pytest.Pytester,
) -> None:
    code = """
def test_fails(leakguard):
    with pytest.raises(KeyError):
        with leakguard.watch():
            KEEP.append(Order())
            raise KeyError
    with leakguard.watch():
        pass

def test_inside(leakguard):
    with leakguard.watch():
        with leakguard.watch():
            pass
"""
    found, text = outcomes(pytester, HEAD + code)
    assert found == ["clean"], text
    assert "UsageProblem: leakguard.watch cannot be used inside itself" in text


def test_a_script_watches_a_block_without_pytest() -> None:
    code = """
import sys
from pytest_leakguard import watch
KEEP = []
def clean():
    with watch():
        x = bytearray(10)
def within():
    with watch(budget="1 KiB"):
        KEEP.append(bytearray(100))
def leaks():
    with watch():
        KEEP.append(bytearray(100))
clean()
within()
leaks()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "AssertionError: NEW LEAK  157 B (2 blocks)" in done.stderr, done.stderr
    assert "kept alive by  __main__.KEEP (list)" in done.stderr
