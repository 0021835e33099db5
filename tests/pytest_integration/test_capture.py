"""What pytest collects of a test, call by call of its loop, is no leak; what the first call says can still be seen."""

from __future__ import annotations

import pytest

from tests.pytest_integration.test_screening import outcomes, screened

TELLS = """
    import logging, os, sys, warnings
    import pytest
    log = logging.getLogger("shop")
    def logs(): log.warning("order %d", 7)
    def prints():
        print("order 7")
        print("order 7", file=sys.stderr)
    def writes(): os.write(1, b"order 7")
    def warns(): warnings.warn("old", DeprecationWarning, stacklevel=1)
    async def logs_later(): logs()

    @pytest.mark.parametrize("unit", [logs, prints, writes, warns, logs_later])
    def test_says(leakguard, unit): leakguard.loop(unit)

    def test_log_is_asked(leakguard, caplog):
        caplog.set_level(0)
        leakguard.loop(logs)
        assert caplog.messages == ["order 7"]
        assert caplog.text.count("order 7") == 1
    def test_output_is_asked(leakguard, capsys):
        leakguard.loop(prints)
        assert capsys.readouterr() == ("order 7\\n", "order 7\\n")
    def test_descriptors_are_asked(leakguard, capfd):
        leakguard.loop(writes)
        assert capfd.readouterr().out == "order 7"
    def test_warnings_are_asked(leakguard, recwarn):
        leakguard.loop(warns)
        assert len(recwarn) == 1
    def test_warning_is_expected(leakguard):
        with pytest.warns(DeprecationWarning, match="old"):
            leakguard.loop(warns)
    def test_own_list(leakguard):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            leakguard.loop(warns)
        assert len(found) == 1

    def test_unit_looks_itself(leakguard, caplog, capsys):
        def unit():
            logs(), prints()
            assert caplog.messages[-1] == "order 7"
            assert capsys.readouterr().out == "order 7\\n"
            caplog.clear()
        leakguard.loop(unit)
"""
LEAKS_AND_TELLS = """
    import logging
    KEEP = []
    def work():
        logging.error("order 7")
        print("served")
        KEEP.append(object())
    def test_leaks(leakguard): leakguard.loop(work)
"""


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_what_pytest_collects_is_no_leak(pytester: pytest.Pytester, capture: str) -> None:
    result, report = screened(pytester, TELLS, f"--capture={capture}")
    assert set(outcomes(report).values()) == {"clean"}
    result.assert_outcomes(passed=12, warnings=result.parseoutcomes().get("warnings", 0))
    assert result.parseoutcomes().get("warnings", 0) < 10, "not one for each call"


def test_a_leak_beside_it_is_told_with_what_one_call_says(pytester: pytest.Pytester) -> None:
    result, report = screened(pytester, LEAKS_AND_TELLS)
    assert outcomes(report) == {"test_leaks": "leak"}
    (finding,) = report["findings"].values()
    assert any("list KEEP" in step for step in finding["holders"])
    assert result.stdout.str().count("served") == 1
    assert sum("order 7" in line for line in result.outlines) == 1


def test_without_pytests_capturing_and_logging_it_is_the_same(pytester: pytest.Pytester) -> None:
    _, report = screened(
        pytester, LEAKS_AND_TELLS, "-p", "no:logging", "-p", "no:warnings", "--capture=no"
    )
    assert outcomes(report) == {"test_leaks": "leak"}


WRITES = """
    import itertools, os, tempfile
    NUMBERS = itertools.count()
    def test_own_directory(leakguard, tmp_path):
        leakguard.loop(lambda: (tmp_path / str(next(NUMBERS))).touch())
    def test_everybodys(leakguard):
        leakguard.loop(lambda: os.close(tempfile.mkstemp()[0]))
"""
BEFORE = """
    def test_before(): pass
"""


@pytest.mark.parametrize("source", [WRITES, BEFORE + WRITES], ids=["alone", "after another"])
def test_files_in_tmp_path_are_pytests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(pytester.mkdir("everybodys")))
    _, report = screened(pytester, source)
    told = outcomes(report)
    assert (told["test_own_directory"], told["test_everybodys"]) == ("clean", "leak")
