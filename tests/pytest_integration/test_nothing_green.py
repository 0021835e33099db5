"""What would do nothing, or measure nothing, says so and fails."""

from __future__ import annotations

import json
import sys

import pytest

from pytest_leakguard.core.options import OPTIONS

LEAKS = """
    KEPT = []
    def test_it():
        KEPT.append(bytearray(1000))
"""
EXAMPLES = {"scope": "all", "tool": "auto", "missing-tool": "skip", "errors": "fail"}


@pytest.mark.parametrize(
    "option", [one for one in OPTIONS if one.name], ids=lambda option: option.flag
)
def test_an_option_without_the_switch_is_a_usage_error(
    pytester: pytest.Pytester, option: object
) -> None:
    pytester.makepyfile("def test_it(): pass")
    flag = option.flag  # type: ignore[attr-defined]
    given = flag if option.is_flag else f"{flag}={EXAMPLES.get(option.name, '1')}"  # type: ignore[attr-defined]
    result = pytester.runpytest(given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{flag} does nothing without --leakguard*"])


def test_options_of_the_ini_file_may_wait_for_the_switch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.makeini("[pytest]\nleakguard_strict = true\n")
    assert pytester.runpytest().ret == 0


def test_a_run_may_be_switched_off_although_options_are_given(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.makeini("[pytest]\nleakguard = true\naddopts = --leakguard-strict\n")
    assert pytester.runpytest("-o", "leakguard=false").ret == 0


def test_a_baseline_that_is_not_there_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest("--leakguard", "--leakguard-baseline=none.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*none.toml: no such baseline*"])


def test_a_baseline_that_is_not_there_can_be_accepted_into(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LEAKS)
    pytester.runpytest_subprocess(
        "--leakguard", "--leakguard-baseline=new.toml", "--leakguard-accept=for now"
    )
    assert (pytester.path / "new.toml").is_file()


def test_a_test_that_takes_the_fixture_and_measures_nothing_fails(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("def test_it(leakguard): pass")
    result = pytester.runpytest("--leakguard", "--leakguard-report=out")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*measured nothing*", "FAIL leakguard: 1 test inconclusive*"])
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    assert [check["outcome"] for check in report["checks"]] == ["inconclusive"]


def test_a_test_that_measures_passes_and_one_that_skips_or_fails_is_left_alone(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def measured(leakguard):
            yield
            leakguard.loop(lambda: None, iterations=20)

        def test_in_a_fixture(measured): pass
        def test_in_the_test(leakguard): leakguard.loop(lambda: None, iterations=20)
        def test_skips(leakguard): pytest.skip("not here")
        def test_fails(leakguard): assert False
        @pytest.mark.xfail
        def test_is_expected_to_fail(leakguard): assert False
        """
    )
    result = pytester.runpytest_subprocess("--leakguard")
    result.assert_outcomes(passed=2, skipped=1, failed=1, xfailed=1)


def test_a_service_that_is_never_driven_fails(pytester: pytest.Pytester) -> None:
    stub = pytester.path / "stub.py"
    stub.write_text(
        "import http.server, sys\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])),"
        " http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    pytester.makepyfile(
        f"""
        def test_it(leakguard):
            with leakguard.serve([{sys.executable!r}, {str(stub)!r}, "{{port}}"]):
                pass
        """
    )
    result = pytester.runpytest_subprocess("--leakguard")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*never driven*"])


WRONG = {
    "budgett='64 B'": "no keyword 'budgett'",
    "budget='much'": "budget: invalid size 'much'",
    "iterations='many'": "iterations='many' is no whole number",
    "iterations=0": "iterations=0 is no whole number",
    "'64 B'": "takes keywords only",
    "tool='purify'": "tool: invalid choice: 'purify'",
    "kinds=['lost']": "kinds: unknown leak kind 'lost'",
    "timeout=-1": "timeout: must be a positive number of seconds (got '-1')",
    "skip=True": "skip=True is no reason",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_marker_is_a_usage_error_with_its_place(
    pytester: pytest.Pytester, arguments: str
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest

        @pytest.mark.leakguard({arguments})
        def test_it(): pass
        """
    )
    result = pytester.runpytest("--leakguard")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: test_it.py:3: marker leakguard*{WRONG[arguments]}*"])


def test_a_wrong_marker_of_a_class_has_the_place_of_the_class(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.leakguard(budgett=3)
        class TestIt:
            def test_one(self): pass
            def test_two(self): pass
        """
    )
    result = pytester.runpytest("--leakguard")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.stderr.lines if "budgett" in line]
    assert len(lines) == 1
    assert lines[0].startswith("ERROR: test_it.py:3:")


def test_markers_of_function_class_and_module_are_merged(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        pytestmark = pytest.mark.leakguard(timeout=7, confirm=3)

        @pytest.mark.leakguard(budget="64 B", confirm=4)
        class TestIt:
            @pytest.mark.leakguard(confirm=5)
            def test_it(self, request):
                session = request.config.pluginmanager.get_plugin("leakguard-session")
                chosen = session.settings_of(request.node)
                assert (chosen.budget_bytes, chosen.confirm_s, chosen.timeout_s) == (64, 5, 7)
        """
    )
    pytester.runpytest_subprocess("--leakguard").assert_outcomes(passed=1)


def test_a_wrong_marker_ends_a_run_with_workers_too(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.leakguard(budgett=3)
        def test_it(): pass
        """
    )
    result = pytester.runpytest_subprocess("--leakguard", "-n1", "-p", "xdist")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: *no keyword 'budgett'*"])
