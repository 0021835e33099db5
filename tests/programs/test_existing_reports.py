"""Reports as other runners leave them: several runs in one log, and nothing green without proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.existing_reports import check_files
from pytest_leakguard.verdict import Policy, judge_check
from tests.golden_files import golden

HEADER = """\
==1== Memcheck, a memory error detector
==1== Using Valgrind-3.19.0 and LibVEX; rerun with -h for copyright info
==1== Command: ./app
==1==
"""
CLEAN = f"""{HEADER}\
==1== HEAP SUMMARY:
==1==     in use at exit: 0 bytes in 0 blocks
==1==
==1== All heap blocks were freed -- no leaks are possible
==1==
==1== ERROR SUMMARY: 0 errors from 0 contexts (suppressed: 0 from 0)
"""
LEAKY = f"""{HEADER}\
==1== HEAP SUMMARY:
==1==     in use at exit: 64 bytes in 1 blocks
==1==
==1== 64 bytes in 1 blocks are definitely lost in loss record 1 of 1
==1==    at 0x4841788: malloc (vg_replace_malloc.c:442)
==1==    by 0x109152: push (app.c:12)
==1==    by 0x109170: main (app.c:30)
==1==
==1== LEAK SUMMARY:
==1==    definitely lost: 64 bytes in 1 blocks
==1==    indirectly lost: 0 bytes in 0 blocks
==1==      possibly lost: 0 bytes in 0 blocks
==1==    still reachable: 0 bytes in 0 blocks
==1==         suppressed: 0 bytes in 0 blocks
==1==
==1== ERROR SUMMARY: 1 errors from 1 contexts (suppressed: 0 from 0)
"""
CHECKED = "==3==Processing thread 1.\n==3==Stack at 0x1-0x2 (SP = 0x1).\n==3==TLS at 0x1-0x2.\n"


def lsan(size: int, function: str, address: int) -> str:
    """A report of process 1 with one leak."""
    return (
        "\n=================================================================\n"
        "==1==ERROR: LeakSanitizer: detected memory leaks\n\n"
        f"Direct leak of {size} byte(s) in 1 object(s) allocated from:\n"
        "    #0 0x7f1122334455 in malloc (/lib/libasan.so.8+0xba1c7)\n"
        f"    #1 {address:#x} in {function} /src/a.c:21\n"
        f"    #2 {address + 64:#x} in main /src/a.c:30\n\n"
        f"SUMMARY: AddressSanitizer: {size} byte(s) leaked in 1 allocation(s).\n"
    )


def checks_of(folder: Path, text: str | bytes, name: str = "all.log") -> tuple[Check, ...]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return check_files([path], Settings())


def outcomes(checks: tuple[Check, ...]) -> list[Outcome]:
    return [judge_check(check, Policy()).outcome for check in checks]


def sizes(checks: tuple[Check, ...]) -> list[int]:
    return sorted(finding.size_bytes for check in checks for finding in check.findings)


STATISTICS = "AddressSanitizer exit stats:\nStats: 0M malloced (0M for red zones) by 5 calls\n"
THREADS = "==1==Thread T0/1 was created by T-1\n    <empty stack>\n\n"
TABLE = (
    f"{'-' * 53}\nSuppressions used:\n  count  bytes template\n      1     10 lose\n{'-' * 53}\n\n"
)


@pytest.mark.parametrize(
    "behind", [STATISTICS, THREADS, TABLE, "exit status 0\n", "Finished: SUCCESS\n"]
)
def test_a_check_that_something_follows_is_whole(behind: str, tmp_path: Path) -> None:
    assert outcomes(checks_of(tmp_path, CHECKED + behind)) == [Outcome.CLEAN]


@pytest.mark.parametrize("more", ["", "==3==Detached from thread 1.\n", "==4==Scanning chunks.\n"])
def test_a_log_that_ends_where_a_report_would_begin_is_never_clean(
    more: str, tmp_path: Path
) -> None:
    """That is how gcc 12 and clang 14 leave a clean check, and how a leaking one looks when cut."""
    (check,) = checks_of(tmp_path, CHECKED + more)
    assert outcomes((check,)) == [Outcome.INCONCLUSIVE]
    assert any("ASAN_OPTIONS=atexit=1" in problem for problem in check.problems)


@pytest.mark.parametrize("order", [(LEAKY, CLEAN), (CLEAN, LEAKY), (CLEAN, LEAKY, CLEAN)])
def test_runs_with_one_process_id_in_one_log_are_all_judged(
    order: tuple[str, ...], tmp_path: Path
) -> None:
    checks = checks_of(tmp_path, "".join(order))
    assert len(checks) == len(order)
    assert outcomes(checks) == [Outcome.LEAK if text == LEAKY else Outcome.CLEAN for text in order]
    assert sizes(checks) == [64]
    assert len({check.id for check in checks}) == len(order)


def test_the_same_leak_in_two_runs_is_as_large_as_in_one(tmp_path: Path) -> None:
    assert sizes(checks_of(tmp_path, LEAKY + LEAKY)) == [64, 64]


def test_a_run_that_was_cut_is_not_hidden_by_a_whole_one_after_it(tmp_path: Path) -> None:
    for end in ("LEAK SUMMARY", "==1== 64 bytes", "==1== ERROR SUMMARY"):
        cut = LEAKY[: LEAKY.index(end)]
        assert outcomes(checks_of(tmp_path, cut + CLEAN)) == [Outcome.INCONCLUSIVE, Outcome.CLEAN]
    for end in ("Command", "ERROR SUMMARY"):
        cut = CLEAN[: CLEAN.index(end)]
        assert outcomes(checks_of(tmp_path, CLEAN + cut + "\n"))[-1] is Outcome.INCONCLUSIVE


def test_a_quiet_run_does_not_push_the_leaks_of_the_run_before_it_aside(tmp_path: Path) -> None:
    quiet = LEAKY[LEAKY.index("==1== 64 bytes") : LEAKY.index("==1== LEAK SUMMARY")]
    checks = checks_of(tmp_path, LEAKY + quiet.replace("64 bytes", "8 bytes"))
    assert sizes(checks) == [8, 64]
    assert outcomes(checks) == [Outcome.LEAK, Outcome.INCONCLUSIVE]


def test_a_program_that_was_replaced_by_exec_is_one_run(tmp_path: Path) -> None:
    (check,) = checks_of(tmp_path, HEADER.replace("./app", "/bin/sh run.sh") + LEAKY)
    assert outcomes((check,)) == [Outcome.LEAK] and sizes((check,)) == [64]


def test_errors_that_are_shown_again_at_the_end_are_no_run_of_their_own(tmp_path: Path) -> None:
    record = LEAKY[LEAKY.index("==1== 64 bytes") : LEAKY.index("==1== LEAK SUMMARY")]
    last = LEAKY.splitlines()[-1]
    again = f"==1==\n==1== 1 errors in context 1 of 1:\n{record}==1==\n{last}\n"
    (check,) = checks_of(tmp_path, LEAKY + again)
    assert outcomes((check,)) == [Outcome.LEAK] and sizes((check,)) == [64]


def test_a_second_sanitizer_report_hides_no_first_one_under_the_same_process_id(
    tmp_path: Path,
) -> None:
    text = lsan(48, "cache_add", 0x55D0C0DE1234) + CHECKED + lsan(16, "lose", 0x5600C0DE1234)
    checks = checks_of(tmp_path, text)
    assert sizes(checks) == [16, 48]
    assert outcomes(checks) == [Outcome.LEAK, Outcome.LEAK]


def test_checks_of_one_process_that_repeat_each_other_are_one_run(tmp_path: Path) -> None:
    text = lsan(48, "cache_add", 0x55D0C0DE1234)
    (check,) = checks_of(tmp_path, text + text)
    assert sizes((check,)) == [48]


def test_a_sanitizer_report_that_was_cut_is_not_hidden_by_a_whole_one(tmp_path: Path) -> None:
    cut = lsan(48, "cache_add", 0x55D0C0DE1234).partition("SUMMARY")[0]
    checks = checks_of(tmp_path, cut + lsan(16, "lose", 0x5600C0DE1234))
    assert Outcome.INCONCLUSIVE in outcomes(checks) and 48 in sizes(checks)


def test_a_table_of_suppressions_alone_is_proof_of_a_check(tmp_path: Path) -> None:
    table = golden("sanitizer", "all_suppressed.txt").read_text()
    table = table[table.index("-----") :]
    assert outcomes(checks_of(tmp_path, table, "lsan.log.901")) == [Outcome.CLEAN]
    cut = table[: table.rindex("-----") - 20]
    assert outcomes(checks_of(tmp_path, cut, "lsan.log.901")) == [Outcome.INCONCLUSIVE]


@pytest.mark.parametrize(
    "glued",
    [
        "==1== HEAP SUMMARY",
        "==1== LEAK SUMMARY",
        "==1== 64 bytes in",
        "==1==    definitely lost",
        "==1== ERROR SUMMARY",
        "==1== Memcheck",
    ],
)
def test_output_of_the_program_before_a_mark_hides_no_line(glued: str, tmp_path: Path) -> None:
    (check,) = checks_of(tmp_path, LEAKY.replace(glued, f"no line feed{glued}"))
    assert outcomes((check,)) == [Outcome.LEAK] and sizes((check,)) == [64]


@pytest.mark.parametrize("glued", ["==1==ERROR", "Direct leak", "    #1", "SUMMARY:"])
def test_output_of_the_program_before_a_line_of_the_sanitizer_hides_nothing(
    glued: str, tmp_path: Path
) -> None:
    text = lsan(48, "cache_add", 0x55D0C0DE1234).replace(glued, f"no line feed{glued}")
    (check,) = checks_of(tmp_path, text)
    assert outcomes((check,)) == [Outcome.LEAK] and sizes((check,)) == [48]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("definitely lost: 64 bytes", "definitely lest: 64 bytes"), "LEAK SUMMARY are missing"),
        (("exit: 0 bytes in 0", "exit: 64 bytes in 1"), "all blocks were freed"),
        (("0 errors from 0", "1 errors from 1"), "none is in the log"),
    ],
)
def test_a_log_that_contradicts_itself_is_inconclusive(
    change: tuple[str, str], reason: str, tmp_path: Path
) -> None:
    text = LEAKY if change[0] in LEAKY else CLEAN
    (check,) = checks_of(tmp_path, text.replace(*change))
    assert reason in " ".join(check.problems)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CLEAN.replace("Memcheck, a memory", "Helgrind, a thread"), "its tool helgrind"),
        (HEADER.replace("Memcheck, a memory error detector", "DHAT, a dynamic heap analysis tool"), "its tool dhat"),
        (HEADER.replace("Memcheck, a memory error detector", "Massif, a heap profiler"), "its tool massif"),
        (
            CLEAN.replace(
                "All heap blocks were freed -- no leaks are possible",
                "For a detailed leak analysis, rerun with: --leak-check=full",
            ),
            "--leak-check=no",
        ),
        (
            f"{HEADER}\nvalgrind: m_debuginfo/readdwarf3.c:401 (get_Form_contents): Assertion 'form_size' failed.\n",
            "valgrind itself failed: m_debuginfo/readdwarf3.c:401",
        ),
        (
            f"{HEADER}\nvalgrind:  Fatal error at startup: a function redirection\n",
            "valgrind itself failed: Fatal error at startup",
        ),
    ],
)  # fmt: skip
def test_reasons_say_what_the_log_says(text: str, reason: str, tmp_path: Path) -> None:
    (check,) = checks_of(tmp_path, text)
    assert reason in " ".join(check.problems)
