"""Sizes and other option values: read as meant or refused as a usage problem."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.settings import READERS, is_ci, kinds, resolve, seconds, size
from pytest_leakguard.programs.declarations import read_targets

UNITS = {
    "": 1,
    "B": 1,
    "K": 1000,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "Mi": 1024**2,
    "GiB": 1024**3,
}


@given(st.integers(0, 10**9), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "  "]))
def test_size_is_number_times_unit(number: int, unit: str, space: str) -> None:
    assert (
        size(f"{number}{space}{unit}")
        == size(f" {number}{space}{unit.upper()} ")
        == number * UNITS[unit]
    )


@given(st.decimals(0, 10**6, places=3), st.sampled_from(sorted(UNITS)))
def test_size_takes_fractions(number: object, unit: str) -> None:
    assert size(f"{number} {unit}") == float(str(number)) * UNITS[unit]


@given(
    st.text(max_size=30) | st.from_regex(r"[0-9.eE+\-]{0,12} ?[A-Za-z]{0,4}", fullmatch=True),
    st.sampled_from(sorted(READERS)),
)
def test_any_text_is_a_value_or_a_usage_problem(text: str, reader: str) -> None:
    try:
        value = READERS[reader](text)
    except UsageProblem as problem:
        assert str(problem)
    else:
        if reader in ("size", "seconds"):
            assert value >= 0 and math.isfinite(value)


@pytest.mark.parametrize(
    "text", ["9" * 400, "1e400", "nan", "inf", "-1", "", "B", "1 XB", "٣", "1.", "1,5 B"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem):
        size(text)


@pytest.mark.parametrize("text", ["", ",", "  "])
def test_no_kind_at_all_is_refused_since_nothing_could_fail(text: str) -> None:
    with pytest.raises(UsageProblem):
        kinds(text)


@given(st.lists(st.sampled_from(LeakKind), min_size=1))
def test_kinds_are_read_as_written(chosen: list[LeakKind]) -> None:
    assert kinds(", ".join(chosen)) == tuple(chosen)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"budget": -1}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"kinds": ["no_such_kind"]}, "kinds"),
        ({"kinds": []}, "kinds"),
        ({"tool": "gdb"}, "tool"),
        ({"tool": "tracemalloc"}, "tool"),
        ({"scope": 3}, "scope"),
    ],
)
def test_values_of_markers_are_checked_like_those_of_the_command_line(
    given: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(UsageProblem, match=f"--leakguard-{wrong}"):
        resolve(given, Path(), {})


def test_values_of_markers_may_be_numbers_and_lists() -> None:
    settings = resolve(
        {"budget": 64, "timeout": 1.5, "kinds": ["growth", LeakKind.THREADS]}, Path(), {}
    )
    assert (settings.budget_bytes, settings.timeout_s) == (64.0, 1.5)
    assert settings.kinds == (LeakKind.GROWTH, LeakKind.THREADS)


@pytest.mark.parametrize("variable", ["CI", "BUILD_NUMBER"])
def test_a_build_system_is_known_by_its_variable(variable: str) -> None:
    assert is_ci({variable: "1"}) and resolve({}, Path(), {variable: "1"}).missing_tool == "fail"
    assert not is_ci({variable: ""}) and resolve({}, Path(), {variable: ""}).missing_tool == "skip"


@given(st.floats())
def test_seconds_are_positive_and_finite(number: float) -> None:
    try:
        assert 0 < seconds(str(number)) < math.inf
    except UsageProblem:
        assert not 0 < number < 1e9


T = "[tool.leakguard.targets.a]\n"
WRONG_TARGETS = [
    "tool = 5\nx = " + "[" * 5000,
    "x = " + "9" * 5000,
    T + "command = []",
    T + 'command = [""]',
    T + 'command = ["a\\u0000b"]',
    T + 'command = ["a"]\nenv = {"A=B" = "c"}',
    T + 'command = ["a"]\nmemory_limit = "' + "9" * 400 + '"',
    T + 'command = ["a"]\nmemory_limit = inf',
    T + 'command = ["a"]\ntimeout = nan',
    T + 'command = ["a"]\nkinds = []',
    T + 'command = ["a"]\nexpected_exit = true',
    T + 'command = "a b"',
    T + 'comand = ["a"]',
    "[tool.leakguard]\nscope = 1",
    "[tool]\nleakguard = 3",
]


@pytest.mark.parametrize("text", WRONG_TARGETS, ids=range(len(WRONG_TARGETS)))
def test_wrong_targets_are_refused_with_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    with pytest.raises(UsageProblem, match=r"pyproject\.toml"):
        read_targets(path, 300.0)


@pytest.mark.parametrize("text", ["", "tool = 5", "[tool.black]\na = 1"])
def test_files_without_targets_declare_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    assert read_targets(path, 300.0) == ()
    assert read_targets(tmp_path / "absent.toml", 300.0) == ()


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_targets(tmp_path, 300.0)
