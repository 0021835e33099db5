"""A run with one of everything a report may have to tell, and the same with hostile text wherever text may stand."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.baseline.compare import AcceptedGrowth, AcceptedLeak, Baseline
from pytest_leakguard.core.checks import Check, Diagnosis, Growth, Hypothesis, Mark
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind, Rate, Totals
from pytest_leakguard.core.programs import ExitStatus, Process
from pytest_leakguard.core.shapes import Shape
from pytest_leakguard.verdict import Policy, Run, Selection

ROOT = Path("/project")
MALLOC = Frame("malloc", module="vgpreload_memcheck-amd64-linux.so")
STACK = (
    MALLOC,
    Frame("push", "/project/src/server.c", 42, "server"),
    Frame("accept_order", "/project/src/orders.c", 17, "server"),
    Frame("main", "/project/src/main.c", 9, "server"),
)
LIBRARY_STACK = (
    MALLOC,
    Frame("strdup", None, None, "libc.so.6"),
    Frame("SSL_new", None, None, "libssl.so.3"),
)
PYTHON_STACK = (
    Frame("open_session", "/project/shop.py", 5),
    Frame("test_session", "/project/tests/test_shop.py", 12),
)
RISING = tuple((float(x), 1_000_000.0 + max(0, x - 200) * 640.0) for x in range(0, 2001, 50))
LEVELS_OFF = tuple((float(x), 1_000_000.0 + min(x, 400) * 100.0) for x in range(0, 2001, 50))


def finding(
    fingerprint: str, kind: LeakKind = LeakKind.DEFINITELY_LOST, size: int = 480, **more: object
) -> Finding:
    """A leak; ``more`` are other fields of ``Finding``."""
    return replace(Finding(fingerprint * 16, kind, size, 10, STACK), **more)  # type: ignore[arg-type]  # by keyword


def service() -> Check:
    """A service whose heap grows by 640 bytes per request."""
    rate = Rate("heap_bytes", "bytes", 640.0, 630.0, 650.0)
    growth = Growth(
        "heap_bytes",
        Shape.LEAK,
        640.0,
        630.0,
        650.0,
        2000,
        RISING,
        rise=1_152_000.0,
        evidence=("windows",),
    )
    flat = Growth(
        "fds", Shape.STABLE, 0.0, 0.0, 0.0, 2000, ((0.0, 7.0), (2000.0, 7.0)), unit="descriptors"
    )
    diagnosis = Diagnosis(
        Shape.LEAK,
        "heap_bytes",
        "request",
        2000,
        (
            Hypothesis(
                "A",
                "leak",
                ("grows by 640 bytes per request to the end",),
                (),
                "look at what requests keep",
            ),
            Hypothesis("B", "cache", (), ("no sign of levelling off",), ""),
        ),
        settled_at=200,
        marks=(Mark(0.85, 700_000.0, 40.0, 17_500.0, 17_000.0, 18_000.0),),
        limit_bytes=512 << 20,
        current_bytes=64 << 20,
        stopped="2,000 requests were sent",
        facts=("live heap read from the C library",),
    )
    found = Finding("e" * 16, LeakKind.GROWTH, 1_152_000, 0, (), rate=rate)
    return Check(
        "tests/test_api.py::test_orders",
        "service",
        "sampling",
        (found,),
        growth=(growth, flat),
        diagnosis=diagnosis,
        expected_exit=None,
        location=("tests/test_api.py", 7),
    )


def checks() -> tuple[Check, ...]:
    """Sorted by id, as a session hands them over."""
    cache = Growth("heap_bytes", Shape.CACHE, 0.4, -0.1, 0.9, 2000, LEVELS_OFF, rise=40_000.0)
    levels_off = Diagnosis(Shape.CACHE, "heap_bytes", "request", 2000, settled_at=400)
    repeated = Growth(
        "blocks", Shape.LEAK, 4.0, 4.0, 4.0, 300, ((0.0, 0.0), (300.0, 1200.0)), unit="blocks"
    )
    native = (
        finding("a"),
        finding("b", LeakKind.INDIRECTLY_LOST, 960),
        finding("c", LeakKind.STILL_REACHABLE, 64, stack=LIBRARY_STACK, is_gating=False),
        finding("d", size=2048, stack=LIBRARY_STACK),
    )
    python = Finding(
        "f" * 16,
        LeakKind.PYTHON_OBJECTS,
        256,
        4,
        PYTHON_STACK,
        holders=("module shop", "dict _SESSIONS", "item of type dict"),
        details=("+4 blocks per run over 300 runs", 'line: _SESSIONS[object()] = {"user": user}'),
        sites=("/project/shop.py:5",),
    )
    found = (
        service(),
        Check(
            "tests/test_api.py::test_cache",
            "service",
            "sampling",
            growth=(cache,),
            diagnosis=levels_off,
        ),
        Check(
            "tests/test_c.py::test_export",
            "program",
            "valgrind",
            native,
            tool_version="3.19.0",
            totals=((LeakKind.DEFINITELY_LOST, Totals(2528, 20)),),
            processes=(Process(7, 1, "./build/server"),),
            command=("./build/server", "--once"),
            reproduce="pytest-leakguard run --tool valgrind -- ./build/server --once",
            location=("tests/test_c.py", 3),
            duration_s=1.25,
        ),
        Check(
            "tests/test_c.py::test_import",
            "program",
            "valgrind",
            (finding("a", size=96),),
            location=("tests/test_c.py", 9),
        ),
        Check(
            "tests/test_c.py::test_killed",
            "program",
            "sanitizer",
            problems=("the log ends inside the leak check",),
            exit=ExitStatus(None, 9),
            output="Killed\n::error::not ours\n",
            location=("tests/test_c.py", 15),
        ),
        Check(
            "tests/test_shop.py::test_price",
            "test",
            "counters",
            location=("tests/test_shop.py", 30),
        ),
        Check(
            "tests/test_shop.py::test_session",
            "test",
            "counters",
            (python,),
            growth=(repeated,),
            location=("tests/test_shop.py", 12),
            reproduce="pytest --leakguard 'tests/test_shop.py::test_session'",
        ),
        Check(
            "tests/test_shop.py::test_slow", "test", "counters", skipped="fills a cache on purpose"
        ),
        Check(
            "tests/test_shop.py::test_once",
            "test",
            "counters",
            not_repeatable="its second run fails",
        ),
    )
    return tuple(sorted(found, key=lambda check: check.id))


def baseline() -> Baseline:
    """Accepts one leak of the example, one that is fixed, one that was not checked, one that has expired."""
    export, lost = ("tests/test_c.py::test_export",), LeakKind.DEFINITELY_LOST
    entries = (
        AcceptedLeak(
            "d" * 16, lost, export, 2048, 10, "one-time init in OpenSSL", owner="@acme/net"
        ),
        AcceptedLeak("1" * 16, lost, export, 10, 1, "fixed since", ("old_call (server.c)",)),
        AcceptedLeak("2" * 16, lost, ("tests/test_gone.py::test_it",), 10, 1, "elsewhere"),
        AcceptedLeak(
            "3" * 16,
            lost,
            ("tests/test_gone.py::test_it",),
            1,
            1,
            "late",
            expires=dt.date(2026, 1, 31),
        ),
    )
    key = "tests/test_api.py::test_orders[heap_bytes]"
    growth = AcceptedGrowth(key, "bytes/request", 96.0, "route cache fills", "@acme/api")
    return Baseline({entry.fingerprint: entry for entry in entries}, {key: growth})


def run() -> Run:
    """The example."""
    return Run(
        checks(),
        baseline(),
        dt.date(2026, 11, 24),
        Policy(),
        selection=Selection(ran_unchecked=("tests/test_shop.py::test_skipped",)),
        environment={"python": "3.12.1", "platform": "linux-x86_64", "leakguard": "0.1.0"},
        root=ROOT,
        repository=ROOT,
        baseline_file="leakguard-baseline.toml",
    )


def clean_run() -> Run:
    """One clean check."""
    only = Check(
        "tests/test_shop.py::test_price", "test", "counters", location=("tests/test_shop.py", 30)
    )
    return replace(run(), checks=(only,), baseline=Baseline())


HOSTILE = "\n::error::x<script>alert(1)</script>'\"&lt;![x](http://x.example/y)`|@team \x1b[31m\u202e%0A</pre></details>"
HOSTILE_PATH = "/project/src/a b'\"<img src=x onerror=alert(2)>&,:%.c"


def hostile_run() -> Run:
    """The example with text that would like to be obeyed."""
    frames = tuple(
        replace(frame, function=f"{frame.function}{HOSTILE}", file=HOSTILE_PATH)
        for frame in STACK[1:3]
    )

    def spoil(check: Check) -> Check:
        found = tuple(
            replace(
                one,
                stack=frames if one.stack else (),
                holders=(*one.holders, HOSTILE),
                details=(*one.details, HOSTILE),
                rate=one.rate and replace(one.rate, metric=HOSTILE, unit=HOSTILE),
            )
            for one in check.findings
        )
        diagnosis = check.diagnosis
        if diagnosis is not None:
            diagnosis = replace(
                diagnosis, facts=(HOSTILE,), stopped=HOSTILE, metric=HOSTILE, per=HOSTILE
            )
        return replace(
            check,
            id=f"{check.id}[{HOSTILE}]",
            findings=found,
            diagnosis=diagnosis,
            growth=tuple(
                replace(one, metric=HOSTILE, unit=HOSTILE, reason=HOSTILE) for one in check.growth
            ),
            tool=HOSTILE,
            tool_version=HOSTILE,
            problems=tuple(f"{text}{HOSTILE}" for text in check.problems),
            notes=(HOSTILE,),
            output=check.output and HOSTILE,
            command=(HOSTILE,),
            reproduce=HOSTILE,
            skipped=check.skipped and HOSTILE,
            not_repeatable=check.not_repeatable and HOSTILE,
            location=(HOSTILE_PATH, 3),
        )

    spoilt = tuple(spoil(check) for check in checks())
    return replace(
        run(),
        checks=spoilt,
        problems=(HOSTILE,),
        environment={"python": HOSTILE, "platform": HOSTILE},
    )
