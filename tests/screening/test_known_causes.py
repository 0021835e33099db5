"""One cause in many tests is confirmed once, and another cause in the same container is another."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from pytest_leakguard.screening import thresholds
from tests.pytest_integration.test_screening import screened

ONE_LEAK = """
    import pytest
    REGISTRY = []
    class Order:
        def __init__(self, size): self.payload = bytearray(size)
    def remember(size): REGISTRY.append(Order(size))
    @pytest.mark.parametrize("size", range(100, 120))
    def test_remembers(size): remember(size)
"""
TWO_LEAKS = """
    REGISTRY = []
    class Order: pass
    def remember(): REGISTRY.append(Order())
    def forget_to_remove(): REGISTRY.append(Order())
    def test_remembers(): remember()
    def test_remembers_again(): remember()
    def test_forgets(): forget_to_remove()
    def test_forgets_again(): forget_to_remove()
"""


def confirmed(report: dict[str, Any]) -> list[str]:
    """Tests that have been run as often as a confirmation takes."""
    found = []
    for check in report["checks"]:
        runs = [growth["iterations"] for growth in check["growth"]]
        if max(runs, default=0) >= thresholds.LEAST_RUNS:
            found.append(check["id"].rpartition("::")[2])
    return found


def causes(report: dict[str, Any]) -> dict[str, str]:
    """The one finding of each test."""
    found = {}
    for check in report["checks"]:
        (fingerprint,) = check["findings"]
        found[check["id"].rpartition("::")[2]] = fingerprint
    return found


def test_twenty_tests_with_one_leak_are_confirmed_once(pytester: pytest.Pytester) -> None:
    result, report = screened(pytester, ONE_LEAK)
    result.assert_outcomes(failed=20)
    assert len(set(causes(report).values())) == 1
    assert len(confirmed(report)) == 1


def test_another_function_that_fills_the_same_registry_is_a_finding_of_its_own(
    pytester: pytest.Pytester,
) -> None:
    result, report = screened(pytester, TWO_LEAKS)
    result.assert_outcomes(failed=4)
    found = causes(report)
    assert found["test_remembers"] == found["test_remembers_again"]
    assert found["test_forgets"] == found["test_forgets_again"]
    assert found["test_remembers"] != found["test_forgets"]
    once = [name.removesuffix("_again") for name in confirmed(report)]
    assert sorted(once) == ["test_forgets", "test_remembers"]


PACKAGE = """
    REGISTRY = []
    class Order: pass
    def make(): return Order()
    def remember(): REGISTRY.append(make())
"""
OF_A_PACKAGE = """
    import sys
    sys.path.insert(0, "site-packages")
    import shop_package as shop
    def test_one(): shop.remember()
    def test_two(): shop.remember()
    def test_three(): shop.remember()
"""


def test_a_cause_in_a_package_is_known_in_tests_whose_lines_are_all_others(
    pytester: pytest.Pytester,
) -> None:
    package = pytester.mkdir("site-packages") / "shop_package.py"
    package.write_text(textwrap.dedent(PACKAGE))
    _, report = screened(pytester, OF_A_PACKAGE)
    assert len(set(causes(report).values())) == 1
    assert confirmed(report) == ["test_one"]
