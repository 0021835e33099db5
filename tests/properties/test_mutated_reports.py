"""Mutated reports: none that had a leak, or was no proof, is ever answered clean.

20,000 in ``make test``, a million in ``make test-all``. Besides the damage of ``test_fuzz_parsers``
holes of any size are torn, which may join two records into one.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Leak
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.existing_reports import check_files
from pytest_leakguard.programs.tools import recognise_all
from pytest_leakguard.programs.tools.base import runs_of
from pytest_leakguard.verdict import Policy, judge_check
from tests.golden_files import GOLDEN
from tests.properties.test_fuzz_parsers import EDITS, TEXTS

EVIDENCE = re.compile(
    rb"Leak_[A-Z]|</?leakedb|loss record|(?:Direct|Indirect) leak of [1-9]|LeakSanitizer: detected"
    rb"|[1-9]\d* byte\(s\) leaked|(?:definitely|indirectly|possibly) lost: [1-9]"
)
"""What is in no report without a leak."""
CLEAN_END = re.compile(rb"==\d+==D?TLS [^\n]+[0-9a-f]\.\n\Z")
"""The one place where the log of a leaking program may be cut: there a clean log ends as well."""
CHUNKS, MUTATIONS = 16, 1_250
MORE_CHUNKS, MORE_MUTATIONS = 98, 10_000
CONTENT = {path: path.read_bytes() for _, path in TEXTS}


def hole(text: bytes, at: random.Random) -> bytes:
    one, two = sorted(at.randrange(len(text) + 1) for _ in range(2))
    return text[:one] + text[two:]


def answer(path: Path) -> str:
    """``leak``, ``clean``, or ``none`` where nothing is proved."""
    leaks: list[Leak] = []
    try:
        for backend in recognise_all(path):
            for run in runs_of(backend.parse(path)):
                leaks.extend(run.leaks)
    except MalformedReport:
        return "none"
    return "leak" if leaks else "clean"


def mutations(seed: int, count: int) -> Iterator[tuple[Path, str, bytes]]:
    """Which report was changed, how, and what came out."""
    at = random.Random(seed)
    edits = [*EDITS, hole, hole]
    paths = [path for _, path in TEXTS]
    for _ in range(count):
        path, edit = at.choice(paths), at.choice(edits)
        content = edit(CONTENT[path], at)
        if at.random() < 0.1:
            content = at.choice(edits)(content, at)
        yield path, edit.__name__, content


def may_be_clean(path: Path, content: bytes) -> bool:
    """Whether nothing in a mutated report speaks against a clean answer."""
    if ANSWERS[path] == "clean":
        return EVIDENCE.search(content) is None
    return path.parent.name == "sanitizer" and CLEAN_END.search(content) is not None


ANSWERS = {path: answer(path) for _, path in TEXTS}


def assert_never_clean(place: Path, seed: int, count: int) -> None:
    wrong: Counter[str] = Counter()
    for path, edit, content in mutations(seed, count):
        place.write_bytes(content)
        if answer(place) == "clean" and not may_be_clean(path, content):
            wrong[f"{path.name} after {edit}"] += 1
    assert not wrong


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "report.1"


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_no_mutated_report_is_clean_that_had_a_leak_or_was_no_proof(seed: int, place: Path) -> None:
    assert_never_clean(place, seed, MUTATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1000 + MORE_CHUNKS))
def test_none_of_a_million_is(seed: int, place: Path) -> None:
    assert_never_clean(place, seed, MORE_MUTATIONS)


@pytest.mark.parametrize("seed", range(2000, 2004))
def test_none_is_when_it_is_read_as_a_log(seed: int, place: Path) -> None:
    """The same through prefixes and packings, where the lines are divided first."""
    for path, edit, content in mutations(seed, 150):
        lines = content.splitlines(keepends=True)
        place.write_bytes(b"".join(b"2024-02-28T18:12:36.905Z app-1  | " + line for line in lines))
        outcomes = {
            judge_check(check, Policy()).outcome for check in check_files([place], Settings())
        }
        if outcomes == {Outcome.CLEAN} and ANSWERS[path] != "leak":
            continue
        assert outcomes != {Outcome.CLEAN} or may_be_clean(path, content), (path.name, edit)


HOLES = {
    "two tags joined into one": ("valgrind/leaky.xml", b"</status>\n\n<er", b">\n\n<errorcounts>"),
    "the rest of a tag": ("valgrind/leaky.xml", b"</status>\n\n", b"or>\n\n<errorcounts>"),
    "the beginning of a tag": ("valgrind/leaky.xml", b"</status>\n\n<err", b"\n\n<errorcounts>"),
    "the beginning of a tag of newer versions": (
        "valgrind/protocol6.xml",
        b"<all_heap_bl",
        b"\n<errorcounts>",
    ),
    "the end of a thread's storage": (
        "sanitizer/clang21_leaky.txt",
        b"-0x7f5d557a2a8",
        b".\n==28730==Thread T0",
    ),
    "the number of the first thread's process": (
        "sanitizer/gcc16_lsan_leaky.txt",
        b"dcac40.\n\n==",
        b"1953==Thread T0",
    ),
    "a beginning without its tool": ("valgrind/clean.xml", b"<protocolt", b"  </argv>\n</args>"),
    "the rule before a report, and its end": (
        "sanitizer/clang19_lsan_leaky.txt",
        b"fbc40.\n\n====",
        b"s).\n",
    ),
}
"""A report, what stands before the hole in it, and what behind it."""


@pytest.mark.parametrize("kind", HOLES)
def test_what_a_hole_leaves_of_a_tag_or_of_a_line_is_seen(kind: str, place: Path) -> None:
    name, before, behind = HOLES[kind]
    content = (GOLDEN / name).read_bytes()
    start = content.rindex(before) + len(before)
    place.write_bytes(content[:start] + content[content.rindex(behind) :])
    assert answer(place) == "none"


@pytest.mark.parametrize("time", [b"", b"<time>00:00:00:00.1 </time>"])
def test_an_end_before_the_beginning_is_over_is_no_end(time: bytes, place: Path) -> None:
    content = (GOLDEN / "valgrind" / "bad_suppression.xml").read_bytes()
    end = b"<status><state>FINISHED</state>" + time + b"</status>"
    place.write_bytes(content.replace(b"<ppid>", end + b"<ppid>").replace(b"<args>", b""))
    assert answer(place) == "none"


def test_what_is_left_of_the_rule_before_a_report_and_of_its_sum_is_no_clean_end(
    place: Path,
) -> None:
    content = (GOLDEN / "sanitizer" / "clang19_leaky.txt").read_bytes()
    start = content.index(b"\n\n=====") + len("\n\n==")
    frame, total = content.rindex(b"c/leak"), content.index(b"64 byte(s) leaked")
    place.write_bytes(content[:start] + content[frame:total] + content[total + 25 :])
    assert answer(place) == "none"


@pytest.mark.parametrize(
    ("line", "joined"),
    [
        (b"b21cc00.\n", b"Direct leak of 1 byte(s) in 1 object(s) allocated b21cc00.\n"),
        (b"b21cc00.\n", b"b2" + b"9" * 5000 + b"c00.\n"),
        (b"==27395==Processing", b"SUMMARY: LeakSanitizer: 9 byte(s) leaked i==27395==Processing"),
    ],
)
def test_a_line_of_a_check_that_holds_a_piece_of_a_report_is_no_proof(
    line: bytes, joined: bytes, place: Path
) -> None:
    content = (GOLDEN / "sanitizer" / "clean.txt").read_bytes()
    place.write_bytes(content.replace(line, joined))
    assert answer(place) == "none"


@pytest.mark.parametrize("name", ["clang21_threads.txt", "gcc16_threads.txt"])
@pytest.mark.parametrize(
    "piece",
    [
        b"Direct leak of 1 byte(s) in 1 object(s) allocated from:",
        b"==7==ERROR: LeakSanitizer: detected memory leaks",
    ],
)
def test_a_piece_of_a_report_behind_a_call_is_seen(name: str, piece: bytes, place: Path) -> None:
    content = (GOLDEN / "sanitizer" / name).read_bytes()
    assert ANSWERS[GOLDEN / "sanitizer" / name] == "clean"
    end = content.rindex(b"FRAME")
    end = content.index(b"\n", end)
    place.write_bytes(content[:end] + piece + content[end:])
    assert answer(place) != "clean"


def test_a_line_of_a_test_runner_after_a_check_is_no_piece_of_a_report(place: Path) -> None:
    content = (GOLDEN / "sanitizer" / "clean.txt").read_bytes()
    place.write_bytes(content + b"=== RUN   TestOpen\n")
    assert answer(place) == "clean"


@pytest.mark.parametrize("first", ["leaky.xml", "indirect.xml", "protocol6.xml", "log_full.txt"])
@pytest.mark.parametrize("second", ["clean.xml", "log_clean.txt", "fork.16847.xml"])
def test_a_leak_in_one_of_two_reports_that_were_mixed_is_never_clean(
    first: str, second: str, place: Path
) -> None:
    """Two processes that wrote into one file: in pieces of a buffer, or over each other."""
    one = (GOLDEN / "valgrind" / first).read_bytes()
    two = (GOLDEN / "valgrind" / second).read_bytes()
    for step in (64, 512, 1000, 4096):
        pieces = []
        for start in range(0, max(len(one), len(two)), step):
            pieces += [one[start : start + step], two[start : start + step]]
        for content in (b"".join(pieces), two + one[len(two) :], two[:step] + one[step:]):
            place.write_bytes(content)
            is_nothing_left = EVIDENCE.search(content) is None
            assert answer(place) != "clean" or is_nothing_left
