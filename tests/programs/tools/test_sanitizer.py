"""LeakSanitizer's logs: totals as its SUMMARY states them, ambiguous lines, and the proof that a check was made."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.programs import Report, RunStatus, Target
from pytest_leakguard.programs.tools import BACKENDS, recognise
from pytest_leakguard.programs.tools.sanitizer import FRAME_FORMAT
from tests.golden_files import DEFINITE, INDIRECT, Figures, counted_figures, figures, golden, read

SANITIZER = BACKENDS["sanitizer"]
LEAK: Figures = {DEFINITE: (5096, 11)}
WHOLE: dict[str, Figures] = {
    "clean.txt": {},
    "leaky.txt": LEAK,
    "asan_tabs.txt": LEAK,
    "lsan.6103": LEAK,
    "asan.6450": LEAK,
    "clang_columns.6521": LEAK,
    "clang_build_id.6275": LEAK,
    "colours.txt": LEAK,
    "omitting.txt": LEAK,  # one record of two is left out by max_leaks=1, its bytes are not
    "indirect.6128": {DEFINITE: (64, 1), INDIRECT: (1216, 19)},
    "cxx.6225": {DEFINITE: (144, 2), INDIRECT: (8787, 57)},
    "three_checks.txt": {DEFINITE: (720, 18)},  # each check repeats what the one before has said
    "spaces.txt": {DEFINITE: (90, 4)},
    "spaces_tabs.txt": {DEFINITE: (90, 4)},
    "module_spaces.txt": {DEFINITE: (90, 4)},
    "one_suppressed.txt": {DEFINITE: (20, 1)},
    "all_suppressed.txt": {},
    "gcc14_clean.txt": {},
    "gcc16_clean.txt": {},
    "gcc16_threads.txt": {},
    "gcc16_lsan_clean.txt": {},
    "gcc16_lsan_threads.txt": {},
    "gcc16_leaky.txt": {DEFINITE: (64, 1)},
    "gcc16_lsan_leaky.txt": {DEFINITE: (64, 1)},
    "clang19_clean.txt": {},
    "clang19_leaky.txt": {DEFINITE: (64, 1)},
    "clang21_clean.txt": {},
    "clang21_threads.txt": {},
    "clang21_lsan_clean.txt": {},
    "clang21_lsan_threads.txt": {},
    "clang21_leaky.txt": {DEFINITE: (64, 1)},
    "clang21_lsan_leaky.txt": {DEFINITE: (64, 1)},
}


def frames(name: str) -> set[Frame]:
    return {
        frame for leak in SANITIZER.parse(golden("sanitizer", name)).leaks for frame in leak.stack
    }


@pytest.mark.parametrize("name", WHOLE)
def test_totals_are_those_of_the_summary_line(name: str) -> None:
    assert figures(SANITIZER.parse(golden("sanitizer", name))) == WHOLE[name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated.txt", "before its SUMMARY line"),
        ("ptrace_denied.txt", "ptrace is denied"),
        ("crash.6324", "crashed before its leak check"),
        ("asan_stopped.6515", "allocation larger than the sanitizer allows"),
        ("log_not_writable.txt", "could not write its log"),
        ("not_suspended.31279", "could not be stopped"),
        ("no_suppressions_file.txt", "suppressions file cannot be read"),
    ],
)
def test_failures_are_recognised_as_such(name: str, reason: str) -> None:
    path = golden("sanitizer", name)
    assert recognise(path) is SANITIZER
    report, why = read(path, "sanitizer")
    assert reason in why
    assert not any(process.is_complete for process in report.processes)


@pytest.mark.parametrize("compiler", ["gcc14", "gcc16", "clang19", "clang21"])
def test_a_leak_has_one_name_whatever_the_compiler(compiler: str) -> None:
    for name in (f"{compiler}_leaky.txt", f"{compiler}_lsan_leaky.txt"):
        (finding,) = fingerprint.group(SANITIZER.parse(golden("sanitizer", name)).leaks)
        assert fingerprint.names(finding.stack) == ("push", "main")


def test_spaces_in_functions_and_paths_stay_where_they_belong() -> None:
    file = "dir with (space) in/sp ace.cpp"
    expected = {
        ("main", file, 6),
        ("operator()", file, 5),
        ("Box<int, unsigned long>::fill(int, unsigned long)", file, 4),
    }
    for name in ("spaces.txt", "spaces_tabs.txt"):
        assert expected <= {(frame.function, frame.file, frame.line) for frame in frames(name)}


@pytest.mark.parametrize(
    ("text", "function", "file", "line"),
    [
        ("main a.c:3", "main", "a.c", 3),
        ("main a.c:3:7", "main", "a.c", 3),
        ("main a.c", "main", "a.c", None),
        ("main", "main", None, None),
        (
            "void fill<int>(int, char) const src/a b.h:9",
            "void fill<int>(int, char) const",
            "src/a b.h",
            9,
        ),
        (
            "(anonymous namespace)::run(int) src/a.cc:3",
            "(anonymous namespace)::run(int)",
            "src/a.cc",
            3,
        ),
        (
            "operator new(unsigned long) ../../src/x.cpp:1",
            "operator new(unsigned long)",
            "../../src/x.cpp",
            1,
        ),
        ("f(std::vector<int, std::allocator<int> >&) /a b/c.cc:1:2", None, "/a b/c.cc", 1),
        (
            "core::ops::function::FnOnce::call_once src/main.rs:4",
            "core::ops::function::FnOnce::call_once",
            None,
            4,
        ),
    ],
)
def test_described_frames(
    text: str, function: str | None, file: str | None, line: int | None, tmp_path: Path
) -> None:
    frame = one_frame(f"    #1 0x55 in {text}", tmp_path)
    assert frame.function == (function or frame.function)
    assert frame.file == (file or frame.file)
    assert frame.line == line


@pytest.mark.parametrize(
    ("text", "function", "module", "offset"),
    [
        ("in f(int) (/a (1)/b+0x1f)", "f(int)", "/a (1)/b", 0x1F),
        (" (/a (1)/b+0x1f) (BuildId: aa)", None, "/a (1)/b", 0x1F),
        ("in f (liba.so+0x1f)", "f", "liba.so", 0x1F),
        (" (<unknown module>)", None, None, None),
        ("([stack]+0x1d5)", None, "[stack]", 0x1D5),
        ("in f (/lib/a+0x" + "f" * 9000 + ")", "f", "/lib/a", None),
    ],
)
def test_frames_with_modules(
    text: str, function: str | None, module: str | None, offset: int | None, tmp_path: Path
) -> None:
    frame = one_frame(f"    #1 0x55 {text}", tmp_path)
    assert (frame.function, frame.module, frame.offset) == (function, module, offset)


def one_frame(line: str, tmp_path: Path) -> Frame:
    path = tmp_path / "log.9"
    path.write_text(
        "==9==ERROR: LeakSanitizer: detected memory leaks\n\n"
        f"Direct leak of 8 byte(s) in 1 object(s) allocated from:\n{line}\n\n"
        "SUMMARY: LeakSanitizer: 8 byte(s) leaked in 1 allocation(s).\n"
    )
    ((frame,),) = [leak.stack for leak in SANITIZER.parse(path).leaks]
    return frame


def test_build_id_and_columns_are_no_part_of_a_name() -> None:
    assert {frame.module for frame in frames("clang_build_id.6275")} == {
        "/build/bin/stripped.clsan"
    }
    assert ("leak_one", 3) in {
        (frame.function, frame.line) for frame in frames("clang_columns.6521")
    }


def test_modules_keep_their_spaces() -> None:
    assert "/tmp/ex/mod (1)/spaced.lsan" in {frame.module for frame in frames("module_spaces.txt")}


def test_records_left_out_by_max_leaks_are_a_leak_without_a_stack() -> None:
    shown, hidden = SANITIZER.parse(golden("sanitizer", "omitting.txt")).leaks
    assert (shown.size_bytes, hidden.size_bytes, hidden.blocks, hidden.stack) == (
        4096,
        1000,
        10,
        (),
    )


def test_forked_children_do_not_count_their_parents_blocks_again() -> None:
    report = SANITIZER.parse(golden("sanitizer", "fork.txt"))
    assert len(report.processes) == 2
    assert figures(report) == {DEFINITE: (2222 + 1111 + 3333 + 1111, 4)}
    assert counted_figures(report)[DEFINITE][0] <= figures(report)[DEFINITE][0]


def test_missing_records_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.6103"
    path.write_bytes(
        golden("sanitizer", "lsan.6103")
        .read_bytes()
        .replace(b"Direct leak of 1000", b"Direct_leak of 1000")
    )
    report, why = read(path, "sanitizer")
    assert "leak records are missing" in why and report.leaks


@pytest.mark.parametrize("digits", ["9" * 5000, "1" * 25, "", "٣"])
def test_absurd_numbers_are_damage_not_a_crash(digits: str, tmp_path: Path) -> None:
    text = golden("sanitizer", "leaky.txt").read_text()
    path = tmp_path / "log.1"
    for old in ("4096 byte", "10 object", "\t4\t", "0x1170", "5096 byte", "==ERROR"):
        path.write_text(text.replace(old, old.replace(old.strip("\t =").split(" ")[0], digits)))
        report, why = read(path, "sanitizer")
        assert why or report.leaks


def test_plan_lets_the_program_keep_its_exit_status_and_proves_its_check(tmp_path: Path) -> None:
    env = dict(
        SANITIZER.plan(
            Target(("./a b",), env=(("LSAN_OPTIONS", "suppressions=mine"),)), tmp_path
        ).env
    )
    assert env["LSAN_OPTIONS"].startswith("suppressions=mine:")  # ours come last, so they win
    assert "exitcode=0" in env["LSAN_OPTIONS"] and "log_threads=1" in env["LSAN_OPTIONS"]
    assert f'"{FRAME_FORMAT}"' in env["ASAN_OPTIONS"] and "detect_leaks=1" in env["ASAN_OPTIONS"]


def test_program_killed_after_a_check_has_inconclusive() -> None:
    report = SANITIZER.parse(golden("sanitizer", "clean.txt"))
    pid = report.processes[0].pid
    assert SANITIZER.demand(report, RunStatus(pid, exit_code=0)) == ()
    assert SANITIZER.demand(report, RunStatus(pid, exit_code=3)) == ()
    assert "killed" in SANITIZER.demand(report, RunStatus(pid, exit_code=None, signal=9))[0]
    assert "killed" in SANITIZER.demand(report, RunStatus(pid, exit_code=0, timed_out=True))[0]


def test_failures_on_standard_error_are_reasons_but_the_programs_own_words_are_not() -> None:
    report = SANITIZER.parse(golden("sanitizer", "clean.txt"))
    pid = report.processes[0].pid
    words = b"Can't open file: x\nCHECK failed\nDEADLYSIGNAL\n"
    assert SANITIZER.demand(report, RunStatus(pid, 0, stdout=words, stderr=words)) == ()
    failure = golden("sanitizer", "ptrace_denied.txt").read_bytes()
    assert "ptrace" in SANITIZER.demand(report, RunStatus(pid, 0, stderr=failure))[0]


@pytest.mark.parametrize(
    "name",
    [
        "leaky.txt",
        "asan_tabs.txt",
        "lsan.6103",
        "colours.txt",
        "one_suppressed.txt",
        "omitting.txt",
        "gcc16_leaky.txt",
        "clang21_lsan_leaky.txt",
    ],
)
def test_cut_at_any_byte_is_never_a_clean_answer_but_at_one(name: str, tmp_path: Path) -> None:
    """The one: after the lines of the last thread (only ``log_threads=1`` writes them), where a clean log ends."""
    content = golden("sanitizer", name).read_bytes()
    whole = SANITIZER.parse(golden("sanitizer", name))
    path = tmp_path / name
    taken_for_clean = set()
    for cut in range(content.index(b"allocation(s).")):
        path.write_bytes(content[:cut])
        report, why = read(path, "sanitizer")
        if not why:
            assert report.leaks == ()
            taken_for_clean.add(cut)
        assert is_part(report, whole), cut
    threads_end = content.find(b"\n\n==") + 1
    assert taken_for_clean == ({threads_end} if b"Processing thread" in content else set())


def test_log_of_a_clean_run_cut_anywhere_is_inconclusive(tmp_path: Path) -> None:
    for name in ("clean.txt", "all_suppressed.txt"):
        content = golden("sanitizer", name).read_bytes()
        threads_end = content.index(b".\n", content.index(b"TLS at")) + 2
        for cut in range(len(content)):
            path = tmp_path / "log"
            path.write_bytes(content[:cut])
            if cut == threads_end or content[cut:] == b"\n":
                continue
            with pytest.raises(MalformedReport):
                SANITIZER.parse(path)


CLEAN_OF_GCC_16 = b"""\
==327==Processing thread 323.
==327==Stack at 0x7fff2c8f2000-0x7fff2d0f2000 (SP = 0x7fff2d0f0670).
==327==TLS at 0x7f59b9da7000-0x7f59b9db5c40.
==323==Thread T0/323 was created by T-1
Thread T1/324 was created by T0/323
    <empty stack>

