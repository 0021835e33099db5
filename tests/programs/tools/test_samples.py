"""Recorded runs of real tools: read with the right totals, or refused by name.

Those in ``tests/golden/samples`` are always checked, and with them what else there is in ``../shared/samples``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.errors import MalformedReport, UnknownFormat
from pytest_leakguard.core.leaks import Leak, LeakKind
from pytest_leakguard.core.programs import Report
from pytest_leakguard.programs.tools import recognise
from tests.golden_files import DEFINITE, INDIRECT, POSSIBLE, REACHABLE, figures, read, samples

FILES = samples()
KINDS = {"definitely": DEFINITE, "indirectly": INDIRECT, "possibly": POSSIBLE, "still": REACHABLE}
_SUMMARY_LINE = re.compile(
    r"SUMMARY: \w+Sanitizer: (\d+) byte\(s\) leaked in (\d+) allocation\(s\)"
)
_RECORDS = re.compile(r"(\S+\.xml) .* errors=(\d+) def=(\d+) ind=(\d+) pos=(\d+) reach=(\d+)")
_V6 = re.compile(
    r"<(definitely|indirectly|possibly|still)_\w+>\s*<bytes>([\d,]+)</bytes>\s*<blocks>([\d,]+)"
)


def ids(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def test_there_are_samples() -> None:
    """Guards the tests below against looking at nothing."""
    assert len(FILES) > 130


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_file_is_read_or_refused_by_name(path: Path) -> None:
    try:
        report = recognise(path).parse(path)
    except MalformedReport as error:
        assert str(path) in str(error)
        assert isinstance(error, UnknownFormat) or error.recovered is not None
    else:
        assert report.processes and not report.problems


@pytest.mark.parametrize(
    "path", [p for p in FILES if _SUMMARY_LINE.search(p.read_text(errors="replace"))], ids=ids
)
def test_sanitizer_totals_are_those_of_the_summary_lines(path: Path) -> None:
    report, _ = read(path, "sanitizer")
    stated = _SUMMARY_LINE.findall(path.read_text(errors="replace"))
    last = {int(size): int(count) for size, count in stated[-len(report.processes) :]}
    total = sum(leak.size_bytes for leak in report.leaks), sum(leak.blocks for leak in report.leaks)
    assert total == (sum(last), sum(last.values()))


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "summary.txt"], ids=ids)
def test_valgrind_records_are_as_many_as_summary_txt_counts(path: Path) -> None:
    for name, _, *counts in _RECORDS.findall(path.read_text(errors="replace")):
        file = path.parent / name
        if not file.is_file():
            continue
        report, _ = read(file, "valgrind")
        seen = [sum(leak.kind is kind for leak in report.leaks) for kind in KINDS.values()]
        assert seen == [int(count) for count in counts]


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.suffix == ".xml" and b"<leak_summary>" in p.read_bytes()],
    ids=ids,
)
def test_valgrind_totals_are_those_of_the_leak_summary(path: Path) -> None:
    text = path.read_text(errors="replace")
    stated = {
        KINDS[kind]: (int(size.replace(",", "")), int(blocks.replace(",", "")))
        for kind, size, blocks in _V6.findall(text[text.rindex("<leak_summary>") :])
    }
    assert figures(read(path, "valgrind")[0]) == {
        kind: total for kind, total in stated.items() if total[0]
    }


def of_sample(name: str, backend: str) -> Report:
    (path,) = [
        p
        for p in FILES
        if p.parent.name == name and (p.suffix == ".xml" or p.name.startswith("log."))
    ]
    return read(path, backend)[0]


def names(report: Report, *kinds: LeakKind) -> set[str]:
    return {
        one.fingerprint
        for one in fingerprint.group(leak for leak in report.leaks if leak.kind in kinds)
    }


DEFINITE_RUNS = [
    ("c_definite", "valgrind"),
    ("c_nopie", "valgrind"),
    ("v3.24_definite", "valgrind"),
    ("v3.27_definite", "valgrind"),
    ("lsan_definite", "sanitizer"),
    ("asan_definite", "sanitizer"),
    ("clang_lsan_definite_sym", "sanitizer"),
]


@pytest.mark.parametrize(("name", "backend"), DEFINITE_RUNS)
def test_same_leak_has_one_name_under_every_tool_and_version(name: str, backend: str) -> None:
    assert names(of_sample(name, backend), DEFINITE) == names(
        of_sample("c_definite", "valgrind"), DEFINITE
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("c_reachable", "v3.24_reachable"),
        ("c_reachable", "v3.27_reachable"),
        ("c_threads", "v3.24_threads"),
    ],
)
def test_same_leak_has_one_name_under_every_valgrind(one: str, other: str) -> None:
    first, second = of_sample(one, "valgrind"), of_sample(other, "valgrind")
    assert names(first, *LeakKind) == names(second, *LeakKind)


@pytest.mark.parametrize(
    ("one", "other"), [("c_indirect", "lsan_indirect"), ("c_indirect", "asan_indirect")]
)
def test_linked_list_has_the_same_names_under_valgrind_and_sanitizers(one: str, other: str) -> None:
    first, second = of_sample(one, "valgrind"), of_sample(other, "sanitizer")
    assert names(first, DEFINITE, INDIRECT) == names(second, DEFINITE, INDIRECT)


def _called(leaks: tuple[Leak, ...]) -> set[tuple[str, ...]]:
    return {fingerprint.names(leak.stack) for leak in leaks}


def test_stripped_leak_keeps_its_name_across_versions_of_valgrind() -> None:
    first, second = (
        of_sample("r_server_stripped_dummy", "valgrind"),
        of_sample("v3.27_stripped", "valgrind"),
    )
    assert {one[-1].partition("+")[2] for one in _called(first.leaks)} & {
        one[-1].partition("+")[2] for one in _called(second.leaks)
    }
