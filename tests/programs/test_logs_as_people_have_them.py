"""The same report behind every prefix, encoding and packing that build systems put around it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs import inputs
from pytest_leakguard.programs.existing_reports import check_files
from pytest_leakguard.programs.log_streams import without_prefix
from pytest_leakguard.verdict import Policy, judge_check
from tests.golden_files import golden
from tests.programs.test_existing_reports import CLEAN, LEAKY, lsan, outcomes, sizes

ISO = "2024-02-28T18:12:36.9058897Z"
PREFIXES = {
    "GitHub Actions": f"{ISO} ",
    "ISO time": "2024-02-28 18:12:36,905 ",
    "ISO time in brackets": "[2024-02-28T18:12:36+01:00] ",
    "Timestamper of Jenkins": "[2024-02-28T18:12:36.905Z] ",
    "clock": "18:12:36 ",
    "GitLab": f"{ISO} 01O ",
    "CRI": f"{ISO} stderr F ",
    "docker compose": "app-1  | ",
    "docker compose with times": f"app-1  | {ISO} ",
    "kubectl --prefix": "[pod/app-7d9f/worker] ",
    "kubectl --prefix --timestamps": f"[pod/app-7d9f/worker] {ISO} ",
    "ctest -V": "3: ",
    "ctest -V in GitHub Actions": f"{ISO} 3: ",
    "branch of Jenkins": "[linux-gcc] ",
    "BuildKit": "#12 0.532 ",
    "syslog": "Feb 28 18:12:36 host app[123]: ",
    "journalctl -o short-iso": "2024-02-28T18:12:36+0100 host app[123]: ",
    "Open Build Service": "[   12s] ",
    "foreman": "18:12:36 web.1  | ",
    "gh run view --log": f"build\tRun tests\t{ISO} ",
    "gh run view --log, first line of a step": f"build\tRun tests\t\ufeff{ISO} ",
    "logging of Python": "2024-02-28 18:12:36,905 - runner - ERROR - ",
    "time and level": "[18:12:36] INFO: ",
    "colours": "\x1b[0;32m",
    "colours in the middle of a prefix": "\x1b[36mapp-1  |\x1b[0m ",
    "an unknown prefix": "runner> ",
}
TABLE = f"""{"-" * 53}
Suppressions used:
  count      bytes template
      3       3264 PyModule_ExecDef
{"-" * 53}

