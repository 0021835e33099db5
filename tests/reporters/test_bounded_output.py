"""What a terminal shows is bounded, takes no longer than the leaks are many, and holds no secret."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.core.text import without_secrets
from tests.programs.test_existing_reports import CLEAN, LEAKY


def many(count: int) -> str:
    """A log with this many leaks, each in a function of its own."""
    start, end = LEAKY.index("==1== 64 bytes"), LEAKY.index("==1== LEAK SUMMARY")
    record = LEAKY[start:end]
    records = "".join(record.replace("push", f"push_{number}") for number in range(count))
    tail = LEAKY[end:].replace("64 bytes in 1 blocks", f"{64 * count} bytes in {count} blocks")
    return LEAKY[:start] + records + tail.replace("1 errors from 1", f"{count} errors from {count}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_400_leaks_are_a_few_screens_and_all_of_them_where_that_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "many.log").write_text(many(400))
    assert main(["check", "many.log"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 120
    assert "and 350 more leaks (21.9 KiB)" in lines
    assert (
        "For the calls and holders of leaks 11 to 400: -v, or --report=DIR (report.html, report.json)"
        in lines
    )
    assert lines[-1] == "FAIL leakguard: 400 new leaks (25 KiB) in 1 program"
    assert main(["check", "-v", "many.log"]) == 1
    assert capsys.readouterr().out.count("NEW LEAK  64 B definitely lost") == 400


def test_quiet_is_a_line_for_each_leak_and_the_last_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "many.log").write_text(many(60))
    assert main(["check", "-q", "many.log"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if ". NEW LEAK  64 B" in line]) == 50
    assert lines[50:] == [
        "and 10 more leaks (640 B)",
        "FAIL leakguard: 60 new leaks (3,840 B) in 1 program",
    ]


def test_the_cap_names_the_report_that_has_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "many.log").write_text(many(12))
    assert main(["check", "--report", "out", "many.log"]) == 1
    out = capsys.readouterr().out
    assert (
        "For the calls and holders of leaks 11 to 12: -v, or " in out
        and "out/report.html (or report.json)\n" in out
    )
    assert out.count("\n     main ") == 10, "calls of ten, the others in a line each"


def test_ten_times_as_many_leaks_take_about_ten_times_as_long(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = []
    for count in (500, 5000):
        (folder / "many.log").write_text(many(count))
        started = time.process_time()
        assert main(["check", "-v", "many.log"]) == 1
        spent.append(time.process_time() - started)
    assert spent[1] < 30 * spent[0], "one hundred times as long would be the square of it"


@pytest.mark.parametrize(("text", "status"), [(CLEAN, 0), (LEAKY, 1)])
def test_a_closed_standard_output_changes_no_answer(text: str, status: int, folder: Path) -> None:
    (folder / "all.log").write_text(text)
    script = f"{sys.executable} -m pytest_leakguard check all.log >&-"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (status, b"")


def test_a_full_disk_is_named_without_a_file_that_is_none(folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    (folder / "all.log").write_text(CLEAN)
    script = f"{sys.executable} -m pytest_leakguard check all.log >/dev/full"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr == b"pytest-leakguard: No space left on device\n"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--password=hunter2"], ["--password=***"]),
        (["--password", "hunter2", "in.png"], ["--password", "***", "in.png"]),
        (["--db-passwd", "x", "--verbose"], ["--db-passwd", "***", "--verbose"]),
        (["DB_PASSWORD=hunter2", "n=3"], ["DB_PASSWORD=***", "n=3"]),
        (["--api-key=abc", "--token:xyz"], ["--api-key=***", "--token:***"]),
        (["postgres://joe:hunter2@db/shop"], ["postgres://joe:***@db/shop"]),
        (["-H", "Authorization: Bearer abc.def"], ["-H", "Authorization: Bearer ***"]),
        (["ghp_0123456789abcdefghij0123"], ["***"]),
        (["--passes=3", "-p", "80", "a=b", "http://host:80/x@y"], None),
        (["--token", "--other"], None),
        (["in.png", "--threads=4", "--no-auth"], None),
    ],
)
def test_arguments_that_look_like_a_secret_are_masked_and_the_rest_is_kept(
    given: list[str], shown: list[str] | None
) -> None:
    assert list(without_secrets(given)) == (given if shown is None else shown)


def test_no_report_of_a_run_holds_a_secret(folder: Path) -> None:
    (folder / "secret.sh").write_text("exit 0\n")
    argv = ["run", "--tool", "valgrind", "--report", "out", "--json", "one.json", "--"]
    main([*argv, "/bin/sh", "secret.sh", "--password=hunter2", "--token", "hunter2"])
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 4
    assert not [path.name for path in written if b"hunter2" in path.read_bytes()]
