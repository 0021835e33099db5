"""A service's leak is told with its line and its holder in the same run, without a tool."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.leaks import Finding, LeakKind, Rate
from pytest_leakguard.core.metric_names import MetricName
from pytest_leakguard.growth.workers import Worker
from pytest_leakguard.services import explanation, session
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.timeline import Timeline

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="services are measured through /proc"
)
SERVICE = Path(__file__).with_name("explained.py")


def target(mode: str) -> ServiceTarget:
    return ServiceTarget((sys.executable, str(SERVICE), "{port}", mode), start_timeout_s=60.0)


def line_of(mode: str) -> int:
    lines = SERVICE.read_text().splitlines()
    (number,) = [at for at, text in enumerate(lines, 1) if text.endswith(f"# LINE {mode}")]
    return number


@pytest.mark.parametrize(
    ("mode", "holder"),
    [
        ("append", "__main__.SEEN (list, +1 item per request) -> bytes"),
        pytest.param(
            "session",
            "__main__.STORE.sessions (dict, +1 item per request) -> dict",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "class_dict",
            "__main__.Store.by_key (dict, +1 item per request) -> Order",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "nested", "__main__.SEEN (list, +1 item in 10 requests) -> dict", marks=pytest.mark.slow
        ),
        ("handler", "handlers (list, +1 item per request) -> logging.NullHandler"),
        ("task", "__main__.TASKS (set, +1 item per request)"),
        pytest.param("lru", "lru_cache", marks=pytest.mark.slow),
        pytest.param(
            "opened",
            "__main__.SEEN (list, +1 item per request) -> _io.TextIOWrapper",
            marks=pytest.mark.slow,
        ),
        ("thread", ""),
        ("descriptor", ""),
        pytest.param(
            "keyed",
            "__main__.COUNTS (dict, +1 item per request) -> list",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "listener",
            "__main__.LISTENERS (list, +1 item per request) -> function listener",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_line_and_the_holder_are_told(bench: Any, mode: str, holder: str) -> None:
    judged = bench.run(target(mode), requests=600)
    assert judged.outcome is Outcome.LEAK
    finding = judged.check.findings[0]
    assert finding.stack, finding
    assert (Path(finding.stack[0].file or "").name, finding.stack[0].line) == (
        SERVICE.name,
        line_of(mode),
    )
    assert holder in finding.held_by, finding.held_by
    assert finding.sites == (f"{SERVICE}:{line_of(mode)}",)
    assert len(finding.fingerprint) == 16 and finding.fingerprint not in finding.former
    (leak,) = [one for one in judged.check.diagnosis.hypotheses if one.letter == "A"]
    assert "tool=" not in leak.next_step


def test_leaked_children_are_told_with_the_line_that_starts_them(bench: Any) -> None:
    judged = bench.run(target("child"), requests=1000)
    finding = next(one for one in judged.check.findings if one.rate.metric == "procs")
    assert finding.stack[0].line == line_of("child")
    assert any("child 'sleep 300'" in detail for detail in finding.details)


@pytest.mark.slow
def test_children_that_nobody_waits_for_are_a_leak_with_the_line_that_starts_them(
    bench: Any,
) -> None:
    judged = bench.run(target("ended_child"), requests=2000)
    assert judged.outcome is Outcome.LEAK
    finding = next(one for one in judged.check.findings if one.rate.metric == "procs")
    assert finding.stack[0].line == line_of("ended_child")
    assert any("(ended, not waited for)'" in detail for detail in finding.details)


@pytest.mark.slow
def test_a_mapping_is_told_with_the_line_and_the_holder_of_its_object(bench: Any) -> None:
    judged = bench.run(target("mapped"), requests=2000)
    (finding,) = judged.check.findings
    assert finding.kind is LeakKind.MAPPINGS
    assert finding.sites == (f"{SERVICE}:{line_of('mapped')}",)
    assert "__main__.BUFFERS (list, +1 item per request) -> mmap.mmap" in finding.held_by


@pytest.mark.slow
def test_a_text_that_is_only_added_to_is_a_leak_with_the_line_that_adds(bench: Any) -> None:
    judged = bench.run(target("written"), requests=3000)
    assert judged.outcome is Outcome.LEAK
    (finding,) = judged.check.findings
    assert finding.sites == (f"{SERVICE}:{line_of('written')}",)
    # Until 3.11 StringIO keeps each text until somebody asks, with 49 bytes for the object.
    expected = 36 if sys.version_info >= (3, 12) else 85
    assert finding.rate.per_iteration == pytest.approx(expected, rel=0.2)


def test_what_compiled_code_leaves_is_told_with_the_line_that_calls_it(bench: Any) -> None:
    judged = bench.run(target("native"), requests=600)
    assert judged.outcome is Outcome.LEAK
    (finding,) = judged.check.findings
    assert finding.sites == (f"{SERVICE}:{line_of('native')}",)
    assert finding.stack[0].function == "native"


def test_a_process_that_first_gave_back_more_than_it_leaks_is_asked() -> None:
    rate = Rate(metric=MetricName.HEAP_BYTES, unit="bytes", per_iteration=10.0, low=9.0, high=11.0)
    finding = Finding("f", LeakKind.GROWTH, 0, 0, (), rate=rate)
    check = Check("c", "service", "live", findings=(finding,))
    timeline = Timeline()
    timeline.workers[7, 1] = Worker("shop", series={MetricName.HEAP_BYTES: [900.0, 100.0, 400.0]})
    timeline.workers[8, 1] = Worker("idle", series={MetricName.HEAP_BYTES: [500.0, 500.0, 501.0]})
    assert explanation.growing(timeline, check, [7, 8]) == [7]


def test_a_clean_service_is_asked_nothing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the agents were asked")

    monkeypatch.setattr(explanation, "explained", refuse)
    assert bench.run(target("clean"), requests=600).outcome is Outcome.CLEAN


def test_explaining_takes_at_most_as_many_requests_again(bench: Any) -> None:
    numbers: list[int] = []

    def order(number: int) -> None:
        numbers.append(number)
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/orders/1", timeout=30) as got:
            got.read()

    with session.serve(target("append"), bench.context) as served:
        served.loop(order, 400)
    done = bench.judged.check.diagnosis.iterations
    assert bench.judged.check.findings[0].stack
    assert done < len(numbers) <= 2 * done
    assert numbers == list(range(len(numbers)))


def test_a_failure_meanwhile_keeps_the_leak_and_is_noted(bench: Any) -> None:
    def order(number: int) -> None:
        if number >= 400:
            raise OSError("gone")
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/orders/1", timeout=30) as got:
            got.read()

    with session.serve(target("append"), bench.context) as served:
        served.loop(order, 400)
    assert bench.judged.outcome is Outcome.LEAK
    assert any("requests failed meanwhile" in note for note in bench.judged.check.notes)


@pytest.mark.parametrize("mode", ["append", "class_dict"])
def test_a_container_whose_source_never_gives_back_is_a_leak_within_500_requests(
    bench: Any, mode: str
) -> None:
    judged = bench.run(target(mode), requests=5000)
    assert judged.outcome is Outcome.LEAK
    assert judged.check.diagnosis.iterations <= 500


def test_a_cache_that_says_its_limit_is_followed_until_it_is_full(bench: Any) -> None:
    judged = bench.run(target("small_lru"), requests=1500)
    assert judged.outcome is Outcome.CLEAN
    assert judged.check.diagnosis.iterations > 600


def test_a_cache_that_is_not_full_in_time_is_open_and_says_what_it_takes(bench: Any) -> None:
    judged = bench.run(target("large_lru"), requests=600)
    assert judged.outcome is Outcome.INCONCLUSIVE
    (problem,) = judged.check.problems
    assert "keeps at most 50,000" in problem
    assert "send at least 55," in problem
