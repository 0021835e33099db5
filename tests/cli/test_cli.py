"""The console script: exit statuses, formats by content, files written, the baseline's commands."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from junitparser import JUnitXml

from pytest_leakguard.cli.main import main
from pytest_leakguard.counters import reader
from pytest_leakguard.pytest_integration import _pytest_internals

GOLDEN = Path(__file__).parent.parent / "golden"
LEAK_XML = """<?xml version="1.0"?>
<valgrindoutput><protocolversion>4</protocolversion><protocoltool>memcheck</protocoltool>
<preamble><line>Using Valgrind-3.19.0 and LibVEX</line></preamble><pid>7</pid><ppid>1</ppid><tool>memcheck</tool>
<status><state>RUNNING</state><time>00:00:00:00.1 </time></status>
<status><state>FINISHED</state><time>00:00:00:00.2 </time></status>
<error><unique>0x0</unique><tid>1</tid><kind>Leak_DefinitelyLost</kind><xwhat><text>SIZE bytes in 1 blocks are
definitely lost in loss record 1 of 1</text><leakedbytes>SIZE</leakedbytes><leakedblocks>1</leakedblocks></xwhat><stack>
<frame><ip>0x1</ip><obj>/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so</obj><fn>malloc</fn></frame>
<frame><ip>0x2</ip><obj>/b/prog</obj><fn>NAME</fn><dir>/b/src</dir><file>a.c</file><line>3</line></frame>
<frame><ip>0x3</ip><obj>/b/prog</obj><fn>main</fn><dir>/b/src</dir><file>a.c</file><line>9</line></frame>
</stack></error>
</valgrindoutput>
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leaky(folder: Path, name: str = "push", size: int = 100, file: str = "leaky.xml") -> str:
    (folder / file).write_text(LEAK_XML.replace("NAME", name).replace("SIZE", str(size)))
    return file


def clean(folder: Path, file: str = "clean.xml") -> str:
    start, end = LEAK_XML.index("<error>"), LEAK_XML.index("</error>") + len("</error>")
    (folder / file).write_text(LEAK_XML[:start] + LEAK_XML[end:])
    return file


def cut(folder: Path, file: str = "cut.xml") -> str:
    (folder / file).write_text(
        LEAK_XML.replace("NAME", "push").replace("SIZE", "100").replace("</valgrindoutput>", "")
    )
    return file


