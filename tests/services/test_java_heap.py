"""A leak of a Java service is told with its line, its class, and the field that holds it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.services import java_heap
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.tracker.library import JAVA_LIBRARY

SERVICE = Path(__file__).with_name("JavaLeaks.java")
needs_java = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="services are measured through /proc"),
    pytest.mark.skipif(not shutil.which("jcmd"), reason="no JDK is here"),
    pytest.mark.skipif(not JAVA_LIBRARY.exists(), reason="the native library was not built"),
]


def found(bench: Any, mode: str) -> Finding:
    target = ServiceTarget(("java", str(SERVICE), "{port}", mode), start_timeout_s=60.0)
    finding: Finding = bench.run(target).check.findings[0]
    return finding


def line_of(mode: str) -> int:
    lines = SERVICE.read_text().splitlines()
    (number,) = [at for at, text in enumerate(lines, 1) if text.endswith(f"// LINE {mode}")]
    return number


@pytest.mark.parametrize(
    ("mode", "way"),
    [
        pytest.param(
            "static_map",
            "JavaLeaks.SESSIONS (java.util.concurrent.ConcurrentHashMap, +1 item per request)"
            " -> JavaLeaks$Order",
            marks=needs_java,
        ),
        pytest.param(
            "by_key",
            "JavaLeaks.CACHE (java.util.HashMap, +1 item per request) -> byte[]",
            marks=needs_java,
        ),
        pytest.param(
            "listener",
            "JavaLeaks.BUS.listeners (java.util.ArrayList, +1 item per request)"
            " -> JavaLeaks$$Lambda",
            marks=needs_java,
        ),
        pytest.param(
            "thread_local",
            "JavaLeaks.HISTORY of each thread (java.util.ArrayList, +1 item per request)"
            " -> JavaLeaks$Order",
            marks=needs_java,
        ),
    ],
)
def test_line_and_field_are_told(bench: Any, mode: str, way: str) -> None:
    finding = found(bench, mode)
    assert finding.sites == (f"{SERVICE}:{line_of(mode)}",)
    assert finding.held_by == way


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("jcmd"), reason="no JDK is here")
def test_without_the_sampler_the_class_is_told(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_heap, "JAVA_LIBRARY", Path("/nowhere"))
    finding = found(bench, "by_key")
    assert finding.sites == ()
    assert finding.holders[0] == "JavaLeaks.CACHE"
    assert any("byte[] per request" in detail for detail in finding.details)


NOTE = """1040\t1\t[B
\tLServer;\tlambda$main$0\tServer.java\t15
\tLsun/net/httpserver/ServerImpl;\trun\tServerImpl.java\t712
24\t1\tLcom/shop/Order;
"""


def test_a_note_has_amounts_and_their_calls() -> None:
    (first, calls), (second, nobody) = (
        (amount, stack) for stack, amount in java_heap._read_note(NOTE).items()
    )
    assert (first.size_bytes, first.objects, first.kind) == (1040, 1, "byte[]")
    assert [(call.kind, call.line) for call in calls] == [
        ("Server", 15),
        ("sun.net.httpserver.ServerImpl", 712),
    ]
    assert second.kind == "com.shop.Order" and nobody == ()


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        ("[[J", "long[][]"),
        ("[Lcom/shop/Order;", "com.shop.Order[]"),
        ("Lcom/shop/Main$$Lambda$12.0x00007f35;", "com.shop.Main$$Lambda"),
    ],
)
def test_classes_are_told_as_source_code_has_them(signature: str, kind: str) -> None:
    assert java_heap._readable(signature) == kind
