"""valgrind's XML and text: totals as valgrind itself states them, and every trap of the real files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import pytest

from pytest_leakguard.core import forks
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.core.programs import Report, RunStatus, Target
from pytest_leakguard.programs.tools import BACKENDS, recognise, valgrind_scan, valgrind_xml
from pytest_leakguard.programs.tools.base import merge
from tests.golden_files import (
    DEFINITE,
    INDIRECT,
    POSSIBLE,
    REACHABLE,
    Figures,
    counted_figures,
    figures,
    golden,
    read,
)

VALGRIND = BACKENDS["valgrind"]
Edit = Callable[[str, bytes, bytes], Path]
LISTS: Figures = {
    DEFINITE: (64, 1),
    INDIRECT: (1216, 19),
    POSSIBLE: (1000, 1),
    REACHABLE: (5000, 100),
}

WHOLE: dict[str, Figures] = {
    "clean.xml": {},
    "leaky.xml": {DEFINITE: (5096, 11)},
    "quiet.xml": {DEFINITE: (4, 2)},  # -q leaves out <suppcounts>
    "protocol4_324.xml": {DEFINITE: (5096, 11)},
    "possible.xml": {POSSIBLE: (1000, 1)},
    "indirect.xml": {
        DEFINITE: (64, 1),
        INDIRECT: (1216, 19),
    },  # valgrind's text says 1,280 = 64 direct + 1,216
    "all_kinds.xml": LISTS,
    "default_kinds.xml": {
        DEFINITE: (1280, 1),
        POSSIBLE: (1000, 1),
    },  # no record of its own for the indirect bytes
    "cxx.xml": {DEFINITE: (352, 5), INDIRECT: (8579, 54), REACHABLE: (349, 3)},
    "checks_during_the_run.xml": {DEFINITE: (500, 3)},
    "protocol6.xml": {DEFINITE: (1798, 25), REACHABLE: (5256, 21)},
    "crash_protocol6.xml": {DEFINITE: (1234, 1)},
    "raw_thread_name.xml": {DEFINITE: (975, 15), POSSIBLE: (272, 1)},
    "raw_comment_not_utf8.xml": {DEFINITE: (5096, 11)},
    "log_clean.txt": {},
    "log_all.txt": LISTS,
    "log_default.txt": LISTS,  # no --leak-check=full: only the summary tells
    "log_full.txt": {DEFINITE: (1280, 1), POSSIBLE: (1000, 1), REACHABLE: (5000, 100)},
}


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    def edit(name: str, old: bytes, new: bytes) -> Path:
        content = golden("valgrind", name).read_bytes()
        assert old in content
        path = tmp_path / name
        path.write_bytes(content.replace(old, new))
        return path

    return edit


@pytest.mark.parametrize("name", WHOLE)
def test_totals_are_those_valgrind_states(name: str) -> None:
    report = VALGRIND.parse(golden("valgrind", name))
    assert figures(report) == WHOLE[name]
    assert all(process.is_complete and process.pid for process in report.processes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated.xml", "no final leak check"),
        ("static.xml", "statically linked"),
        ("bad_suppression.xml", "suppression file is wrong"),
        ("fork.16846.xml", "did not follow"),
        ("five_documents.xml", "5 processes wrote into this one file"),
        ("log_quiet.txt", "no LEAK SUMMARY"),
    ],
)
def test_what_is_not_whole_is_refused_with_its_reason(name: str, reason: str) -> None:
    _, why = read(golden("valgrind", name), "valgrind")
    assert reason in why


def test_text_and_xml_of_one_program_agree() -> None:
    xml = VALGRIND.parse(golden("valgrind", "all_kinds.xml"))
    text = VALGRIND.parse(golden("valgrind", "log_all.txt"))
    assert [[f.function for f in leak.stack] for leak in xml.leaks] == [
        [f.function for f in leak.stack] for leak in text.leaks
    ]


def test_quiet_log_shows_its_leaks_but_never_that_there_are_no_more() -> None:
    report, _ = read(golden("valgrind", "log_quiet.txt"), "valgrind")
    assert figures(report) == {DEFINITE: (1280, 1), POSSIBLE: (1000, 1)}


def test_command_signal_and_version_are_kept() -> None:
    (process,) = VALGRIND.parse(golden("valgrind", "crash_protocol6.xml")).processes
    assert process.signal == 11
    assert process.command.endswith("crash") or "crash" in process.command
    assert VALGRIND.parse(golden("valgrind", "leaky.xml")).tool_version == "3.19.0"
    assert VALGRIND.parse(golden("valgrind", "log_all.txt")).processes[0].command == "./lists"


def test_raw_thread_name_does_not_hide_its_record() -> None:
    report = VALGRIND.parse(golden("valgrind", "raw_thread_name.xml"))
    assert any(
        "worker" in (f.function or "") or f.line for leak in report.leaks for f in leak.stack
    )


@pytest.mark.parametrize(
    "name", [b"</error>", b"<error>", b"<stack>", b"</stack>", b"</frame>", b"<kind>"]
)
def test_hostile_thread_name_is_never_a_clean_answer(edited: Edit, name: bytes) -> None:
    report, why = read(edited("raw_thread_name.xml", b'wrk<0>&"x"', name), "valgrind")
    assert why or figures(report) == WHOLE["raw_thread_name.xml"]


FAKE = (
    b"<error><unique>0x9</unique><tid>1</tid><kind>Leak_DefinitelyLost</kind><xwhat><text>7 bytes</text>"
    b"<leakedbytes>7</leakedbytes><leakedblocks>7</leakedblocks></xwhat>"
    b"<stack><frame><ip>0x1</ip></frame></stack></error></valgrindoutput><status>FINISHED</status>"
)


def test_user_comment_that_quotes_a_report_is_not_taken_for_one(edited: Edit) -> None:
    path = edited("raw_comment_not_utf8.xml", b"<usercomment>", b"<usercomment>" + FAKE)
    assert figures(VALGRIND.parse(path)) == {DEFINITE: (5096, 11)}


def test_comment_that_never_ends_hides_nothing(edited: Edit) -> None:
    report, why = read(edited("raw_comment_not_utf8.xml", b"</usercomment>", b""), "valgrind")
    assert "damaged" in why
    assert figures(report) == {DEFINITE: (5096, 11)}


def test_checks_made_during_the_run_are_not_added() -> None:
    content = golden("valgrind", "checks_during_the_run.xml").read_bytes()
    assert content.count(b"<kind>Leak_") > len(
        VALGRIND.parse(golden("valgrind", "checks_during_the_run.xml")).leaks
    )


def test_checks_made_during_a_run_that_was_killed_are_not_added_up(tmp_path: Path) -> None:
    content = golden("valgrind", "checks_during_the_run.xml").read_bytes()
    path = tmp_path / "vg.xml"
    path.write_bytes(content[: content.index(b"<state>FINISHED")])
    report, why = read(path, "valgrind")
    assert why
    stacks = [(leak.kind, tuple(f.address for f in leak.stack)) for leak in report.leaks]
    assert stacks and len(stacks) == len(set(stacks))


@pytest.mark.parametrize("bytes_at_the_end", [b"100", b"700"])
def test_of_checks_made_during_a_run_that_was_killed_the_latest_figures_count(
    tmp_path: Path, bytes_at_the_end: bytes
) -> None:
    """Each check shows blocks of the one before again, with what they have become since."""
    content = golden("valgrind", "checks_during_the_run.xml").read_bytes()
    opening = content[: content.index(b"<error>")]
    records = [
        b"<error>" + record.partition(b"</error>")[0] + b"</error>\n"
        for record in content.split(b"<error>")[1:]
    ]
    final = next(record for record in records if b"loss record 1 of 3" in record)
    later = final.replace(b"<leakedbytes>100", b"<leakedbytes>" + bytes_at_the_end)
    path = tmp_path / "vg.xml"
    path.write_bytes(opening + final + final + later)
    report, why = read(path, "valgrind")
    assert "no final leak check" in why
    assert figures(report) == {DEFINITE: (int(bytes_at_the_end), 1)}


def test_numbers_of_protocol_6_may_have_commas_and_deltas(edited: Edit) -> None:
    path = edited("protocol6.xml", b"<bytes>1,798</bytes>", b"<bytes>1,798 (+1,000)</bytes>")
    assert figures(VALGRIND.parse(path)) == WHOLE["protocol6.xml"]


def test_delta_in_a_record_leaves_its_absolute_figures(edited: Edit) -> None:
    path = edited(
        "indirect.xml",
        b"1,280 (64 direct, 1,216 indirect) bytes in 1 blocks",
        b"1,280 (+1,280) (64 (+64) direct, 1,216 (+1,216) indirect) bytes in 1 (+1) blocks",
    )
    assert figures(VALGRIND.parse(path)) == WHOLE["indirect.xml"]


def test_missing_records_are_noticed_where_there_is_a_summary(edited: Edit) -> None:
    path = edited("protocol6.xml", b"<bytes>1,798</bytes>", b"<bytes>1,799</bytes>")
    assert "leak records are missing" in read(path, "valgrind")[1]


def test_kinds_that_only_the_summary_counts_are_not_lost(edited: Edit) -> None:
    path = edited(
        "protocol6.xml",
        b"<possibly_lost>\n    <bytes>0</bytes>\n    <blocks>0</blocks>",
        b"<possibly_lost>\n    <bytes>1,000</bytes>\n    <blocks>2</blocks>",
    )
    assert figures(VALGRIND.parse(path))[POSSIBLE] == (1000, 2)


def test_unclosed_still_reachable_of_valgrind_3_26_is_read(edited: Edit) -> None:
    path = edited("protocol6.xml", b"</still_reachable>", b"")
    assert figures(VALGRIND.parse(path)) == WHOLE["protocol6.xml"]


@pytest.mark.parametrize(
    "broken",
    [
        b"<kind>",
        b"</error>",
        b"<error>",
        b"<leakedbytes>",
        b"<leakedblocks>",
        b"<stack>",
        b"</stack>",
    ],
)
def test_damaged_records_are_noticed(edited: Edit, broken: bytes) -> None:
    assert read(edited("leaky.xml", broken, b"<x>"), "valgrind")[1]


def test_another_tool_of_valgrinds_is_no_leak_check(edited: Edit) -> None:
    assert (
        "checks no leaks"
        in read(edited("clean.xml", b"<tool>memcheck", b"<tool>helgrind"), "valgrind")[1]
    )


@pytest.mark.parametrize("digits", [b"9" * 5000, b"1" * 30, b"", b",", "٣".encode()])
def test_absurd_numbers_are_damage_not_a_crash(edited: Edit, digits: bytes) -> None:
    for tag in (b"leakedbytes>4096", b"leakedblocks>10", b"pid>15394", b"line>3"):
        name = tag.partition(b">")[0]
        report, why = read(edited("leaky.xml", tag, name + b">" + digits), "valgrind")
        assert why or report.leaks


def test_forked_children_do_not_count_their_parents_blocks_again() -> None:
    reports = tuple(
        read(golden("valgrind", f"fork.{pid}.xml"), "valgrind")[0] for pid in (16844, 16845, 16847)
    )
    report = merge("valgrind", reports)
    assert [process.is_fork for process in report.processes] == [False, True, True]
    raw, counted = figures(report)[DEFINITE], counted_figures(report)[DEFINITE]
    assert raw == (1111 + 3333 + 5555, 5)
    assert counted == (1111 + 2222 + 4444, 3)


def test_bodies_of_a_shared_file_go_to_their_processes() -> None:
    report, _ = read(golden("valgrind", "five_documents.xml"), "valgrind")
    assert counted_figures(report) == {DEFINITE: (7777, 3)}
    assert sum(process.is_complete for process in report.processes) == 3


def test_several_processes_in_one_log_are_told_apart() -> None:
    report = VALGRIND.parse(golden("valgrind", "log_fork.txt"))
    assert counted_figures(report) == {DEFINITE: (6666, 3)}
    assert [process.is_fork for process in report.processes] == [False, True]
    exec_report = VALGRIND.parse(golden("valgrind", "log_fork_exec.txt"))
    assert counted_figures(exec_report) == {DEFINITE: (4444 + 5096, 13)}
    assert {process.command for process in exec_report.processes} == {"./forker x", "./definite x"}


def test_process_that_execs_begins_anew_under_its_pid(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = golden("valgrind", "log_clean.txt").read_bytes()
    cut = whole[: whole.index(b"HEAP SUMMARY")]
    path.write_bytes(cut + b"\n" + whole)
    assert VALGRIND.parse(path).leaks == ()
    path.write_bytes(whole + cut)
    with pytest.raises(MalformedReport, match="no LEAK SUMMARY"):
        VALGRIND.parse(path)


def test_leak_check_during_the_run_alone_is_inconclusive_in_a_log(edited: Edit) -> None:
    path = edited("log_all.txt", b"HEAP SUMMARY", b"HEAT SUMMARY")
    report, why = read(path, "valgrind")
    assert "none at exit" in why
    assert figures(report) == LISTS


def test_a_program_that_names_a_sanitizer_is_still_valgrinds(edited: Edit) -> None:
    assert recognise(edited("log_all.txt", b"./lists", b"./AddressSanitizerTest")) is VALGRIND


def test_plan_asks_for_everything_and_for_no_log_file(tmp_path: Path) -> None:
    workdir = tmp_path / "50% of it"
    launch = VALGRIND.plan(
        Target(("prog",), follows_children=False, tool_args=("--num-callers=9",)), workdir
    )
    assert {
        "--xml=yes",
        "--leak-check=full",
        "--show-leak-kinds=all",
        "--trace-children=no",
    } <= set(launch.argv)
    assert f"--xml-file={tmp_path}/50%% of it/vg.%p.xml" in launch.argv
    assert not any(argument.startswith("--log-file") for argument in launch.argv)
    assert launch.argv.index("--num-callers=9") < launch.argv.index("prog")


def test_every_process_must_have_finished() -> None:
    whole = VALGRIND.parse(golden("valgrind", "fork.16844.xml"))
    cut, _ = read(golden("valgrind", "fork.16846.xml"), "valgrind")
    status = RunStatus(pid=16844, exit_code=0)
    assert VALGRIND.demand(whole, status) == ()
    (reason,) = VALGRIND.demand(merge("valgrind", (whole, cut)), status)
    assert "process 16846" in reason


@pytest.mark.parametrize(
    "name",
    [
        "leaky.xml",
        "indirect.xml",
        "default_kinds.xml",
        "crash_protocol6.xml",
        "log_default.txt",
        "log_full.txt",
    ],
)
def test_cut_at_any_byte_is_never_a_clean_answer(name: str, tmp_path: Path) -> None:
    content = golden("valgrind", name).read_bytes()
    whole = VALGRIND.parse(golden("valgrind", name))
    ends = len(content.rstrip())  # nothing but white space follows
    path = tmp_path / name
    for cut in range(0, ends, 1 if ends < 2000 or name == "leaky.xml" else 7):
        path.write_bytes(content[:cut])
        report, why = read(path, "valgrind")
        assert why, f"cut at {cut} of {len(content)} was taken for a whole report"
        assert _is_part(report, whole), cut


def _is_part(report: Report, whole: Report) -> bool:
    """Nothing recovered that is not in the whole report. A definite record may still hold its indirect bytes."""
    left = dict.fromkeys(_keys(whole))
    hanging = sum(leak.size_bytes for leak in whole.leaks if leak.kind is INDIRECT)
    at_most = {
        key: leak.size_bytes + hanging for key, leak in zip(_keys(whole), whole.leaks, strict=True)
    }
    return all(
        key in left and leak.size_bytes <= at_most[key]
        for key, leak in zip(_keys(report), report.leaks, strict=True)
    )


def _keys(report: Report) -> list[tuple[object, ...]]:
    return [
        (leak.kind, leak.blocks, tuple(frame.address for frame in leak.stack))
        for leak in report.leaks
    ]


def test_blocks_inherited_are_found_by_any_ancestor() -> None:
    """See ``core.forks``; here on real reports whose middle process left none."""
    parent, child = (
        VALGRIND.parse(golden("valgrind", f"fork.{pid}.xml")) for pid in (16844, 16845)
    )
    both = merge("valgrind", (parent, child))
    assert len(forks.counted_once(both)) == 2


def test_a_report_read_in_another_thread_meanwhile_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = golden("valgrind", "cxx.xml")
    texts: list[bytes] = []
    read_frame, elements = valgrind_xml._frame, valgrind_scan.elements

    def counted(text: bytes) -> Frame:
        texts.append(text)
        return read_frame(text)

    monkeypatch.setattr(valgrind_xml, "_frame", counted)
    alone = VALGRIND.parse(path)
    reads_alone = len(texts)
    meanwhile: list[Report] = []

    def interrupted(stream: BinaryIO) -> Iterator[bytes]:
        for count, element in enumerate(elements(stream)):
            if count == 10:  # in the middle: half of the stacks are read
                monkeypatch.setattr(valgrind_xml, "elements", elements)
                thread = Thread(target=lambda: meanwhile.append(VALGRIND.parse(path)))
                thread.start()
                thread.join()
            yield element

    monkeypatch.setattr(valgrind_xml, "elements", interrupted)
    assert [VALGRIND.parse(path), *meanwhile] == [alone, alone]
    assert len(texts) == 3 * reads_alone  # each parse reads every distinct text once, and its own


def test_reports_read_in_two_threads_at_once_say_what_they_say_alone() -> None:
    names = ["all_kinds.xml", "cxx.xml"] * 20
    alone = [VALGRIND.parse(golden("valgrind", name)) for name in names]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda name: VALGRIND.parse(golden("valgrind", name)), names)) == (
            alone
        )


def test_without_counts_of_suppressions_a_report_is_whole_only_where_valgrind_was_quiet(
    edited: Edit,
) -> None:
    with pytest.raises(MalformedReport, match="the counts at its end are missing"):
        VALGRIND.parse(edited("quiet.xml", b"<arg>-q</arg>", b"<arg>-v</arg>"))
