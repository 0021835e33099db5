"""Every option does something, wherever it is given: command line, ini file, marker."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.options import OPTIONS, Option
from pytest_leakguard.core.settings import Settings, resolve

# option name -> (raw value, field of Settings, value it must have then)
EXAMPLES: dict[str, tuple[str, str, Any]] = {
    "scope": ("marked", "scope", "marked"),
    "tool": ("memray", "tool", "memray"),
    "baseline": ("other.toml", "baseline", Path("other.toml")),
    "accept": ("because", "accept", "because"),
    "prune": ("true", "prune", True),
    "report": ("out", "report", Path("out")),
    "budget": ("64 B", "budget_bytes", 64.0),
    "native": ("off", "native", "off"),
    "missing-tool": ("fail", "missing_tool", "fail"),
    "strict": ("true", "is_strict", True),
    "kinds": ("still_reachable", "kinds", (LeakKind.STILL_REACHABLE,)),
    "timeout": ("7", "timeout_s", 7.0),
    "errors": ("report", "errors", "report"),
    "confirm": ("9", "confirm_s", 9.0),
}
PRINTS = """
import pytest

@pytest.mark.leakguard(skip="only prints")
def test_it(request):
    session = request.config.pluginmanager.get_plugin("leakguard-session")
    print("SETTINGS", session.settings)
