"""Damaged and hostile reports: only typed errors, in bounded time and memory."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_leakguard.core import fingerprint, forks
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.programs import Report
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.programs.tools.base import MOST_PROCESSES
from pytest_leakguard.programs.tools.valgrind_scan import LONGEST_ELEMENT_BYTES
from tests.golden_files import GOLDEN, golden

LONGEST_S = 2.0
TEXTS = [
    (backend, path)
    for backend in ("valgrind", "sanitizer")
    for path in sorted((GOLDEN / backend).glob("*.*"))
]
TEXTS = [(backend, path) for backend, path in TEXTS if path.suffix != ".md"]
PIECES = [
    b"\0", b"\0" * 5000, b"x" * 70_000, b"9" * 5000, b"-1", b"0x" + b"f" * 5000, b"\xff\xfe", b"\n", b"<", b">", b"\t",
    b"<error>", b"</error>", b"<stack>", b"</valgrindoutput>", b"<?xml", b"<status><state>FINISHED</state></status>",
    b"==1==ERROR: LeakSanitizer: detected memory leaks\n", b"Direct leak of 1 byte(s) in 1 object(s) allocated from:\n",
    b"SUMMARY: LeakSanitizer: 0 byte(s) leaked in 0 allocation(s).\n", b"FRAME\t1\t2\t3\t4\t5\t6\t7\t8\n",
    b"==1== LEAK SUMMARY:\n", b"==1== ERROR SUMMARY: 0 errors from 0 contexts (suppressed: 0 from 0)\n",
]  # fmt: skip

Edit = Callable[[bytes, random.Random], bytes]


def cut(text: bytes, at: random.Random) -> bytes:
    return text[: at.randrange(len(text) + 1)]


def flip(text: bytes, at: random.Random) -> bytes:
    where = at.randrange(max(1, len(text)))
    return text[:where] + bytes([at.randrange(256)]) + text[where + 1 :]


def insert(text: bytes, at: random.Random) -> bytes:
    where = at.randrange(len(text) + 1)
    return text[:where] + at.choice(PIECES) + text[where:]


def swap(text: bytes, at: random.Random) -> bytes:
    one, two, three = sorted(at.randrange(len(text) + 1) for _ in range(3))
    return text[:one] + text[two:three] + text[one:two] + text[three:]


def duplicate(text: bytes, at: random.Random) -> bytes:
    one, two = sorted(at.randrange(len(text) + 1) for _ in range(2))
    return text[:two] + text[one:two] * at.randrange(1, 4) + text[two:]


def drop(text: bytes, at: random.Random) -> bytes:
    one = at.randrange(len(text) + 1)
    return text[:one] + text[one + at.randrange(200) :]


def number(text: bytes, at: random.Random) -> bytes:
    digits = [index for index, byte in enumerate(text) if 48 <= byte < 58]
    if not digits:
        return text
    where = at.choice(digits)
    return (
        text[:where]
        + at.choice([b"9" * 5000, b"9" * 30, b",", b"-", b"0", b"\xd9\xa3"])
        + text[where + 1 :]
    )


EDITS: list[Edit] = [cut, flip, insert, swap, duplicate, drop, number]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "report.1"


@contextmanager
def bounded_time(limit_s: float = LONGEST_S) -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < limit_s


def parse(backend: str, path: Path) -> Report:
    """What the pipeline does with a report after it was written, whatever is in it."""
    with bounded_time():
        try:
            report = BACKENDS[backend].parse(path)
        except MalformedReport as error:
            assert str(path) in str(error)
            assert error.recovered is not None
            report = error.recovered
        for finding in fingerprint.group(forks.counted_once(report)):
            assert str(finding.size_bytes) and str(
                finding.blocks
            )  # numbers that Python can still print
    return report


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    which=st.sampled_from(TEXTS),
    seed=st.integers(0, 2**32),
    edits=st.lists(st.sampled_from(EDITS), min_size=1, max_size=6),
)
def test_mutated_reports_raise_nothing_but_malformed_report(
    which: tuple[str, Path], seed: int, edits: list[Edit], place: Path
) -> None:
    backend, path = which
    content, at = path.read_bytes(), random.Random(seed)
    for edit in edits:
        content = edit(content, at)
    place.write_bytes(content)
    parse(backend, place)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    which=st.sampled_from(TEXTS),
    garbage=st.binary(max_size=300),
    backend=st.sampled_from(["valgrind", "sanitizer"]),
)
def test_garbage_and_reports_of_the_other_tool_are_refused(
    which: tuple[str, Path], garbage: bytes, backend: str, place: Path
) -> None:
    place.write_bytes(garbage + (which[1].read_bytes() if which[0] != backend else b""))
    assert not [process for process in parse(backend, place).processes if process.is_complete]


@pytest.mark.parametrize("seed", range(12))
def test_mutated_captures_raise_nothing_but_malformed_report(seed: int, place: Path) -> None:
    pytest.importorskip("memray")
    at = random.Random(seed)
    content = golden("memray", "clean" if seed % 2 else "truncated").read_bytes()
    for edit in at.choices([cut, flip, swap, drop], k=at.randrange(1, 4)):
        content = edit(content, at)
    place.write_bytes(content)
    parse("memray", place)


def test_documents_swallowed_by_an_unclosed_element_are_not_clean(place: Path) -> None:
    clean = golden("valgrind", "clean.xml").read_bytes()
    place.write_bytes(clean.replace(b"</args>", b"").replace(b"</preamble>", b""))
    with pytest.raises(MalformedReport):
        BACKENDS["valgrind"].parse(place)


HEADS = [
    ("valgrind", b"<?xml version='1.0'?>\n<valgrindoutput>\n<pid>1</pid>\n<error>"),
    ("valgrind", b"<?xml version='1.0'?>\n<valgrindoutput>\n<usercomment>"),
    ("valgrind", b"<?xml version='1.0'?>\n<valgrindoutput>\n"),
    ("valgrind", b"==1== Memcheck, a memory error detector\n==1== "),
    ("sanitizer", b"==1==Processing thread 1.\n"),
    ("sanitizer", b"==1==ERROR: LeakSanitizer: detected memory leaks\n\nDirect leak of 1 byte(s) in 1 object(s) allocated from:\n    #0 0x1 in "),
]  # fmt: skip


@pytest.mark.parametrize(("backend", "head"), HEADS, ids=range(len(HEADS)))
def test_64_mb_without_an_end_are_not_kept_in_memory(
    backend: str, head: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "report"
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(64 << 20)  # one line of NULs
    gc.collect()
    tracemalloc.start()
    try:
        parse(backend, path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * LONGEST_ELEMENT_BYTES


REPEATED = [
    ("valgrind", b"<error>"),
    ("valgrind", b"<status>"),
    ("valgrind", b"<error><stack><ip>"),
    ("valgrind", b"<error></error>"),
    ("valgrind", b"<?xml"),
    ("valgrind", b"<?xml</valgrindoutput>"),
    ("valgrind", b"</error>"),
    ("valgrind", b"<stack>"),
    ("valgrind", b"<kind>  "),
    ("valgrind", b"(1 (+1"),
    ("valgrind", b"<?xm"),
    ("sanitizer", b"==1==ERROR: LeakSanitizer: detected memory leaks\n"),
    ("sanitizer", b"==ERROR: AddressSanitizer: x\n"),
    ("sanitizer", b"Direct leak of 1 byte(s) in 1 object(s) allocated from:\n"),
    ("sanitizer", b"="),
    ("sanitizer", b"==1"),
    ("sanitizer", b"\x1b["),
    ("sanitizer", b"#1 0x1 in ("),
    ("sanitizer", b"FRAME\t"),
]


@pytest.mark.parametrize(("backend", "piece"), REPEATED, ids=range(len(REPEATED)))
def test_time_is_no_square_of_the_damage(backend: str, piece: bytes, place: Path) -> None:
    head = (
        b"<?xml version='1.0'?><valgrindoutput>"
        if backend == "valgrind"
        else b"==1==Processing thread 1.\n    "
    )
    place.write_bytes(head + piece * ((1 << 20) // len(piece)))
    parse(backend, place)


@pytest.mark.parametrize(
    "piece", ["==%d==ERROR: LeakSanitizer: detected memory leaks\n", "==%d== LEAK SUMMARY:\n"]
)
def test_processes_of_one_file_are_bounded(piece: str, place: Path) -> None:
    place.write_text("".join(piece % pid for pid in range(1, 3 * MOST_PROCESSES)))
    backend = "sanitizer" if "Sanitizer" in piece else "valgrind"
    assert len(parse(backend, place).processes) <= MOST_PROCESSES + 1


def test_record_of_many_stacks_is_read_in_linear_time(place: Path) -> None:
    head = golden("valgrind", "leaky.xml").read_bytes()
    place.write_bytes(head.replace(b"<stack>", b"<stack>" * 100_000 + b"<ip>" * 100_000))
    parse("valgrind", place)