"""


def test_the_threads_origins_behind_a_clean_check_are_no_report(tmp_path: Path) -> None:
    """They stand behind the report of a leaking program, so whole lines of them prove that none is.

    A line that was cut proves that the log was.
    """
    leaky = golden("sanitizer", "gcc16_leaky.txt").read_bytes()
    assert leaky.index(b"SUMMARY: ") < leaky.index(b" was created by ")
    log = tmp_path / "log.323"
    checked = CLEAN_OF_GCC_16.index(b"==323==")
    for length in range(checked + 1, len(CLEAN_OF_GCC_16) + 1):
        log.write_bytes(CLEAN_OF_GCC_16[:length])
        if CLEAN_OF_GCC_16[:length].endswith(b"\n"):
            assert BACKENDS["sanitizer"].parse(log).leaks == ()
        else:
            with pytest.raises(MalformedReport):
                BACKENDS["sanitizer"].parse(log)
    log.write_bytes(CLEAN_OF_GCC_16 + b"\n")
    assert BACKENDS["sanitizer"].parse(log).leaks == ()
    log.write_bytes(CLEAN_OF_GCC_16 + b"=====")
    with pytest.raises(MalformedReport):
        BACKENDS["sanitizer"].parse(log)


def is_part(report: Report, whole: Report) -> bool:
    return _figures(report) <= _figures(whole)


def _figures(report: Report) -> set[tuple[object, ...]]:
    figures: set[tuple[object, ...]] = set()
    for leak in report.leaks:
        figures.add((leak.kind, leak.size_bytes, leak.blocks, fingerprint.of_leak(leak)))
    return figures