"""


def test_every_option_has_an_example() -> None:
    assert {option.name for option in OPTIONS if option.name} <= EXAMPLES.keys()


def expected(pytester: pytest.Pytester, option: Option) -> str:
    """The settings with one option given, as they print."""
    _, field, value = EXAMPLES[option.name]
    default = resolve({"": True}, pytester.path, {})
    changed: dict[str, Any] = {field: pytester.path / value if isinstance(value, Path) else value}
    return f"SETTINGS {replace(default, **changed)}"


@pytest.mark.parametrize(
    "option", [one for one in OPTIONS if one.name in EXAMPLES], ids=lambda one: one.ini
)
@pytest.mark.parametrize("source", ["command line", "ini"])
def test_an_option_reaches_the_settings(
    pytester: pytest.Pytester, option: Option, source: str
) -> None:
    raw = EXAMPLES[option.name][0]
    arguments = ["--leakguard", "-s"]
    lines = ["[pytest]"]
    if source == "ini":
        lines.append(f"{option.ini} = {raw}")
    elif option.name:
        arguments.append(option.flag if option.is_flag else f"{option.flag}={raw}")
    pytester.makeini("\n".join(lines))
    pytester.makepyfile(PRINTS)
    (pytester.path / "other.toml").write_text("version = 1\n")  # a named baseline has to be there
    assert expected(pytester, option) in pytester.runpytest(*arguments).stdout.str()


def test_the_command_line_beats_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nleakguard_tool = memray\nleakguard_timeout = 5\n")
    pytester.makepyfile(PRINTS)
    out = pytester.runpytest("--leakguard", "-s", "--leakguard-tool=valgrind").stdout.str()
    assert "tool='valgrind'" in out and "timeout_s=5.0" in out


@pytest.mark.parametrize(
    "option", [one for one in OPTIONS if one.choices or one.kind != "text"], ids=lambda one: one.ini
)
def test_a_wrong_value_is_a_usage_error_that_names_the_option(
    pytester: pytest.Pytester, option: Option
) -> None:
    pytester.makeini(f"[pytest]\n{option.ini} = nonsense!\n")
    pytester.makepyfile(PRINTS)
    result = pytester.runpytest("--leakguard")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{option.flag if option.name else 'leakguard'}: *"])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\nleakguard = ture\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\nleakguard = "ture"\n'),
        ("pyproject.toml", '[tool.pytest]\nleakguard = "ture"\n'),
        ("pytest.ini", "[pytest]\nleakguard = 2\n"),
    ],
)
def test_a_misspelt_switch_in_an_ini_file_is_an_error_that_says_where_and_what_is_right(
    pytester: pytest.Pytester, file: str, text: str
) -> None:
    pytester.path.joinpath(file).write_text(text)
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest()
    if "[tool.pytest]" in text and not HAS_TYPES:
        return  # pytest 8 does not read this table
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{file}: leakguard must be true or false*"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("leakgaurd = true", "leakguard"),
        ("Leakguard = true", "leakguard"),
        ("leak_guard = true", "leakguard"),
        ("leakguard_bugdet = 64", "leakguard_budget"),
        ("leakguard_iterations = 10", "leakguard"),
        ("leakguard-strict = true", "leakguard_strict"),
    ],
)
def test_a_misspelt_name_in_an_ini_file_is_an_error_that_says_what_is_meant(
    pytester: pytest.Pytester, given: str, meant: str
) -> None:
    pytester.makeini(f"[pytest]\n{given}\n")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest()
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*tox.ini: no option *; did you mean '{meant}*'?"])


def test_a_misspelt_name_behind_o_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest("-o", "leakgaurd=true")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*no option 'leakgaurd'; did you mean 'leakguard'?"])


def test_an_option_of_another_plugin_with_a_like_name_is_that_plugins(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest("def pytest_addoption(parser): parser.addini('leakguards', 'x')")
    pytester.makeini("[pytest]\nleakguards = 1\nmarkers =\n  leakguards: of mine\n")
    pytester.makepyfile("import pytest\n@pytest.mark.leakguards\ndef test_it(): pass")
    assert pytester.runpytest().ret == 0
    assert pytester.runpytest_subprocess("--leakguard").ret == 0


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_misspelt_marker_is_an_error_with_file_and_line(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        "import pytest\n\n@pytest.mark.leakgaurd(skip='known')\ndef test_it(): pass"
    )
    result = pytester.runpytest_subprocess("--leakguard", *workers)
    assert result.ret == 4
    lines = "\n".join([*result.errlines, *result.outlines])
    assert "py:3: no marker 'leakgaurd'; did you mean 'leakguard'?" in lines


HAS_TYPES = int(pytest.__version__.partition(".")[0]) >= 9
"""Whether pytest reads numbers, truth values and lists from TOML as what they are."""


@pytest.mark.skipif(not HAS_TYPES, reason="pytest 8 reads everything as text")
def test_values_of_a_toml_file_may_have_their_own_types(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("pyproject.toml").write_text(
        "[tool.pytest]\nleakguard = true\nleakguard_native = false\nleakguard_budget = 64\n"
        'leakguard_kinds = ["python_objects", "growth"]\nleakguard_timeout = 7.5\n'
        "leakguard_strict = true\n"
    )
    pytester.makepyfile(PRINTS)
    out = pytester.runpytest("-s").stdout.str()
    for text in ("native='off'", "budget_bytes=64.0", "timeout_s=7.5", "is_strict=True"):
        assert text in out
    assert "LeakKind.GROWTH" in out.partition("kinds=")[2].partition(")")[0]


@pytest.mark.parametrize(("value", "is_on"), [("on", True), ("1", True), ("no", False)])
def test_the_switch_may_stand_in_the_ini_file(
    pytester: pytest.Pytester, value: str, is_on: bool
) -> None:
    pytester.makeini(f"[pytest]\nleakguard = {value}\n")
    pytester.makepyfile("def test_it(): pass")
    assert ("leakguard:" in pytester.runpytest().stdout.str()) is is_on


def test_every_field_of_the_settings_comes_from_an_option_or_the_place() -> None:
    given = {field for _, field, _ in EXAMPLES.values()}
    assert {field.name for field in fields(Settings)} - given == {"root"}


def test_the_baseline_lives_beside_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\n")
    below = pytester.mkdir("below")
    (below / "test_it.py").write_text(PRINTS)
    out = pytester.runpytest("--leakguard", "-s", "below").stdout.str()
    assert f"{pytester.path.name}/leakguard-baseline.toml" in out


def test_without_the_option_nothing_of_ours_is_imported_but_the_door(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("def test_it(): pass")
    script = (
        "import sys, pytest; pytest.main(['-q', '-p', 'no:cacheprovider']); "
        "print('LOADED', sorted(name for name in sys.modules if name.startswith('pytest_leakguard')))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = next(line for line in out.stdout.splitlines() if line.startswith("LOADED"))
    originals = ["core.clock", "core.collector", "counters", "counters.originals"]
    ours = ["core", "core.options", "plugin", *originals]
    names = sorted(["pytest_leakguard", *(f"pytest_leakguard.{name}" for name in ours)])
    assert loaded == f"LOADED {names}"


def test_markers_fixtures_and_help_name_everything_there_is(pytester: pytest.Pytester) -> None:
    markers = " ".join(pytester.runpytest_subprocess("--markers").outlines)
    line = markers.partition("@pytest.mark.leakguard(")[2].partition("@pytest.mark.")[0]
    for keyword in (*(option.in_marker for option in OPTIONS), "iterations", "skip"):
        assert not keyword or (f"{keyword}=" in line and f"{keyword}: " in line), keyword
    fixtures = "\n".join(pytester.runpytest_subprocess("--fixtures").outlines)
    told = fixtures.partition("fixtures defined from pytest_leakguard")[2]
    for call in ("run(", "loop(", "watch()", "serve(", "attach("):
        assert call in told.partition("fixtures defined")[0], call
    shown = "\n".join(pytester.runpytest_subprocess("--help").outlines)
    for option in OPTIONS:
        if option.choices:
            assert f"{option.flag}={{{','.join(option.choices)}}}" in shown
