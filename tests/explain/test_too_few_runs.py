"""A test whose runs are so slow, and keep so differently, that their number proves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SUITE = """
    import itertools, random, time
    from collections import OrderedDict
    NUMBERS, KEEP, RANDOM = itertools.count(1000), [], random.Random(1)
    class Cache:
        def __init__(self, maxsize): self.entries, self.maxsize = OrderedDict(), maxsize
        def put(self, value):
            self.entries[next(NUMBERS)] = value
            if len(self.entries) > self.maxsize: self.entries.popitem(last=False)
    LARGE, SMALL = Cache(1_000), Cache(4)
    def some():
        end = time.process_time() + 0.01
        while time.process_time() < end: pass
        return [[] for _ in range(RANDOM.randrange(1, 6))]
    def test_in_a_cache(): LARGE.put(some())
    def test_beside_a_cache():
        LARGE.put(some())
        KEEP.append(bytearray(50))
    def test_in_a_list(): KEEP.append(some())
    def test_beyond_the_limit(): SMALL.put(some())
"""


@pytest.fixture
def report(pytester: pytest.Pytester) -> dict[str, dict[str, object]]:
    """By test, what the report has of it."""
    pytester.makepyfile(test_shop=SUITE)
    pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-report=out", "--leakguard-confirm=0.5"
    )
    written = json.loads((Path(pytester.path) / "out/report.json").read_text())
    return {check["id"].split("::")[-1]: check for check in written["checks"]}


def test_what_a_holder_with_a_limit_keeps_is_a_cache_and_all_else_undecided(
    report: dict[str, dict[str, object]],
) -> None:
    outcomes = {name: check["outcome"] for name, check in report.items()}
    assert outcomes == {
        "test_in_a_cache": "clean",
        "test_beside_a_cache": "inconclusive",
        "test_in_a_list": "inconclusive",
        "test_beyond_the_limit": "clean",
    }
    assert "its holder says that it keeps at most 1,000" in str(report["test_in_a_cache"]["notes"])
    told = str(report["test_in_a_list"]["problems"])
    assert "kept alive by test_shop.KEEP (list, +1 item per run)" in told
    assert "confirm=SECONDS" in told
