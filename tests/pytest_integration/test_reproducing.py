"""The line that a leak is to be seen again with runs that test, from where pytest was started; in every way to run it."""

from __future__ import annotations

import json
import os
import shlex
import sys

import pytest

ON = ("-p", "pytest_leakguard.plugin", "--leakguard", "-p", "no:cacheprovider")
LEAKY = "KEEP = []\ndef test_leak(): KEEP.append(object())\ndef test_clean(): pass\n"


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")


@pytest.mark.parametrize("arguments", [["--pyargs", "shop"], ["../shop"]], ids=["pyargs", "path"])
def test_the_line_runs_the_test_again_from_another_directory(
    arguments: list[str], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("shop", "shop/tests"):
        (pytester.path / package).mkdir()
        (pytester.path / package / "__init__.py").touch()
    (pytester.path / "shop/tests/test_it.py").write_text(LEAKY)
    (pytester.path / "shop/pytest.ini").write_text("[pytest]\n")
    (pytester.path / "elsewhere").mkdir()
    monkeypatch.chdir(pytester.path / "elsewhere")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    result = pytester.runpytest_subprocess(*ON, *arguments)
    (line, *_) = [text for text in result.outlines if text.startswith("     reproduce ")]
    again = shlex.split(line.partition("reproduce")[2])
    assert again.pop(0) == "pytest"
    pytester.runpytest_subprocess(*ON[:2], *again).assert_outcomes(failed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "each", "no"]
)
def test_every_way_to_distribute_tests_finds_the_leak(mode: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=LEAKY, test_two=LEAKY)
    workers = {"no": (), "each": ("--tx", "2*popen")}.get(mode, ("-n2",))
    options = ("-p", "xdist.plugin", *workers, f"--dist={mode}", "--leakguard-report=out")
    result = pytester.runpytest_subprocess(*ON, *options)
    times = 2 if mode == "each" else 1
    result.assert_outcomes(passed=2 * times, failed=2 * times)
    report = json.loads((pytester.path / "out/report.json").read_text())
    found = {check["id"]: check["outcome"] for check in report["checks"]}
    expected = {"leak": 2, "clean": 2}
    assert {name: list(found.values()).count(name) for name in expected} == expected


SWITCHED_OFF = (
    "terminal capture logging tmpdir warnings junitxml threadexception unraisableexception "
    "faulthandler skipping unittest debugging setuponly recwarn monkeypatch doctest"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", SWITCHED_OFF)
def test_a_plugin_of_pytests_own_that_is_switched_off_is_not_missed(
    plugin: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it=LEAKY)
    options = (f"-pno:{plugin}", "--leakguard-report=out")
    result = pytester.run(sys.executable, "-m", "pytest", *ON, *options)
    assert result.ret == 1
    report = json.loads((pytester.path / "out/report.json").read_text())
    found = {check["id"].rpartition("::")[2]: check["outcome"] for check in report["checks"]}
    assert found == {"test_leak": "leak", "test_clean": "clean"}, os.linesep.join(result.outlines)
