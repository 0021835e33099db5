"""What is kept only because somebody debugs the collector is no leak of the test's."""

from __future__ import annotations

import pytest

SUITE = """
    import gc
    gc.set_debug(gc.DEBUG_SAVEALL)
    KEEP = []
    def test_cycle():
        cycle = []
        cycle.append(cycle)
    def test_cycle_that_stays():
        cycle = []
        cycle.append(cycle)
        KEEP.append(cycle)
"""


def test_all_that_is_collected_stays_while_the_collector_is_told_so(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("--leakguard", "-p", "no:cacheprovider", "-v")
    result.stdout.fnmatch_lines_random(
        [
            "*::test_cycle PASSED*",
            "*::test_cycle_that_stays LEAK*",
            "*gc.garbage keeps all that is collected while gc.DEBUG_SAVEALL is set*",
        ]
    )
