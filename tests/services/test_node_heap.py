"""A leak of a Node service is told with its line, what holds it, and how fast that grows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.live_heap import HeapReader

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="services are measured through /proc"),
    pytest.mark.skipif(not shutil.which("node"), reason="node is not here"),
]
SERVICE = Path(__file__).with_name("node_leaks.js")


def target(mode: str) -> ServiceTarget:
    return ServiceTarget(("node", str(SERVICE), "{port}", mode), start_timeout_s=60.0)


def found(bench: Any, mode: str) -> Finding:
    finding: Finding = bench.run(target(mode)).check.findings[0]
    return finding


def line_of(mode: str) -> int:
    lines = SERVICE.read_text().splitlines()
    (number,) = [at for at, text in enumerate(lines, 1) if text.endswith(f"// LINE {mode}")]
    return number


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("mode", "way"),
    [
        ("pushed", "node_leaks.js: audit (Array, +1 item per request) -> Order"),
        slow("session", "node_leaks.js: store.sessions (Map, +1 item per request) -> Order"),
        slow("keyed", "node_leaks.js: byKey (Object, +1 item per request) -> Order"),
        slow("listener", "bus._events.change (Array, +1 item per request) -> function"),
        slow("static_set", "node_leaks.js: Store.seen (Set, +1 item per request) -> Order"),
        slow("waiting", "node_leaks.js: pending (Array, +1 item per request) -> function"),
        slow("timer", "timerListMap[3600000] (TimersList, +1 item per request) -> Timeout"),
    ],
)
def test_line_and_holder_are_told(bench: Any, mode: str, way: str) -> None:
    finding = found(bench, mode)
    assert finding.sites == (f"{SERVICE}:{line_of(mode)}",)
    assert way in finding.held_by


@pytest.mark.parametrize(
    ("mode", "named"),
    [
        ("opened", "x /dev/null in process"),
        slow("streamed", "/order-*.log in process"),
        slow("spawned", "x child 'sleep 300' in process"),
    ],
)
def test_what_is_opened_or_started_is_told_with_its_line(bench: Any, mode: str, named: str) -> None:
    finding = found(bench, mode)
    assert finding.sites == (f"{SERVICE}:{line_of(mode)}",)
    assert any(named in detail for detail in finding.details), finding.details
    assert bench.checks[-1].findings[1:] == (), "children's own descriptors are no further leaks"


def test_no_snapshot_is_left(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Path] = []
    close = HeapReader.close

    def look_and_close(heap: HeapReader) -> None:
        assert heap.directory is not None
        left.extend(heap.directory.glob("*.heapsnapshot"))
        close(heap)

    monkeypatch.setattr(HeapReader, "close", look_and_close)
    assert found(bench, "pushed").holders
    assert not left
