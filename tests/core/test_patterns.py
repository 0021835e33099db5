"""``ignore`` and ``only``: which leaks do not count, and what is said of the rules themselves."""

from __future__ import annotations

import datetime as dt

import pytest

from pytest_leakguard.core import patterns
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind
from pytest_leakguard.core.patterns import Patterns

TODAY = dt.date(2026, 6, 1)
C = (
    Frame("malloc", module="/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so"),
    Frame("CRYPTO_malloc", module="/usr/lib/x86_64-linux-gnu/libcrypto.so.3"),
    Frame("OPENSSL_init_ssl", module="/usr/lib/x86_64-linux-gnu/libssl.so.3"),
    Frame("shop::Server::start(int)", "/src/shop/server.cpp", 42, "/src/build/shop"),
    Frame("main", "/src/shop/main.cpp", 7, "/src/build/shop"),
)
PYTHON = (
    Frame("connect", "/venv/lib/python3.12/site-packages/acme/pool/core.py", 8),
    Frame("test_it", "/src/tests/test_it.py", 3),
)
EXTENSION = (Frame("encode", "codec.c", 9, "/src/_codec.cpython-312-x86_64-linux-gnu.so"),)


def finding(stack: tuple[Frame, ...]) -> Finding:
    return Finding("0123456789abcdef", LeakKind.DEFINITELY_LOST, 8, 1, stack)


def gates(stack: tuple[Frame, ...], ignore: object = (), only: object = ()) -> bool:
    chosen = Patterns(patterns.read(ignore, "ignore"), patterns.read(only, "only"))
    check = Check("it", "program", "valgrind", findings=(finding(stack),))
    return patterns.apply(check, chosen, TODAY).findings[0].is_gating


@pytest.mark.parametrize(
    ("stack", "pattern"),
    [
        (C, "fun:OPENSSL_init*"),
        (C, "fun:shop::Server::start"),
        (C, "fun:start"),
        (C, "module:libssl"),
        (C, "module:ssl"),
        (C, "module:libcrypto.so*"),
        (C, "file:server.cpp"),
        (C, "file:shop/*.cpp"),
        (C, "any:*libssl*"),
        (PYTHON, "module:acme"),
        (PYTHON, "module:acme.pool*"),
        (PYTHON, "module:acme.pool.core"),
        (PYTHON, "file:site-packages/acme/*"),
        (EXTENSION, "module:_codec*"),
        (EXTENSION, "module:_codec"),
    ],
)
def test_a_leak_is_ignored_and_alone_asked_for_by_its_function_file_and_module(
    stack: tuple[Frame, ...], pattern: str
) -> None:
    assert not gates(stack, ignore=[pattern])
    assert gates(stack, only=[pattern])


@pytest.mark.parametrize("pattern", ["fun:init", "module:ss", "file:server.c", "module:pool.x"])
def test_what_is_not_meant_still_fails(pattern: str) -> None:
    assert gates(C, ignore=[pattern])
    assert gates(PYTHON, ignore=[pattern])
    assert not gates(C, only=[pattern])


def test_a_whole_stack_is_matched_from_the_allocation_on() -> None:
    def rule(*calls: str) -> list[dict[str, object]]:
        return [{"stack": list(calls), "reason": "one-time"}]

    assert not gates(C, ignore=rule("fun:malloc", "fun:CRYPTO_malloc"))
    assert not gates(C, ignore=rule("...", "fun:OPENSSL_init*", "module:shop"))
    assert not gates(C, ignore=rule("fun:malloc", "...", "fun:main"))
    assert gates(C, ignore=rule("fun:CRYPTO_malloc"))
    assert gates(C, ignore=rule("fun:malloc", "fun:OPENSSL_init*"))
    assert gates(C, ignore=rule("...", "fun:main", "fun:more"))


def test_a_rule_that_has_expired_applies_no_more_and_is_listed() -> None:
    old = [{"pattern": "module:ssl", "reason": "until 3.1", "expires": dt.date(2026, 5, 31)}]
    assert gates(C, ignore=old)
    chosen = Patterns(patterns.read(old, "ignore"))
    assert list(patterns.remarks((), chosen, TODAY)) == [
        "ignore: module:ssl expired on 2026-05-31 and applies no more"
    ]


def test_a_rule_that_matched_nothing_is_listed() -> None:
    chosen = Patterns(patterns.read(["module:ssl", "module:acme"], "ignore"))
    check = Check("it", "program", "valgrind", findings=(finding(C),))
    applied = patterns.apply(check, chosen, TODAY)
    said = list(patterns.remarks((applied,), chosen, TODAY))
    assert said == ["ignore: module:acme matched nothing in this run"]


@pytest.mark.parametrize(
    "entries",
    [
        "module:ssl",
        ["ssl"],
        ["module:*"],
        [{"pattern": "module:ssl"}],
        [{"pattern": "module:ssl", "reason": " "}],
        [{"pattern": "module:ssl", "reason": "x", "expires": "2026-01-01"}],
        [{"pattern": "module:ssl", "reason": "x", "until": 3}],
        [{"reason": "x"}],
        [7],
    ],
)
def test_a_wrong_rule_is_a_usage_error(entries: object) -> None:
    with pytest.raises(UsageProblem, match="ignore"):
        patterns.read(entries, "ignore")
