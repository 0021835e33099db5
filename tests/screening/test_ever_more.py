"""A test each of whose runs goes through what all earlier ones have left, and adds to each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SUITE = """
    import json
    HANDLERS = []
    class Inventory:
        def __init__(self):
            self.log = []
            HANDLERS.append(self.on_sold)
        def on_sold(self, sold):
            self.log.append(json.dumps(sold))
    def test_made():
        Inventory()
    def test_sold():
        Inventory()
        for handler in HANDLERS: handler({"name": "apple"})
"""


def screened(pytester: pytest.Pytester, *arguments: str) -> dict[str, Any]:
    pytester.makepyfile(test_shop=SUITE)
    pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-report=out", "-p", "no:randomly", *arguments
    )
    report: dict[str, Any] = json.loads((Path(pytester.path) / "out/report.json").read_text())
    return report


def test_it_is_the_leak_that_an_earlier_test_has_shown(pytester: pytest.Pytester) -> None:
    report = screened(pytester)
    (finding,) = report["findings"].values()
    assert [check["outcome"] for check in report["checks"]] == ["leak", "leak"]
    assert sorted(finding["checks"]) == ["test_shop.py::test_made", "test_shop.py::test_sold"]
    assert [Path(site).name for site in finding["sites"]] == ["test_shop.py:6"]


def test_alone_it_has_the_size_of_the_first_run(pytester: pytest.Pytester) -> None:
    first, second = (screened(pytester, "test_shop.py::test_sold") for _ in range(2))
    (finding,) = first["findings"].values()
    assert finding["held_by"].startswith("test_shop.HANDLERS (list, +1 item per run)")
    assert any("each run keeps more than those before" in text for text in finding["details"])
    assert finding["blocks"] < 20
    (again,) = second["findings"].values()
    for name in ("size_bytes", "blocks", "sites", "held_by"):
        assert finding[name] == again[name], name
