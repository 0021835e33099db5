"""What stays beside a cache with a limit is found, with its own size: the cache hides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.explain import beside
from pytest_leakguard.explain.beside import parts_of

SUITE = """
    import functools, itertools
    from collections import OrderedDict
    NUMBERS, KEEP = itertools.count(1000), []
    class Order: pass
    class Cache:
        def __init__(self, maxsize): self.entries, self.maxsize = OrderedDict(), maxsize
        def put(self, key, value):
            self.entries[key] = value
            if len(self.entries) > self.maxsize: self.entries.popitem(last=False)
    CACHE = Cache(100_000)
    @functools.lru_cache(maxsize=500_000)
    def price(order): return 7

    def test_in_lru_cache(): price(Order())
    def test_of_other_type():
        price(Order())
        KEEP.append(bytearray(50))
    def test_of_same_type():
        price(Order())
        KEEP.append(Order())
    def test_in_both():
        order = Order()
        price(order)
        KEEP.append(order)
    def test_in_cache_of_own(): CACHE.put(str(next(NUMBERS)), [next(NUMBERS)])
    def test_beside_cache_of_own():
        CACHE.put(str(next(NUMBERS)), [next(NUMBERS)])
        KEEP.append(bytearray(50))
    def test_alone_of_bytes(): KEEP.append(bytearray(50))
    def test_alone(): KEEP.append(Order())
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the suite above, in a process of its own."""
    import subprocess
    import sys
    import textwrap

    place = tmp_path_factory.mktemp("beside")
    (place / "test_shop.py").write_text(textwrap.dedent(SUITE))
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--leakguard",
        "--leakguard-confirm=1",
    ]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--leakguard-report=out"],
        cwd=place,
        check=False,
        timeout=300,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(Path(place / "out" / "report.json").read_text())
    return found


def finding_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (check,) = (one for one in report["checks"] if one["id"].endswith(f"::{name}"))
    assert check["outcome"] == "leak", check
    (fingerprint,) = check["findings"]
    found: dict[str, Any] = report["findings"][fingerprint]
    return found


@pytest.mark.parametrize("name", ["test_in_lru_cache", "test_in_cache_of_own"])
def test_what_the_cache_alone_has_is_no_leak(report: dict[str, Any], name: str) -> None:
    outcomes = {one["id"].rpartition("::")[2]: one["outcome"] for one in report["checks"]}
    assert outcomes[name] == "clean"


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("test_of_other_type", "test_alone_of_bytes"),
        ("test_beside_cache_of_own", "test_alone_of_bytes"),
        ("test_of_same_type", "test_alone"),
        ("test_in_both", "test_alone"),
    ],
)
def test_the_leak_beside_it_is_found_as_large_as_without_it(
    report: dict[str, Any], name: str, alone: str
) -> None:
    found, without = finding_of(report, name), finding_of(report, alone)
    assert found["held_by"] == without["held_by"]
    assert (found["size_bytes"], found["blocks"]) == (without["size_bytes"], without["blocks"])


def test_of_what_is_too_large_to_be_looked_through_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = [[number] for number in range(100)]
    assert len(parts_of(cache)) > len(cache)
    monkeypatch.setattr(beside, "MOST_PARTS", 50)
    assert parts_of(cache) == []