def test_clean_is_0_leaks_are_1_usage_is_2_inconclusive_is_3(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", clean(folder)]) == 0
    assert main(["check", leaky(folder)]) == 1
    assert main(["check", "--kinds", "nonsense", clean(folder)]) == 2
    assert "unknown leak kind" in capsys.readouterr().err
    assert main(["check", cut(folder)]) == 3
    assert main(["check", "absent.xml"]) == 3
    with pytest.raises(SystemExit) as exit_:
        main(["check"])
    assert exit_.value.code == 2
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2


def test_leaks_seen_before_the_end_are_kept_beside_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", cut(folder), "--json", "report.json"]) == 3
    report = json.loads((folder / "report.json").read_text())
    (check,) = report["checks"]
    assert check["outcome"] == "inconclusive"
    assert "cut.xml: the report ends inside the final leak check" in check["reasons"][0]
    assert [one["size_bytes"] for one in report["findings"].values()] == [100]
    out = capsys.readouterr().out
    assert "INCONCLUSIVE  cut.xml" in out and "at /b/src/a.c:3 in push" in out


def test_the_format_is_recognised_by_content_not_by_name(folder: Path) -> None:
    (folder / leaky(folder)).rename(folder / "asan.log.123")
    assert main(["check", "asan.log.123"]) == 1
    (folder / "memray.bin").write_text(
        "==5==ERROR: LeakSanitizer: detected memory leaks\n\nDirect leak of 8 byte(s) in 1 object(s) allocated from:\n"
        "    #0 0x1 in malloc x.c:1\n    #1 0x2 in push a.c:3\n\nSUMMARY: LeakSanitizer: 8 byte(s) leaked in 1 allocation(s).\n"
    )
    assert main(["check", "memray.bin"]) == 1


def test_what_is_no_report_is_inconclusive_and_says_what_was_expected(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "notes.txt").write_text("hello \x1b[31m")
    assert main(["check", "notes.txt"]) == 3
    out = capsys.readouterr().out
    assert "notes.txt: no report of valgrind" in out and "--xml=yes" in out
    assert "\x1b" not in out


def test_several_processes_make_one_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = leaky(folder, file="vg.7.xml")
    child = (
        LEAK_XML.replace("NAME", "push")
        .replace("SIZE", "100")
        .replace("<pid>7</pid><ppid>1</ppid>", "<pid>8</pid><ppid>7</ppid>")
    )
    running = child.index("<status><state>RUNNING")
    (folder / "vg.8.xml").write_text(
        child[:running] + child[child.index("<status><state>FINISHED") :]
    )
    assert main(["check", parent, "vg.8.xml", "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    (check,) = report["checks"]
    assert check["totals"] == {"definitely_lost": {"bytes": 100, "blocks": 1}}, (
        "what a fork inherits is counted once"
    )
    assert [one["pid"] for one in check["processes"]] == [7, 8]


def test_run_checks_a_program_without_any_test(
    folder: Path, compile_c: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = "#include <stdlib.h>\n__attribute__((noinline)) void lose(void) { volatile char *p = malloc(9); p[0] = 1; }\n"
    compile_c(f"{source}int main(int n, char **v) {{ if (n > 1) lose(); return 0; }}")
    assert main(["run", "--tool", "valgrind", "--", "./program"]) == 0
    assert main(["run", "--tool", "valgrind", "--junit", "j.xml", "--", "./program", "--leak"]) == 1
    assert "NEW LEAK  9 B definitely lost (1 block)" in capsys.readouterr().out
    (case,) = [case for suite in JUnitXml.fromfile("j.xml") for case in suite]
    assert (
        case.name == "program" and "NEW LEAK  9 B definitely lost (1 block)" in case.result[0].text
    )
    assert main(["run", "--", "./absent"]) == 2
    assert main(["run"]) == 2


def test_accept_then_known_then_fixed_then_pruned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = leaky(folder)
    assert main(["check", file, "--accept", "one-time init", "--owner", "@core"]) == 0
    assert 'owner = "@core"' in (folder / "leakguard-baseline.toml").read_text()
    assert main(["check", file]) == 0
    assert "accepted: 1 known leak (100 B)" in capsys.readouterr().out
    assert main(["check", leaky(folder, size=101)]) == 1, "more bytes than were accepted"
    clean(folder, file)
    assert main(["check", file]) == 0
    assert main(["check", file, "--strict"]) == 1
    assert main(["check", file, "--prune"]) == 0
    assert "[leak." not in (folder / "leakguard-baseline.toml").read_text()


def test_an_entry_that_another_target_may_need_is_not_pruned(folder: Path) -> None:
    first, second = leaky(folder), leaky(folder, file="second.xml")
    main(["check", first, second, "--accept", "known"])
    clean(folder, first)
    assert main(["check", first, "--prune"]) == 0
    assert "[leak." in (folder / "leakguard-baseline.toml").read_text(), "second.xml did not run"
    clean(folder, second)
    assert main(["check", first, second, "--prune"]) == 0
    assert "[leak." not in (folder / "leakguard-baseline.toml").read_text()


def test_a_leak_accepted_as_possible_is_not_accepted_as_definite(folder: Path) -> None:
    file = leaky(folder)
    main(["check", file, "--accept", "known"])
    baseline = folder / "leakguard-baseline.toml"
    baseline.write_text(baseline.read_text().replace("definitely_lost", "possibly_lost"))
    assert main(["check", file]) == 1


@pytest.mark.parametrize("variable", ["CI", "BUILD_NUMBER"])
def test_ci_does_not_write(folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    file = leaky(folder)
    main(["check", file, "--report", "out"])
    monkeypatch.setenv(variable, "1")
    assert main(["check", file, "--accept", "x"]) == 2
    assert main(["check", file, "--prune"]) == 2
    assert main(["baseline", "accept", "--report", "out", "--reason", "x"]) == 2
    assert main(["baseline", "prune", "--report", "out"]) == 2
    assert not (folder / "leakguard-baseline.toml").exists()


def test_baseline_accept_takes_one_leak_of_a_report(folder: Path) -> None:
    main(["check", leaky(folder), leaky(folder, "pop", 5, "other.xml"), "--report", "out"])
    fingerprints = sorted(json.loads((folder / "out" / "report.json").read_text())["findings"])
    arguments = [
        "baseline",
        "accept",
        fingerprints[0],
        "--report",
        "out",
        "--reason",
        "why",
        "--expires",
        "2099-01-31",
    ]
    assert main(arguments) == 0
    text = (folder / "leakguard-baseline.toml").read_text()
    assert (
        fingerprints[0] in text and fingerprints[1] not in text and "expires = 2099-01-31" in text
    )
    assert main(["baseline", "check"]) == 0
    assert main(["baseline", "accept", "0" * 16, "--report", "out", "--reason", "why"]) == 2
    assert main(["baseline", "accept", "--report", "absent", "--reason", "why"]) == 3


def test_baseline_check_finds_disorder_and_expiry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", leaky(folder), leaky(folder, "pop", 5, "other.xml"), "--accept", "why"])
    baseline = folder / "leakguard-baseline.toml"
    good = baseline.read_text()
    baseline.write_text(good + "expires = 2020-01-01\n")
    assert main(["baseline", "check"]) == 2
    assert "expired on 2020-01-01" in capsys.readouterr().out
    head, first, second = good.partition("[leak.")[0], *good.split("[leak.")[1:]
    baseline.write_text(f"{head}[leak.{second}\n[leak.{first}")
    assert main(["baseline", "check"]) == 2
    assert "not in order" in capsys.readouterr().err


def test_an_expired_entry_warns_and_fails_when_strict(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = leaky(folder)
    main(["check", file, "--accept", "why"])
    baseline = folder / "leakguard-baseline.toml"
    baseline.write_text(baseline.read_text() + "expires = 2020-01-01\n")
    assert main(["check", file]) == 0
    assert "expired: " in capsys.readouterr().out
    assert main(["check", file, "--strict"]) == 1


def test_the_merge_driver_resolves_what_git_cannot(
    folder: Path, tool: Callable[[str], str]
) -> None:
    def git(*arguments: str) -> None:
        settings = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "init.defaultBranch=main",
        ]
        subprocess.run(
            [tool("git"), *settings, *arguments], check=True, capture_output=True, cwd=folder
        )

    git("init")
    assert main(["baseline", "install"]) == 0
    assert (folder / ".gitattributes").read_text() == "leakguard-baseline.toml merge=leakguard\n"
    driver = f"{os.sys.executable} -m pytest_leakguard baseline merge %O %A %B"  # type: ignore[attr-defined]  # re-export
    git("config", "merge.leakguard.driver", driver)
    main(["check", leaky(folder, "base", 1), "--accept", "base"])
    git("add", ".")
    git("commit", "-m", "base")
    git("checkout", "-b", "other")
    main(["check", leaky(folder, "theirs", 2), "--accept", "theirs"])
    git("commit", "-am", "theirs")
    git("checkout", "main")
    main(["check", leaky(folder, "ours", 3), "--accept", "ours"])
    git("commit", "-am", "ours")
    (folder / "leaky.xml").unlink()
    git("checkout", "--", ".")
    git("merge", "other", "-X", "ours")
    text = (folder / "leakguard-baseline.toml").read_text()
    assert [word in text for word in ('"base"', '"ours"', '"theirs"')] == [True] * 3
    assert main(["baseline", "check"]) == 0


def test_explain_tells_what_is_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", leaky(folder), "--report", "out", "--accept", "one-time init"])
    (fingerprint,) = json.loads((folder / "out" / "report.json").read_text())["findings"]
    capsys.readouterr()
    assert main(["explain", fingerprint, "--report", "out"]) == 0
    out = capsys.readouterr().out
    assert (
        "100 B definitely lost (1 block) [new]" in out
        and "push (/b/src/a.c:3)" in out
        and "one-time init" in out
    )
    assert main(["explain", "0" * 16]) == 2


@pytest.mark.programs
def test_doctor_plants_a_leak_through_every_backend(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json", "-"])
    answers = json.loads(capsys.readouterr().out)
    assert {answer["tool"] for answer in answers} == {
        "valgrind",
        "sanitizer",
        "memray",
        "private names",
        "screening",
    }
    if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
        assert all(answer["sees_leaks"] for answer in answers), answers
        assert status == 0


def test_doctor_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    main(["doctor"])
    out = capsys.readouterr().out
    assert "NO  valgrind: it is not installed" in out and "fix: apt-get install valgrind" in out
    assert "fix: apt-get install gcc" in out


def test_doctor_says_of_each_counter_of_screening_whether_it_sees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    main(["doctor"])
    out = capsys.readouterr().out
    rows = [(name, told) for told, name in re.findall(r"^(..)  screening, ([\w ]+): ", out, re.M)]
    assert rows == [
        ("tracker library", "OK"),
        ("Python blocks", "OK"),
        ("native blocks", "OK"),
        ("mappings", "OK"),
        ("descriptors", "OK"),
        ("threads", "OK"),
        ("child processes", "OK"),
        ("asyncio tasks", "OK"),
        ("leaks in some runs only", "OK"),
    ]
    monkeypatch.setattr(reader, "_DESCRIPTORS", "/nowhere")
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "NO  screening, descriptors: /nowhere: No such file" in out


def test_doctor_names_what_is_private_to_pytest_and_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    main(["doctor"])
    out = capsys.readouterr().out
    assert f"OK  private names of CPython {platform.python_version()}: all " in out
    assert f"OK  private names of pytest {pytest.__version__}: all " in out
    monkeypatch.setattr(_pytest_internals, "log_handlers", lambda config: ())
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert (
        f"NO  private names of pytest {pytest.__version__}: caplog_handler and report_handler of the logging plugin: "
        in out
    )


def test_hostile_text_in_a_report_reaches_no_output_raw(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "f\x1b]0;title\x07\u202e&lt;script&gt;"
    file = leaky(folder, name)
    assert main(["check", file, "--junit", "j.xml", "--json", "r.json"]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
    assert "\\x1b]0;title\\x07" in out
    JUnitXml.fromfile("j.xml")
    assert (
        "\x1b" not in (folder / "j.xml").read_text()
        and "<script>" not in (folder / "j.xml").read_text()
    )
    assert "\x1b" not in (folder / "r.json").read_text()
