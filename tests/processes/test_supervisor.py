"""Programs that flood, hang, fork, daemonise, ignore signals and die: what ``process.run`` makes of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.errors import LeakguardError, TargetNotStarted
from pytest_leakguard.core.programs import Launch, RunStatus
from pytest_leakguard.processes import supervisor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs need POSIX")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs a child subreaper and /proc")

ROOT = Path(supervisor.__file__).parents[2]
PATIENCE_S = 30.0
"""Generous: these tests may share two cores with much else."""
DAEMON = """
import os, pathlib, signal, time
def note():
    with open({pids!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
def daemonise():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note()
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not pathlib.Path({pids!r}).exists():
        time.sleep(0.01)
"""


class Pids:
    """Process ids that a target wrote down, and whether they live."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[int]:
        text = self.path.read_text() if self.path.exists() else ""
        return [int(line) for line in text.splitlines() if line.isdigit()]

    def alive(self) -> list[int]:
        return [pid for pid in self.read() if _is_alive(pid)]


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Pids]:
    found = Pids(tmp_path / "pids")
    yield found
    for pid in found.alive():  # a failed test must not leave anything behind
        os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def _python(code: str, **launch: Any) -> Launch:
    return Launch(
        argv=(sys.executable, "-c", textwrap.dedent(code)), **{"timeout_s": PATIENCE_S, **launch}
    )


def _run(code: str, **launch: Any) -> RunStatus:
    return supervisor.run(_python(code, **launch))


# How it ends


def test_exit_code_and_output_are_those_of_the_target() -> None:
    status = _run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (status.exit_code, status.signal) == (7, None)
    assert (status.stdout, status.stderr) == (b"out\n", b"err\n")
    assert not (status.timed_out or status.leftover)
    assert 0 < status.duration_s < PATIENCE_S
    assert status.pid > 0


def test_a_target_that_dies_of_a_signal_has_no_exit_code() -> None:
    status = _run("import os; os.kill(os.getpid(), 11)")
    assert (status.exit_code, status.signal) == (None, signal.SIGSEGV)


def test_runs_from_any_thread() -> None:
    statuses: list[RunStatus] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(_run("raise SystemExit(3)")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [status.exit_code for status in statuses] == [3] * 4


def _open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptor_and_no_child_stays_in_pytest() -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    before, children = _open_descriptors(), set(_children_of(os.getpid()))
    _run("pass")
    with pytest.raises(TargetNotStarted):
        supervisor.run(Launch(("/no/such/program",)))
    assert _open_descriptors() == before
    assert set(_children_of(os.getpid())) <= children


# What it is given


def test_variables_are_set_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("REMOVED", "no")
    code = "import os; print([os.environ.get(n) for n in ('INHERITED', 'REMOVED', 'ADDED')])"
    status = _run(code, env=(("ADDED", "a=b\n"),), unset=("REMOVED", "NEVER_THERE"))
    assert status.stdout == b"['yes', None, 'a=b\\n']\n"


def test_arguments_and_variables_need_not_be_text() -> None:
    odd = os.fsdecode(b"caf\xe9 \xff\n*")
    code = "import os, sys; print([os.fsencode(s) for s in (sys.argv[1], os.environ['ODD'])])"
    status = supervisor.run(Launch((sys.executable, "-c", code, odd), env=(("ODD", odd),)))
    assert status.stdout == b"[b'caf\\xe9 \\xff\\n*', b'caf\\xe9 \\xff\\n*']\n"


def test_no_shell_looks_at_the_arguments() -> None:
    assert supervisor.run(Launch(("echo", "$HOME", "; exit 3", ""))).stdout == b"$HOME ; exit 3 \n"


def test_standard_input_is_empty_or_the_file_named(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"words")
    code = "import sys; print(repr(sys.stdin.read()))"
    assert _run(code).stdout == b"''\n"
    assert _run(code, stdin=tmp_path / "in").stdout == b"'words'\n"


def test_works_in_its_own_directory_and_session(tmp_path: Path) -> None:
    status = _run("import os; print(os.getcwd()); print(os.getsid(0) == os.getpid())", cwd=tmp_path)
    assert status.stdout.split() == [os.fsencode(tmp_path.resolve()), b"True"]


def test_starts_with_default_signals_whatever_pytest_does_with_them() -> None:
    code = "import signal; print([signal.getsignal(n) == 0 for n in (1, 13, 15)], signal.pthread_sigmask(0, []))"
    ignored = f"""
        import signal, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        from pytest_leakguard.core.programs import Launch
        from pytest_leakguard.processes.supervisor import run
        print(run(Launch((sys.executable, "-I", "-c", {code!r}))).stdout.decode())
    """
    # Python itself ignores SIGPIPE once it has started.
    assert (
        _run(ignored, env=(("PYTHONPATH", str(ROOT)),)).stdout.split(b"\n")[0]
        == b"[True, False, True] set()"
    )


def test_only_standard_streams_are_open_in_the_target() -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    assert (
        _run("import os; print(len(os.listdir('/proc/self/fd')))").stdout == b"4\n"
    )  # one is the listing's


@pytest.fixture
def cores_allowed() -> Iterator[None]:
    """As on machines where a crash does leave a core file; they are off on many."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.usefixtures("cores_allowed")
def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    code = "import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True); os.abort()"
    status = _run(code, cwd=tmp_path)
    assert (status.signal, status.stdout) == (signal.SIGABRT, b"0\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("cores_allowed")
def test_a_crash_under_valgrind_leaves_no_core_file(tmp_path: Path) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind")
    crash = Launch(("valgrind", "-q", "/bin/sh", "-c", "kill -SEGV $$"), cwd=tmp_path)
    assert supervisor.run(crash).signal == signal.SIGSEGV
    assert not list(tmp_path.iterdir())


def test_the_environment_of_the_target_does_not_reach_the_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sys.platform != "linux":
        pytest.skip("needs the messages of ld.so")
    missing = ("LD_PRELOAD", "/no/such/library.so")
    poison = (missing, ("PYTHONHOME", "/nonexistent"), ("PYTHONPATH", "/nonexistent"))
    status = supervisor.run(Launch(("/bin/true",), env=poison))
    assert status.exit_code == 0
    assert status.stderr.count(b"cannot be preloaded") == 1  # the guard writes to the same stream
    monkeypatch.setenv(*missing)
    assert supervisor.run(Launch(("/bin/true",))).stderr.count(b"cannot be preloaded") == 1


# What cannot be started


def test_a_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(TargetNotStarted, match=r"^no-such-prog: not started: No such file .*PATH"):
        supervisor.run(Launch(("no-such-prog",)))


def test_a_file_that_is_not_executable_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("#!/bin/sh\n")
    with pytest.raises(TargetNotStarted, match="data: not started: Permission denied"):
        supervisor.run(Launch((str(tmp_path / "data"),)))


def test_a_script_without_interpreter_line_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("true\n")
    (tmp_path / "script").chmod(0o755)
    with pytest.raises(TargetNotStarted, match=r"script: not started: Exec format error .*#! line"):
        supervisor.run(Launch((str(tmp_path / "script"),)))


def test_a_missing_directory_or_input_is_named() -> None:
    with pytest.raises(
        TargetNotStarted, match=r"true: not started: working directory /no/dir: No such"
    ):
        supervisor.run(Launch(("true",), cwd=Path("/no/dir")))
    with pytest.raises(
        TargetNotStarted, match=r"true: not started: standard input /no/file: No such"
    ):
        supervisor.run(Launch(("true",), stdin=Path("/no/file")))


def test_what_no_kernel_can_start_is_refused() -> None:
    with pytest.raises(TargetNotStarted, match="no program"):
        supervisor.run(Launch(()))
    with pytest.raises(TargetNotStarted, match="NUL"):
        supervisor.run(Launch(("true", "a\0b")))
    with pytest.raises(TargetNotStarted, match="Invalid argument"):
        supervisor.run(Launch(("true",), env=(("", "nameless"),)))


# Output


def test_a_flood_neither_blocks_nor_is_kept() -> None:
    code = """
        import os
        os.write(2, b"first\\n")
        for _ in range(1600):
            rest = b"x" * 65536
            while rest:
                rest = rest[os.write(2, rest):]
        os.write(2, b"last\\n")
    """
    status = _run(code, timeout_s=120.0)
    assert (status.exit_code, status.timed_out) == (0, False)
    assert len(status.stderr) < 2 * supervisor.KEPT_BYTES + 100
    assert status.stderr.startswith(b"first\nxxx")
    assert status.stderr.endswith(b"xxx" + b"last\n")
    left_out = 6 + 1600 * 65536 + 5 - 2 * supervisor.KEPT_BYTES
    assert b"x\n[... %d bytes left out ...]\nx" % left_out in status.stderr


def test_output_that_just_fits_is_kept_whole() -> None:
    status = _run("import os; [os.write(1, bytes([65 + n]) * 32768) for n in range(4)]")
    assert status.stdout == b"".join(bytes([65 + n]) * 32768 for n in range(4))


def test_a_target_that_closes_its_output_is_still_waited_for() -> None:
    assert (
        _run("import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(5)").exit_code
        == 5
    )


# Stopping


def test_a_target_that_ignores_sigterm_is_killed_at_its_timeout() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    status = _run(code, timeout_s=1.0, stop_signals=((15, 0.3),))
    assert (status.timed_out, status.exit_code, status.signal) == (True, None, signal.SIGKILL)
    assert 1.0 <= status.duration_s < PATIENCE_S
    assert status.stdout == b"up\n"


def test_a_stop_signal_gives_time_to_write_a_report_in_every_process(tmp_path: Path) -> None:
    code = f"""
        import os, pathlib, signal, sys, time
        def report(*_):
            time.sleep(0.3)
            pathlib.Path({str(tmp_path)!r}, name).write_text("whole")
            sys.exit(4)
        name = "parent"
        if os.fork() == 0:
            name = "child"
        signal.signal(signal.SIGTERM, report)
        pathlib.Path({str(tmp_path)!r}, name + ".up").touch()
        time.sleep(600)
    """
    status = _run(code, timeout_s=3.0, stop_signals=((15, PATIENCE_S),))
    assert (status.timed_out, status.exit_code, status.leftover) == (True, 4, ())
    assert [(tmp_path / name).read_text() for name in ("parent", "child")] == ["whole", "whole"]


def test_stop_signals_are_sent_in_their_order() -> None:
    code = """
        import os, signal, time
        signal.signal(signal.SIGINT, lambda *_: os.write(1, b"int "))
        signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"term ") and os._exit(9))
        while True:
            time.sleep(600)
    """
    status = _run(code, timeout_s=2.0, stop_signals=((2, 0.5), (15, PATIENCE_S)))
    assert (status.stdout, status.exit_code) == (b"int term ", 9)


def test_an_endless_timeout_and_none_at_all_are_possible() -> None:
    assert _run("raise SystemExit(2)", timeout_s=float("inf")).exit_code == 2
    assert _run("import time; time.sleep(600)", timeout_s=0.0, stop_signals=()).timed_out


@linux_only
def test_memory_over_the_limit_stops_the_whole_tree(pids: Pids) -> None:
    code = """
        note()
        if os.fork() == 0:
            note()
            eaten = []
            while True:
                eaten.append(bytearray(1 << 20))
                time.sleep(0.001)
        time.sleep(600)
    """
    limit_bytes = 100 << 20
    status = _run(
        DAEMON.format(pids=str(pids.path)) + textwrap.dedent(code), memory_limit_bytes=limit_bytes
    )
    assert status.memory_exceeded_bytes is not None
    assert limit_bytes < status.memory_exceeded_bytes < 20 * limit_bytes
    assert (status.signal, status.timed_out) == (signal.SIGKILL, False)
    assert len(pids.read()) == 2
    assert not pids.alive()


@linux_only
def test_memory_below_the_limit_is_no_matter() -> None:
    assert _run("x = bytearray(1 << 20)", memory_limit_bytes=1 << 30).memory_exceeded_bytes is None


# Descendants


def test_a_child_that_ends_soon_after_its_parent_is_not_leftover(pids: Pids) -> None:
    code = f"""
        import os, time
        if os.fork() == 0:
            time.sleep(0.5)
            open({str(pids.path)!r}, "w").write("done")
            os._exit(0)
    """
    status = _run(code)
    assert (status.exit_code, status.leftover) == (0, ())
    assert pids.path.read_text() == "done"


def test_a_child_that_outlives_its_parent_is_stopped_and_listed(
    pids: Pids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 0.2)
    code = "if os.fork() == 0:\n    note()\n    time.sleep(600)\ntime.sleep(0.5)\nos._exit(6)"
    status = _run(DAEMON.format(pids=str(pids.path)) + code)  # it holds the output pipes open, too
    assert (status.exit_code, status.timed_out) == (6, False)
    assert status.leftover == (tuple(pids.read()) if sys.platform == "linux" else (status.pid,))
    assert pids.read()
    assert not pids.alive()


@linux_only
def test_a_daemon_in_a_session_of_its_own_is_stopped_and_listed(
    pids: Pids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 0.2)
    status = _run(DAEMON.format(pids=str(pids.path)) + "daemonise()")
    assert status.exit_code == 0
    assert list(status.leftover) == pids.read()
    assert not pids.alive()


@linux_only
def test_a_daemon_is_stopped_with_a_target_that_hangs(pids: Pids) -> None:
    status = _run(
        DAEMON.format(pids=str(pids.path)) + "daemonise(); note(); time.sleep(600)", timeout_s=3.0
    )
    assert (status.timed_out, status.leftover) == (True, ())
    assert len(pids.read()) == 2
    assert not pids.alive()


@linux_only
def test_a_chain_of_quick_forks_cannot_run_ahead_of_the_kill() -> None:
    mark = f"chain-{os.getpid()}-{time.monotonic_ns()}"
    code = "import os, time\nos.setsid() if os.fork() == 0 else os._exit(0)\nend = time.monotonic() + 60\n"
    code += "while time.monotonic() < end:\n    if os.fork(): os._exit(0)"
    argv = (sys.executable, "-S", "-c", code, mark)
    status = supervisor.run(Launch(argv, timeout_s=PATIENCE_S, stop_signals=()))
    assert status.exit_code == 0
    assert status.leftover
    time.sleep(0.1)
    assert not _with_argument(mark)


def _use_guard(monkeypatch: pytest.MonkeyPatch, directory: Path, *changes: tuple[str, str]) -> None:
    """Run a guard that differs from ours in these words."""
    source = (ROOT / "pytest_leakguard" / "processes" / "_guard.py").read_text()
    for old, new in changes:
        assert source.count(old) == 1
        source = source.replace(old, new)
    (directory / "guard.py").write_text(source)
    monkeypatch.setattr(supervisor, "_GUARD", directory / "guard.py")


def test_where_there_is_no_subreaper_the_process_group_is_stopped(
    pids: Pids, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _use_guard(monkeypatch, tmp_path, ('sys.platform != "linux"', "True"))
    monkeypatch.setattr(supervisor, "GRACE_S", 0.2)
    code = (
        DAEMON.format(pids=str(pids.path)) + "if os.fork() == 0:\n    note()\n    time.sleep(600)\n"
    )
    status = _run(code + "time.sleep(0.5)")
    assert (status.exit_code, status.leftover) == (0, (status.pid,))
    assert pids.read()
    assert not pids.alive()
    with pytest.raises(LeakguardError, match="memory limit needs Linux"):
        _run("pass", memory_limit_bytes=1 << 30)


# When pytest or the guard goes away


def _driver(pids: Pids) -> subprocess.Popen[str]:
    """Stands for pytest: runs a target with a daemon, and has written its pids when this returns."""
    target = DAEMON.format(pids=str(pids.path)) + "daemonise(); note(); time.sleep(600)"
    code = f"""
        import sys
        from pytest_leakguard.core.programs import Launch
        from pytest_leakguard.processes.supervisor import run
        run(Launch((sys.executable, "-c", {target!r}), timeout_s=120.0))
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    driver = subprocess.Popen(
        argv, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert _until(lambda: len(pids.read()) == 2)
    return driver


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_survives_the_end_of_pytest(pids: Pids, number: signal.Signals) -> None:
    driver = _driver(pids)
    guards = _children_of(driver.pid)
    os.killpg(driver.pid, number)  # as a terminal or a CI runner does it: to the whole group
    _, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert len(guards) == 1
    assert _until(lambda: not pids.alive() and not _is_alive(guards[0]))


@linux_only
def test_the_target_dies_with_a_guard_that_is_killed_together_with_pytest(pids: Pids) -> None:
    driver = _driver(pids)
    (guard,) = _children_of(driver.pid)
    target = _children_of(guard)[0]
    driver.send_signal(signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    driver.kill()
    driver.communicate(timeout=PATIENCE_S)
    assert target in pids.read()
    assert _until(lambda: not _is_alive(target))


@linux_only
def test_a_fork_of_pytest_that_holds_the_socket_does_not_keep_the_target_alive(pids: Pids) -> None:
    forks = Pids(pids.path.with_name("forks"))
    target = DAEMON.format(pids=str(pids.path)) + "daemonise(); note(); time.sleep(600)"
    code = f"""
        import os, sys, threading, time
        from pytest_leakguard.core.programs import Launch
        from pytest_leakguard.processes.supervisor import run
        def fork():
            time.sleep(1.0)
            if os.fork() == 0:
                with open({str(forks.path)!r}, "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(600)
        threading.Thread(target=fork, daemon=True).start()
        run(Launch((sys.executable, "-c", {target!r}), timeout_s=120.0))
    """
    argv = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    with subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": str(ROOT)}) as driver:
        ready = _until(lambda: len(pids.read()) == 2 and forks.alive())
        driver.kill()
    try:
        assert ready
        assert _until(lambda: not pids.alive())
        assert forks.alive()
    finally:
        for pid in forks.alive():
            os.kill(pid, signal.SIGKILL)


def test_an_exception_in_pytest_stops_the_target_in_order(
    pids: Pids, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = pids.path.with_name("report")
    code = f"""
        import signal, sys
        def finish(*_):
            time.sleep(2.5)  # longer than the guard waits when pytest is gone
            pathlib.Path({str(report)!r}).write_text("whole")
            sys.exit(0)
        signal.signal(signal.SIGTERM, finish)
        note()
        time.sleep(600)
    """

    def interrupt(self: object, key: object) -> bool:
        monkeypatch.undo()
        assert _until(pids.read)
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor._Session, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _run(
            DAEMON.format(pids=str(pids.path)) + textwrap.dedent(code),
            stop_signals=((15, PATIENCE_S),),
        )
    assert report.read_text() == "whole"
    assert not pids.alive()


def test_a_second_interrupt_does_not_wait_for_the_target(
    pids: Pids, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object) -> None:
        assert _until(pids.read)
        raise KeyboardInterrupt

    monkeypatch.setattr(supervisor._Session, "follow", interrupt)
    code = "signal.signal(15, signal.SIG_IGN); note(); time.sleep(600)"
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        _run(DAEMON.format(pids=str(pids.path)) + code, stop_signals=((15, 600.0),))
    assert time.monotonic() - started < 60.0
    assert not pids.alive()


@linux_only
def test_a_guard_that_is_asked_to_end_stops_the_target_in_order(pids: Pids) -> None:
    status = _with_guard_signalled(pids, signal.SIGTERM)
    assert status.signal == signal.SIGTERM
    assert not pids.alive()


@linux_only
def test_a_lost_guard_is_never_a_clean_run(pids: Pids) -> None:
    with pytest.raises(
        LeakguardError, match=r"how it ended is unknown, .*guard.py was lost \(exit status -9\)"
    ):
        _with_guard_signalled(pids, signal.SIGKILL)
    assert pids.read()
    assert _until(lambda: not pids.alive())  # the target and its group die with it


@linux_only
def test_a_detached_grandchild_does_not_outlive_a_lost_guard(pids: Pids) -> None:
    with pytest.raises(LeakguardError, match=r"guard.py was lost"):
        _with_guard_signalled(pids, signal.SIGKILL, "daemonise(); note(); time.sleep(600)")
    assert len(pids.read()) == 2
    assert _until(lambda: not pids.alive())


CAUGHT = (signal.SIGTERM, signal.SIGHUP)
"""Under ``nohup`` the tests ignore the second, and so would what they start."""


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_directory_of_a_run_goes_when_the_command_is_killed(
    pids: Pids, tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    target = DAEMON.format(pids=str(pids.path)) + "daemonise(); note(); time.sleep(600)"
    options = ["run", "--tool", "memray", "--", sys.executable, "-c", target]
    driver = subprocess.Popen(
        [sys.executable, "-m", "pytest_leakguard", *options],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL) if number in CAUGHT else None,
    )
    assert _until(lambda: len(pids.read()) == 2)
    assert list(temporary.iterdir())
    driver.send_signal(number)
    assert driver.wait(PATIENCE_S) == -number
    assert _until(lambda: not pids.alive() and not list(temporary.iterdir()))


def _with_guard_signalled(
    pids: Pids, number: signal.Signals, body: str = "note(); os.fork() or note(); time.sleep(600)"
) -> RunStatus:
    def send() -> None:
        if _until(lambda: len(pids.read()) == 2):
            os.kill(_children_of(os.getpid())[0], number)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return _run(DAEMON.format(pids=str(pids.path)) + body)
    finally:
        sender.join(PATIENCE_S)


def test_a_guard_that_fails_shows_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "guard.py").write_text("raise RuntimeError('broken here')")
    monkeypatch.setattr(supervisor, "_GUARD", tmp_path / "guard.py")
    with pytest.raises(LeakguardError, match=r"(?s)true: how it ended is unknown.*broken here"):
        supervisor.run(Launch(("true",), env=(("BIG", "x" * 100_000),)))


def test_an_error_inside_the_guard_leaves_no_process(
    pids: Pids, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pause = f"    while not os.path.exists({str(pids.path)!r}): time.sleep(0.01)\n"
    broken = ("    leftover: list[int] = []\n", pause + "    raise RuntimeError('ours')\n")
    _use_guard(monkeypatch, tmp_path, broken)
    with pytest.raises(LeakguardError, match=r"(?s)how it ended is unknown.*RuntimeError: ours"):
        _run(DAEMON.format(pids=str(pids.path)) + "note(); time.sleep(600)")
    assert not pids.alive()


def test_a_process_that_cannot_be_stopped_is_named(
    pids: Pids, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    harmless = (
        "        os.kill(pid, number)\n",
        "        os.kill(pid, 0)\n",
    )  # as for another user's process
    _use_guard(monkeypatch, tmp_path, harmless, ("KILL_S = 10.0", "KILL_S = 0.3"))
    with pytest.raises(LeakguardError, match=r"processes \[\d+\] cannot be stopped"):
        _run(
            DAEMON.format(pids=str(pids.path)) + "note(); time.sleep(600)",
            timeout_s=1.0,
            stop_signals=(),
        )


def test_programs_are_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(LeakguardError, match="POSIX"):
        supervisor.run(Launch(("true",)))


# Short commands


def test_capture_gives_exit_code_and_both_streams() -> None:
    code = "import os, sys; print(os.environ.get('ONLY')); print('e', file=sys.stderr); sys.exit(3)"
    assert supervisor.capture([sys.executable, "-c", code], 30.0, {"ONLY": "1"}) == (
        3,
        b"1\n",
        b"e\n",
    )


def test_capture_names_what_it_cannot_start_or_wait_for() -> None:
    with pytest.raises(TargetNotStarted, match=r"no-such-tool: not started"):
        supervisor.capture(["no-such-tool", "--version"], 30.0)
    with pytest.raises(LeakguardError, match=r"sleep: no answer within 0\.2 s"):
        supervisor.capture(["sleep", "600"], 0.2)


def _children_of(pid: int) -> list[int]:
    def parent(stat: Path) -> int:
        try:
            return int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return 0

    return [
        int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if parent(stat) == pid
    ]


def _with_argument(word: str) -> list[str]:
    def has(path: Path) -> bool:
        try:
            return word.encode() in path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False

    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if has(path)]
