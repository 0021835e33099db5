"""A test each of whose runs goes through what all earlier ones have left, and adds to each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, LeakKind
from pytest_leakguard.counters.reader import BLOCKS
from pytest_leakguard.screening.confirmation import Examination
from pytest_leakguard.screening.findings import Confirmed
from pytest_leakguard.screening.known_causes import MOST_TRACING_S, Causes
from pytest_leakguard.screening.ledger import Run
from pytest_leakguard.screening.quick_check import Suspect
from pytest_leakguard.screening.statistics import PerRun
from pytest_leakguard.tracker.tracker import NOTHING, Amount

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


def confirmed(finding: Finding, entries: list[object]) -> Confirmed:
    check = Check("test_made", "test", "tracker", findings=(finding,))
    leaking = {BLOCKS: PerRun(5, 328, is_exact=True)}
    return Confirmed(check, Examination({}, leaking), entries, 1.0)


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


class Ledger:
    """Each of five runs keeps one block more than the one before."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def kept(self, run: Run, counter: int) -> Amount:
        return Amount(self.blocks + run.number, 0, 0) if counter == BLOCKS else NOTHING


@pytest.mark.parametrize(("blocks", "is_it"), [(1_010, True), (1_110, False)])
def test_it_hides_no_other_leak(blocks: int, is_it: bool) -> None:
    """A thousand entries gain a block each; a hundred more are kept elsewhere."""
    entries = [object() for _ in range(1_000)]
    finding = Finding("a" * 16, LeakKind.PYTHON_OBJECTS, 328, 5, (), checks=("test_made",))
    causes = Causes()
    causes.remember(confirmed(finding, entries))
    runs = tuple(Run(number, 1, ()) for number in range(5))
    causes._tracing_s = MOST_TRACING_S + 1  # there is nothing to trace
    ledger: Any = Ledger(blocks)
    found = causes.behind(Suspect(frozenset({BLOCKS}), runs), ledger, (995,), lambda _: None)
    assert (found is not None) is is_it
    assert found is None or found[0] == finding
