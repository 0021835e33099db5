"""``@pytest.mark.limit_leaks`` of pytest-memray: its limit is the budget of the test."""

from __future__ import annotations

import pytest

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.pytest_integration._other_plugins import limit_of_memray

SUITE = """
    import pytest

    KEPT = []

    @pytest.mark.limit_leaks("8 KB")
    def test_within():
        KEPT.append(bytearray(5000))

    @pytest.mark.limit_leaks("1 KB")
    def test_above():
        KEPT.append(bytearray(5000))

    @pytest.mark.limit_leaks("8 KB")
    @pytest.mark.leakguard(budget=0)
    def test_own_budget():
        KEPT.append(bytearray(5000))
"""
WITHOUT = ("-p", "no:memray", "-p", "no:randomly", "--strict-markers", "--leakguard", "-rA")


def test_a_limit_is_a_budget_and_our_own_budget_wins(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    out = pytester.runpytest_subprocess(*WITHOUT).stdout
    out.fnmatch_lines_random(
        ["PASSED *::test_within", "LEAK *::test_above*", "LEAK *::test_own_budget*"]
    )


def test_a_limit_that_is_none_is_an_error_at_collection(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.limit_leaks('much')\ndef test_it(): pass\n")
    result = pytester.runpytest_subprocess(*WITHOUT)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*.py:2: marker limit_leaks: invalid limit 'much' (expected*"])


def test_without_leakguard_the_marker_is_none_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:memray", "--strict-markers")
    result.stdout.fnmatch_lines(["*'limit_leaks' not found in `markers`*"])


@pytest.mark.parametrize(
    ("limit", "budget"),
    [("64", "64 B"), ("1 KB", "1024 B"), ("1.5MB", "1572864 B"), ("2 GiB", "2147483648 B")],
)
def test_sizes_mean_what_pytest_memray_means_by_them(limit: str, budget: str) -> None:
    assert limit_of_memray(limit) == budget
    assert limit_of_memray(location_limit=limit, filter_fn=None) == budget


@pytest.mark.parametrize("limit", ["", "1.2.3 KB", "-1 KB", "1 XB", None])
def test_what_is_no_size_is_refused(limit: str | None) -> None:
    with pytest.raises(UsageProblem):
        limit_of_memray(limit)