"""
REPORTS = {
    "a leak in a log of valgrind": (LEAKY, Outcome.LEAK),
    "a clean log of valgrind": (CLEAN, Outcome.CLEAN),
    "a leak of LeakSanitizer": (lsan(48, "cache_add", 0x55D0C0DE1234), Outcome.LEAK),
    "a clean log of LeakSanitizer": (golden("sanitizer", "gcc16_clean.txt").read_text(), Outcome.CLEAN),
    "suppressions of LeakSanitizer": (golden("sanitizer", "all_suppressed.txt").read_text(), Outcome.CLEAN),
    "a table of suppressions alone": (TABLE, Outcome.CLEAN),
    "a leak in XML": (golden("valgrind", "leaky.xml").read_text(), Outcome.LEAK),
    "clean XML": (golden("valgrind", "clean.xml").read_text(), Outcome.CLEAN),
    "a log that was cut": (LEAKY[: LEAKY.index("==1== LEAK")], Outcome.INCONCLUSIVE),
}  # fmt: skip


def prefixed(text: str, prefix: str) -> bytes:
    """Each line behind the prefix; trailing blanks are what most runners take off."""
    return "".join(f"{prefix}{line}".rstrip() + "\n" for line in text.splitlines()).encode()


def tarred(data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("logs/all.log")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("2_build/3_test.txt", data)
    return packed.getvalue()


NOISE = b"".join(b"[%d/20000] CXX src/file%d.o\n" % (number, number) for number in range(20_000))
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "UTF-16 of PowerShell": lambda data: data.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda data: data.decode().encode("utf-16-le"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zip": zipped,
    "tar.gz": tarred,
    "a log before and after": lambda data: NOISE + data + b"make: Leaving directory\n",
    "trailing blanks": lambda data: data.replace(b"\n", b"  \n"),
    "indented": lambda data: b"".join(b"    " + line for line in data.splitlines(keepends=True)),
    "a progress bar before": lambda data: b" 10%\r 20%\r" + data,
}


def checked(path: Path) -> tuple[Check, ...]:
    return check_files([path], Settings())


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("report", REPORTS)
def test_a_prefix_changes_no_answer(report: str, prefix: str, tmp_path: Path) -> None:
    text, expected = REPORTS[report]
    plain, path = tmp_path / "plain.log", tmp_path / "all.log"
    plain.write_text(text)
    path.write_bytes(prefixed(text, PREFIXES[prefix]))
    found = outcomes(checked(path))
    if prefix == "an unknown prefix" and expected is Outcome.CLEAN:
        assert Outcome.LEAK not in found  # what cannot be read may be refused, never blamed
        return
    assert found == [expected]
    assert sizes(checked(path)) == sizes(checked(plain))
    if prefix != "an unknown prefix":
        assert names(checked(path)) == names(checked(plain))


def names(checks: tuple[Check, ...]) -> set[str]:
    return {finding.fingerprint for check in checks for finding in check.findings}


CHECKED = "==3==Processing thread 1.\n==3==Stack at 0x1-0x2 (SP = 0x1).\n==3==TLS at 0x1-0x2.\n"
ENDS = {
    "app-1  | ": "app-1 exited with code 0\n",
    "7: ": "1/1 Test #7: parse ............   Passed    0.02 sec\n",
    "build\tTest\t2026-03-01T10:00:00.1Z ": "build\tPost\t2026-03-01T10:00:01.1Z Cleaning\n",
    "Mar 01 10:00:00 host app[123]: ": (
        "Mar 01 10:00:01 host systemd[1]: app.service: Deactivated successfully.\n"
    ),
}


@pytest.mark.parametrize("prefix", ENDS)
def test_a_clean_check_needs_the_line_that_tells_its_writers_end(
    prefix: str, tmp_path: Path
) -> None:
    path, text = tmp_path / "all.log", prefixed(CHECKED, prefix)
    path.write_bytes(text + ENDS[prefix].encode())
    assert outcomes(checked(path)) == [Outcome.CLEAN]
    path.write_bytes(text)
    assert outcomes(checked(path)) == [Outcome.INCONCLUSIVE]
    killed = ENDS[prefix].replace("code 0", "code 137").replace("   Passed ", "***Exception: ")
    killed = killed.replace("Deactivated successfully", "Main process exited, code=killed")
    if "\t" not in prefix:  # the next step of a job says nothing about signals
        path.write_bytes(text + killed.encode())
        assert outcomes(checked(path)) == [Outcome.INCONCLUSIVE]
    path.write_bytes(text + b"other-1  | other-1 exited with code 0\n")
    assert Outcome.CLEAN not in outcomes(checked(path))


@pytest.mark.parametrize("name", ["log", "textPayload", "message"])
@pytest.mark.parametrize("report", REPORTS)
def test_a_line_in_an_object_of_json_is_the_line(report: str, name: str, tmp_path: Path) -> None:
    text, expected = REPORTS[report]
    plain, path = tmp_path / "plain.log", tmp_path / "pod.json"
    plain.write_text(text)
    rows = [json.dumps({name: f"{line}\n", "time": "x"}) for line in text.splitlines()]
    path.write_text("\n".join(rows) + "\n")
    assert outcomes(checked(path)) == [expected]
    assert names(checked(path)) == names(checked(plain))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("report", REPORTS)
def test_a_packing_changes_no_answer(report: str, packing: str, tmp_path: Path) -> None:
    text, expected = REPORTS[report]
    path = tmp_path / "all.log"
    path.write_bytes(PACKINGS[packing](text.encode()))
    assert outcomes(checked(path)) == [expected]


@pytest.mark.parametrize("packer", [gzip.compress, lzma.compress, bz2.compress, tarred, zipped])
def test_a_packed_file_that_was_cut_is_never_clean(
    packer: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    packed = packer((CLEAN * 50).encode())
    path = tmp_path / "all.log.gz"
    path.write_bytes(packed[: len(packed) - 20])
    assert Outcome.INCONCLUSIVE in outcomes(checked(path))


def test_containers_with_one_process_id_that_write_into_one_log_are_told_apart(
    tmp_path: Path,
) -> None:
    mixed = b"".join(
        b"app-1  | %s\ndb-1   | %s\n" % (one.encode(), other.encode())
        for one, other in zip(LEAKY.splitlines(), (CLEAN + "\n" * 30).splitlines(), strict=False)
    )
    path = tmp_path / "compose.log"
    path.write_bytes(mixed)
    checks = checked(path)
    assert {check.id: outcome for check, outcome in zip(checks, outcomes(checks), strict=True)} == {
        f"{path}[app-1]": Outcome.LEAK,
        f"{path}[db-1]": Outcome.CLEAN,
    }


def test_reports_of_two_tools_in_one_log_are_both_judged(tmp_path: Path) -> None:
    path = tmp_path / "build.log"
    path.write_text(CLEAN + "make: next\n" + lsan(48, "cache_add", 0x55D0C0DE1234))
    assert sorted(outcomes(checked(path))) == [Outcome.CLEAN, Outcome.LEAK]


def test_documents_of_xml_one_after_the_other_are_all_judged(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    clean, leaky = (golden("valgrind", f"{name}.xml").read_text() for name in ("clean", "leaky"))
    path.write_text(f"$ cat build/*.xml\n{leaky}{clean}")
    assert sorted(outcomes(checked(path))) == [Outcome.CLEAN, Outcome.LEAK]


def test_a_directory_is_every_report_in_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "vg.1.log").write_text(LEAKY)
    (tmp_path / "vg.2.log").write_text(CLEAN)
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / ".gitkeep").touch()
    assert sorted(outcomes(checked(tmp_path))) == [Outcome.CLEAN, Outcome.LEAK]
    (tmp_path / "MemoryChecker.3.log").touch()
    assert Outcome.INCONCLUSIVE in outcomes(checked(tmp_path))


def test_a_directory_or_pattern_without_a_report_is_inconclusive(tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    for path in (tmp_path, tmp_path / "*.log"):
        (check,) = checked(path)
        assert outcomes((check,)) == [Outcome.INCONCLUSIVE] and str(path) in check.problems[0]


def test_a_pattern_that_the_shell_left_alone_is_every_file_it_means(tmp_path: Path) -> None:
    for number, text in enumerate((LEAKY, CLEAN)):
        (tmp_path / f"vg.{number}.log").write_text(text)
    assert sorted(outcomes(checked(tmp_path / "vg.*.log"))) == [Outcome.CLEAN, Outcome.LEAK]


def command_line(
    arguments: str, folder: Path, input: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    script = f"{sys.executable} -m pytest_leakguard check {arguments}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
        input=input,
    )


def test_pipes_and_standard_input_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    path.write_bytes(LEAKY.encode() + NOISE)  # the leak is in the first 64 KiB
    for arguments in (f"<(cat {path})", f"- < {path}", f"/dev/stdin < {path}"):
        done = command_line(arguments, tmp_path)
        assert done.returncode == 1 and b"64 B" in done.stdout, arguments
    done = command_line("-", tmp_path, input=path.read_bytes())
    assert done.returncode == 1 and b"64 B" in done.stdout
    done = command_line("<(true)", tmp_path)
    assert done.returncode == 3 and b"the file is empty" in done.stdout


def test_a_named_pipe_is_read_when_its_writer_comes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        time.sleep(0.2)
        with pipe.open("wb") as stream:
            stream.write(LEAKY.encode())

    writer = threading.Thread(target=write)
    writer.start()
    assert outcomes(checked(pipe)) == [Outcome.LEAK]
    writer.join()


def test_a_named_pipe_without_a_writer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_WRITER_S", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (check,) = checked(pipe)
    assert "nobody wrote to the pipe" in " ".join(check.problems)


def test_a_pipe_whose_writer_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    silent = os.open(pipe, os.O_RDWR)
    try:
        (check,) = check_files([pipe], Settings(timeout_s=0.3))
    finally:
        os.close(silent)
    assert "nothing came through the pipe" in " ".join(check.problems)


def test_a_device_is_no_report(tmp_path: Path) -> None:
    (check,) = checked(Path("/dev/zero"))
    assert "neither a file nor a pipe" in check.problems[0]


def ctest_log(*outputs: str, of: int) -> str:
    """What CTest writes into LastDynamicAnalysis_*.log, without the end."""
    text = "Start testing: Oct 17 17:45 UTC\n" + "-" * 58 + "\n"
    for number, output in enumerate(outputs, 1):
        text += f"{number}/{of} Testing: t{number}\n{number}/{of} Test: t{number}\nOutput:\n"
        text += f"{'-' * 58}\n{output}<end of output>\nTest time =   0.52 sec\nTest Passed.\n\n"
    return text


def test_a_log_of_ctest_that_was_cut_after_a_test_is_inconclusive(tmp_path: Path) -> None:
    path = tmp_path / "LastDynamicAnalysis_20241017-1745.log"
    path.write_text(ctest_log(CLEAN, of=2))
    (check,) = checked(path)
    assert "ends after 1 of 2 tests" in check.problems[0]
    path.write_text(ctest_log(CLEAN, CLEAN.replace("==1==", "==2=="), of=2))
    assert outcomes(checked(path)) == [Outcome.CLEAN, Outcome.CLEAN]
    path.write_text(ctest_log(CLEAN, of=2) + "End testing: Oct 17 17:46 UTC\n")
    assert outcomes(checked(path)) == [Outcome.CLEAN]  # --stop-on-failure, say


def test_the_output_of_ctest_that_was_cut_inside_a_test_is_inconclusive(tmp_path: Path) -> None:
    first = "test 1\n    Start 1: alpha\n\n" + prefixed(CLEAN, "1: ").decode()
    first += "1/2 Test #1: alpha ............................   Passed    0.41 sec\n"
    second = "test 2\n    Start 2: beta\n\n" + prefixed(CLEAN, "2: ").decode()
    end = "2/2 Test #2: beta .............................   Passed    0.41 sec\n\n"
    path = tmp_path / "ctest.log"
    path.write_text(first)
    assert outcomes(checked(path)) == [Outcome.INCONCLUSIVE]
    path.write_text(first + second)
    assert Outcome.INCONCLUSIVE in outcomes(checked(path))
    path.write_text(first + second + end)
    assert outcomes(checked(path)) == [Outcome.CLEAN, Outcome.CLEAN]


@pytest.mark.parametrize(
    "line",
    [
        "==1== Memcheck, a memory error detector",
        "    #0 0x7f1122334455 in malloc (/lib/libasan.so.8+0xba1c7)",
        "FRAME\t0\t0x7f1122334455\t/lib/a\t0x1\tmalloc\t<null>\t0\t0",
        "Direct leak of 48 byte(s) in 1 object(s) allocated from:",
        "SUMMARY: AddressSanitizer: 48 byte(s) leaked in 1 allocation(s).",
        "Suppressions used:",
        "-----------------------------------------------------",
        "  count      bytes template",
        "valgrind: m_debuginfo/readdwarf3.c:401: Assertion 'form_size' failed.",
        "Omitting 3 more leak(s).",
    ],
)
def test_a_line_of_a_tool_is_left_as_it_is(line: str) -> None:
    assert without_prefix(line.encode() + b"\n") == (line.encode() + b"\n", "")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("massif.out.7", "desc: (none)\ncmd: ./app\ntime_unit: i\n#---\n", "massif"),
        ("dhat.out.7", '{"dhatFileVersion":2,"mode":"heap"}', "DHAT"),
        ("testlog.junit.xml", '<?xml version="1.0"?>\n<testsuites tests="1">\n', "test runner"),
        ("leaks.txt", "Process 4711: 3 leaks for 96 total leaked bytes.\n", "macOS"),
        ("tsan.log", "WARNING: ThreadSanitizer: data race (pid=7)\n", "ThreadSanitizer"),
        ("MemoryChecker.1.log", "", "-q"),
        ("log.zst", "\x28\xb5\x2f\xfd", "zstd -d"),
    ],
)
def test_what_is_no_report_is_called_what_it_is(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    (check,) = checked(path)
    assert judge_check(check, Policy()).outcome is Outcome.INCONCLUSIVE
    assert reason in " ".join(check.problems)
