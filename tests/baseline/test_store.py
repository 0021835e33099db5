"""The committed file: many writers at once, links, line ends, marks, and dates."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.baseline import store
from pytest_leakguard.cli.main import main
from pytest_leakguard.core import clock
from pytest_leakguard.core.errors import BaselineError
from pytest_leakguard.core.fingerprint import group, is_nameless
from pytest_leakguard.core.leaks import Finding, Frame, Leak, LeakKind
from tests.programs.test_existing_reports import LEAKY

BASELINE = "leakguard-baseline.toml"
ENTRY = """\
version = 1

# why it is here
[leak."{key}"]
kind = "definitely_lost"
targets = ["leaky.log"]
max_bytes = 64
max_blocks = 1
stack = ["push (app.c)", "main (app.c)"]
reason = "known"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def leak(function: str) -> Finding:
    (finding,) = group([Leak(LeakKind.DEFINITELY_LOST, 64, 1, (Frame(function, "a.c", 3),))])
    return finding


def leaky(folder: Path, function: str = "push", name: str = "leaky.log") -> str:
    (folder / name).write_text(LEAKY.replace("push", function))
    return name


def entries(path: Path) -> set[str]:
    return set(store.read_baseline(path).leaks)


def test_eight_runs_that_accept_at_once_lose_no_entry(folder: Path) -> None:
    names = [f"push_{number}" for number in range(8)]
    for name in names:
        leaky(folder, name, f"{name}.log")
    argv = [sys.executable, "-m", "pytest_leakguard", "check", "--accept", "known"]
    started = [
        subprocess.Popen([*argv, f"{name}.log"], cwd=folder, stdout=subprocess.PIPE)
        for name in names
    ]
    told = [process.communicate(timeout=120)[0] for process in started]
    assert all(b"accepted 1 leak into" in text for text in told)
    assert len(entries(folder / BASELINE)) == 8
    assert [path.name for path in folder.iterdir() if path.suffix != ".log"] == [BASELINE]


def test_a_lock_that_is_never_given_back_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LONGEST_LOCK_S", 0.1)
    with store.locked(folder / BASELINE), pytest.raises(BaselineError, match="another run"):
        store.accept_findings(folder / BASELINE, [leak("push")], "known")


AS_ON_WINDOWS = """
import pathlib, subprocess, sys, tempfile
sys.modules["fcntl"] = None  # an import of it fails
sys.platform = "win32"
from pytest_leakguard.baseline import store
path = pathlib.Path(sys.argv[1])
with store.locked(path):
    store.rewrite(path, "version = 1\\n")
"""


def test_a_baseline_is_written_where_nothing_can_be_locked(folder: Path) -> None:
    path = folder / BASELINE
    subprocess.run([sys.executable, "-c", AS_ON_WINDOWS, str(path)], check=True)
    assert path.read_text() == "version = 1\n"


def test_a_link_stays_a_link(folder: Path) -> None:
    (folder / "shared").mkdir()
    target = folder / "shared" / "all.toml"
    target.write_text("version = 1\n")
    (folder / BASELINE).symlink_to(target)
    store.accept_findings(folder / BASELINE, [leak("push")], "known")
    assert (folder / BASELINE).is_symlink() and len(entries(target)) == 1
    store.prune_entries(folder / BASELINE, tuple(entries(target)))
    assert (folder / BASELINE).is_symlink() and not entries(target)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends_and_byte_order_mark_stay(folder: Path, end: bytes, mark: bytes) -> None:
    path = folder / BASELINE
    text = ENTRY.format(key=leak("pop").fingerprint).encode()
    path.write_bytes(mark + text.replace(b"\n", end))
    store.accept_findings(path, [leak("push")], "known")
    content = path.read_bytes()
    assert (
        content.startswith(mark + b"version") and content.count(b"\xef\xbb\xbf") == len(mark) // 3
    )
    assert content.count(b"\n") == content.count(end)
    assert b"# why it is here" in content and len(entries(path)) == 2
    store.prune_entries(path, (leak("push").fingerprint,))
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(end)


def test_what_expires_today_has_expired_on_no_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = leaky(folder)
    assert main(["check", file, "--accept", "known"]) == 0
    path = folder / BASELINE
    path.write_text(path.read_text() + f"expires = {clock.today().isoformat()}\n")
    answers = set()
    for zone in ("Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        answers.add((main(["check", "--strict", file]), main(["baseline", "check"])))
    monkeypatch.delenv("TZ")
    time.tzset()
    assert answers == {(0, 0)}


@pytest.fixture
def nameless(folder: Path) -> Callable[[int], str]:
    """A log with a leak of this size whose stack is not known."""

    def write(size_bytes: int) -> str:
        lines = [line for line in LEAKY.splitlines() if " by 0x" not in line]
        (folder / "nameless.log").write_text("\n".join(lines).replace("64", str(size_bytes)) + "\n")
        return "nameless.log"

    return write


def test_a_leak_without_a_stack_cannot_be_accepted(
    folder: Path, nameless: Callable[[int], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", nameless(64), "--accept", "known"]) == 1
    out = capsys.readouterr().out
    assert "accepted nothing: 1 leak without a stack cannot be accepted" in out
    assert "its stack is not known, so it cannot be accepted" in out
    assert main(["check", nameless(64), "--report", "report"]) == 1
    assert main(["baseline", "accept", "--report", "report", "--reason", "x"]) == 0
    (key,) = (finding.fingerprint for finding in group([Leak(LeakKind.DEFINITELY_LOST, 1, 1, ())]))
    assert main(["baseline", "accept", key, "--report", "report", "--reason", "x"]) == 2
    assert "would hide all later ones" in capsys.readouterr().err


def test_an_old_entry_for_leaks_without_a_stack_hides_nothing(
    folder: Path, nameless: Callable[[int], str]
) -> None:
    (finding,) = group([Leak(LeakKind.DEFINITELY_LOST, 64, 1, ())])
    assert is_nameless(finding.fingerprint)
    (folder / BASELINE).write_text(ENTRY.format(key=finding.fingerprint))
    assert main(["check", nameless(64)]) == 1
    assert main(["check", leaky(folder)]) == 1


def test_what_is_named_by_anything_can_be_accepted() -> None:
    assert not is_nameless(leak("push").fingerprint)
    stack = (Frame(None, module="/lib/libx.so", address=0x1234),)
    (finding,) = group([Leak(LeakKind.DEFINITELY_LOST, 64, 1, stack)])
    assert not is_nameless(finding.fingerprint)
