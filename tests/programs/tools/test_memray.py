"""memray captures: what lasts is a leak, and only a capture that memray closed is an answer."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_leakguard.core.errors import MalformedReport, ToolMissing
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.programs import RunStatus, Target
from pytest_leakguard.processes.supervisor import capture
from pytest_leakguard.programs.tools import BACKENDS, memray_reader
from pytest_leakguard.programs.tools import memray as memray_tool
from pytest_leakguard.programs.tools.memray import split_command
from tests.golden_files import golden, read

memray = pytest.importorskip("memray")
MEMRAY = BACKENDS["memray"]


def test_leak_is_named_by_the_line_that_keeps_allocating() -> None:
    (leak,) = MEMRAY.parse(golden("memray", "leaky")).leaks
    assert leak.kind is LeakKind.PYTHON_OBJECTS
    assert [frame.function for frame in leak.stack] == ["remember", "<module>"]
    assert leak.size_bytes >= 3000 * 1000 and leak.blocks >= 3000


def test_capture_that_was_not_closed_is_inconclusive_although_it_can_be_read() -> None:
    report, why = read(golden("memray", "truncated"), "memray")
    assert "not closed" in why
    assert report.processes[0].pid


def test_capture_cut_anywhere_is_inconclusive(tmp_path: Path) -> None:
    content = golden("memray", "leaky").read_bytes()
    path = tmp_path / "memray.bin"
    for cut in [
        *range(0, len(content), 9001),
        len(content) - 9,
        *range(len(content) - 4, len(content)),
    ]:
        path.write_bytes(content[:cut])
        with pytest.raises(MalformedReport) as caught:
            MEMRAY.parse(path)
        assert caught.value.recovered is not None


def damaged(seed: int, path: Path) -> Path:
    """The capture of a leaking program with one bit of it changed."""
    content, at = bytearray(golden("memray", "leaky").read_bytes()), random.Random(seed)
    content[at.randrange(len(content))] ^= 1 << at.randrange(8)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("seed", range(32))
def test_a_capture_with_one_bit_changed_is_never_clean(seed: int, tmp_path: Path) -> None:
    try:
        assert MEMRAY.parse(damaged(seed, tmp_path / "memray.bin")).leaks
    except MalformedReport as error:
        assert "memray.bin" in str(error) and error.recovered is not None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_no_capture_with_one_bit_changed_is_clean(seed: int, tmp_path: Path) -> None:
    test_a_capture_with_one_bit_changed_is_never_clean(seed, tmp_path)


def test_a_capture_that_ends_its_reader_is_damaged_and_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(
        memray_tool, "capture", lambda argv, limit_s: capture([argv[0], "-c", script], limit_s)
    )
    _, why = read(golden("memray", "leaky"), "memray")
    assert "its reader ended with SIGSEGV" in why


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"records": 27_000}, "the run counted 27479"), ({"repeated": 2}, "2 block(s) are allocated")],
)
def test_what_was_read_is_compared_with_what_the_run_counted(
    change: dict[str, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = memray_tool._answer(golden("memray", "leaky"))
    assert (answer["records"], answer["repeated"]) == (27_479, 0)
    monkeypatch.setattr(memray_tool, "_answer", lambda path: {**answer, **change})
    report, why = read(golden("memray", "leaky"), "memray")
    assert reason in why and report.leaks


@pytest.mark.parametrize(
    ("argv", "flags", "program"),
    [
        (("python3", "a.py", "-x"), (), ("a.py", "-x")),
        (
            ("python3.12", "-X", "dev", "-B", "-m", "pkg", "-v"),
            ("-X", "dev", "-B"),
            ("-m", "pkg", "-v"),
        ),
        (("/usr/bin/python", "-c", "pass"), (), ("-c", "pass")),
    ],
)
def test_interpreter_keeps_its_flags(
    argv: tuple[str, ...], flags: tuple[str, ...], program: tuple[str, ...]
) -> None:
    assert split_command(argv) == (argv[0], flags, program)


def test_script_without_interpreter_runs_in_ours() -> None:
    assert split_command(("./tool", "x"))[2] == ("./tool", "x")


@pytest.mark.parametrize(
    "first",
    [
        "#!{python} -u",
        "#!/usr/bin/env -S {python} -u",
        "#!/bin/sh\n'''exec' \"{python}\" -u \"$0\"",
    ],
)
def test_a_script_runs_in_the_interpreter_that_its_first_line_names(
    tmp_path: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memray_tool, "_has_memray", lambda interpreter: True)
    python = tmp_path / "python3"
    python.symlink_to(sys.executable)
    script = tmp_path / "shop"
    script.write_text(f"{first.format(python=python)}\nprint()\n")
    prepared = MEMRAY.prepare(Target((str(script), "x")))
    assert prepared.argv == (str(python), "-u", str(script), "x")
    plain = Target((str(tmp_path / "tool.sh"), "x"))
    (tmp_path / "tool.sh").write_text("#!/bin/sh\n")
    assert MEMRAY.prepare(plain) == plain


def test_an_interpreter_without_memray_is_a_missing_tool(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o700)
    with pytest.raises(ToolMissing, match=r"not installed for .*python3.* -m pip install memray"):
        MEMRAY.prepare(Target((str(python), "shop.py")))


def test_plan_stops_gently_so_that_the_capture_is_closed(tmp_path: Path) -> None:
    assert MEMRAY.plan(Target(("a.py",)), tmp_path).stop_signals[0][0] == 2


def test_the_started_process_must_have_left_a_capture() -> None:
    report = MEMRAY.parse(golden("memray", "clean"))
    assert MEMRAY.demand(report, RunStatus(report.processes[0].pid + 1, 0))


class _Recorded:
    """A capture in which little happens besides the start and the end, as on Python 3.14."""

    def __init__(self, before: int, kept: int, after: int) -> None:
        self._counts = before, kept, after

    def get_allocation_records(self) -> Iterator[SimpleNamespace]:
        before, kept, after = self._counts
        allocators = memray.AllocatorType
        starts = [("_get_code_from_file", "<frozen runpy>", 266)]
        looks = [("get_importer", "/usr/lib/python3.14/pkgutil.py", 219)]
        own = [("plant", "keep.py", 3), ("<module>", "keep.py", 4)]
        for number in range(before):
            yield _record(number, allocators.MALLOC, starts if number else looks)
        for number in range(kept):
            yield _record(before + number, allocators.MALLOC, own)
        for number in range(after):
            yield _record(number % before, allocators.FREE, [])


def _record(number: int, allocator: Any, stack: list[tuple[str, str, int]]) -> SimpleNamespace:
    return SimpleNamespace(
        address=number,
        allocator=allocator.value,
        size=1000,
        stack_id=number if not stack else len(stack),
        stack_trace=lambda: stack,
    )


def test_what_starts_and_ends_a_program_does_not_count_as_its_run() -> None:
    recorded = memray_reader._retained(_Recorded(before=1500, kept=200, after=3000), memray)
    assert recorded.records == 1500 + 200 + 3000
    ((_, blocks, stack),) = memray_reader._leaks(recorded)
    assert (blocks, stack[0][0]) == (200, "plant")
