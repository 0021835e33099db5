"""The preloaded library counts what other processes hold alive, whatever they do to themselves."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_leakguard.tracker.live import (
    LIBRARY,
    LiveMemory,
    ProcessLive,
    can_be_preloaded,
    find_held,
)
from tests.tracker.conftest import missing

HERE = Path(__file__).parent / "preload"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is preloaded elsewhere")
Build = Callable[..., Path]
TIMEOUT_S = 30

ALLOCATORS = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}
ALLOCATORS["mimalloc"] = "libmimalloc.so.2"
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")


def library_of(allocator: str) -> str:
    """Where it is; empty for the C library's own."""
    if allocator == "glibc":
        return ""
    for folder in FOLDERS:
        path = Path(folder) / ALLOCATORS[allocator]
        if path.exists():
            return str(path)
    missing(f"{allocator} is not installed")
    return ""


class Runner:
    """Starts programs with the library preloaded, and reads what they hold."""

    def __init__(self) -> None:
        if not LIBRARY.exists():
            missing(f"{LIBRARY} was not built")
        self.live = LiveMemory.create()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, preload: str = "") -> subprocess.Popen[bytes]:
        given = {**os.environ, "LD_PRELOAD": preload} if preload else dict(os.environ)
        environment = {**given, **self.live.environment(given)}
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.processes.append(process)
        self.await_ready(process)
        return process

    def await_ready(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", process.wait(TIMEOUT_S)

    def step(self, process: subprocess.Popen[bytes], epoch: int = 1) -> ProcessLive:
        """The next step in an epoch of its own; what it holds then."""
        self.live.begin_epoch(epoch)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        self.await_ready(process)
        return self.read(process.pid, epoch)

    def read(self, pid: int, epoch: int = 1) -> ProcessLive:
        return self.live.read([pid], epoch)[pid]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate(timeout=TIMEOUT_S)
        self.live.close()


@pytest.fixture
def runner() -> Iterator[Runner]:
    made = Runner()
    yield made
    made.close()
    assert not made.live.folder.exists()


@pytest.fixture(scope="session")
def program(build: Build) -> str:
    return str(build("program", "-pthread", str(HERE / "program.c"), "-ldl"))


KEPT_BY_FORMS = (1, 21, 30, 500, 40, 100, 128, 200, 300, 10, 3 << 20)


@pytest.mark.parametrize("allocator", ["glibc", *ALLOCATORS])
def test_each_form_of_malloc_is_counted_to_the_byte(
    runner: Runner, program: str, allocator: str
) -> None:
    process = runner.start(program, "forms", preload=library_of(allocator))
    now = runner.step(process)
    assert now.sees_all
    assert now.lost == 0
    assert (now.heap_bytes[1], now.heap_blocks[1]) == (sum(KEPT_BY_FORMS), len(KEPT_BY_FORMS))


@pytest.mark.parametrize("allocator", ["glibc", *ALLOCATORS])
def test_each_form_of_operator_new_is_counted_once(
    runner: Runner, build: Build, allocator: str
) -> None:
    source = str(HERE / "cxx.cpp")
    # mimalloc as Debian builds it ends a program that asks for too much.
    throws = () if allocator == "mimalloc" else ("-DTHROWS",)
    options = ("-std=c++17", "-DPROGRAM", *throws)
    built = build(f"cxx_{allocator}", *options, source, compiler="g++")
    process = runner.start(str(built), preload=library_of(allocator))
    now = runner.step(process)
    assert (now.heap_blocks[1], now.heap_bytes[1]) == (5, 1 + 21 + 100 + 64 + 128)


def test_a_cxx_library_that_is_opened_later_works_and_is_counted(
    runner: Runner, program: str, build: Build
) -> None:
    options = ("-std=c++17", "-fPIC", "-shared", "-DTHROWS")
    library = build("libcxx_opened.so", *options, str(HERE / "cxx.cpp"), compiler="g++")
    process = runner.start(program, "open", str(library))
    now = runner.step(process)
    assert now.heap_bytes[1] >= 1 + 21 + 100 + 64 + 128
    # The loader and the C++ library keep some of their own, but not 100 strings.
    assert now.heap_blocks[1] < 100


@pytest.mark.parametrize("allocator", ["glibc", *ALLOCATORS])
def test_threads_are_counted_without_a_loss(runner: Runner, program: str, allocator: str) -> None:
    process = runner.start(program, "threads", preload=library_of(allocator))
    now = runner.step(process)
    expected = sum(10 + number for number in range(63))
    # The C library keeps what threads had: 272 bytes for each stack that it keeps.
    assert expected <= now.heap_bytes[1] < expected + 63 * 400


def test_a_forked_child_counts_for_itself(runner: Runner, program: str) -> None:
    process = runner.start(program, "fork")
    parent = runner.step(process)
    (child_pid,) = (int(name) for name in children_of(process.pid))
    child = runner.read(child_pid)
    assert parent.heap_bytes[1] == 1000
    assert child.first_epoch == 1
    assert child.heap_bytes[1] == 77 - 1000  # its copy is gone, which is why first_epoch is told
    runner.live.begin_epoch(2)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_process_that_replaces_itself_starts_anew(runner: Runner, program: str) -> None:
    process = runner.start(program, "exec")
    runner.step(process)
    now = runner.step(process, epoch=2)
    assert now.heap_bytes[2] == sum(KEPT_BY_FORMS)


def test_mappings_are_counted_and_what_is_given_back_is_not(runner: Runner, program: str) -> None:
    process = runner.start(program, "map")
    now = runner.step(process)
    assert now.mapped_bytes[1] == 8192 + 4096 + 16384


def test_the_peak_is_what_was_alive_at_once(runner: Runner, program: str) -> None:
    process = runner.start(program, "peak")
    before = runner.read(process.pid, 0)
    now = runner.step(process)
    assert now.peak_bytes - before.peak_bytes == pytest.approx(5000 * (10 << 10), rel=0.01)
    assert sum(now.heap_bytes) < 1 << 20


def test_a_sandbox_that_allows_next_to_nothing_is_survived(runner: Runner, program: str) -> None:
    process = runner.start(program, "sandbox")
    now = runner.step(process)
    assert now.heap_bytes[1] == 40


def test_a_program_with_its_own_malloc_is_known(runner: Runner, build: Build) -> None:
    built = build("own_malloc", str(HERE / "own_malloc.c"))
    process = runner.start(str(built))
    assert not runner.read(process.pid).sees_all


def test_a_program_that_has_looked_up_in_vain_runs_as_before(runner: Runner, build: Build) -> None:
    process = runner.start(str(build("failed_lookup", str(HERE / "failed_lookup.c"), "-ldl")))
    assert runner.step(process).heap_bytes[1] == 77


def test_a_static_program_is_not_there(runner: Runner, build: Build) -> None:
    built = build("static", "-static", "-pthread", str(HERE / "program.c"), "-ldl")
    process = runner.start(str(built), "forms")
    assert runner.live.read([process.pid], 1) == {}


def test_files_are_the_users_own_and_are_removed(runner: Runner, program: str) -> None:
    process = runner.start(program, "forms")
    path = runner.live.folder / str(process.pid)
    assert stat.S_IMODE(runner.live.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((runner.live.folder / "control").stat().st_mode) == 0o600
    process.communicate(b"\n\n", timeout=TIMEOUT_S)
    assert not path.exists()


def test_the_files_of_killed_processes_are_swept(runner: Runner, program: str) -> None:
    process = runner.start(program, "forms")
    process.kill()
    process.wait(TIMEOUT_S)
    assert (runner.live.folder / str(process.pid)).exists()
    runner.live.sweep([])
    assert {path.name for path in runner.live.folder.iterdir()} == {"control"}


CREATES = """
import os, signal, sys
from pytest_leakguard.tracker.live import LiveMemory
live = LiveMemory.create()
print(live.folder, flush=True)
sys.stdin.read()
"""


def test_folders_of_runs_that_were_killed_are_removed_by_the_next_and_others_stay() -> None:
    command = [sys.executable, "-c", CREATES]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living,
    ):
        assert killed.stdout is not None and living.stdout is not None
        abandoned = Path(killed.stdout.readline().decode().strip())
        used = Path(living.stdout.readline().decode().strip())
        assert abandoned.is_dir() and used.is_dir(), "nobody removes what is in use"
        killed.kill()
        killed.wait(TIMEOUT_S)
        LiveMemory.create().close()
        assert not abandoned.exists() and used.is_dir()
        living.kill()
    LiveMemory.create().close()
    assert not used.exists()


def test_without_its_folder_the_library_does_nothing(program: str) -> None:
    environment = {**os.environ, "LD_PRELOAD": str(LIBRARY)}
    for folder in ("", "/nonexistent"):
        environment["LEAKGUARD_LIVE"] = folder
        done = subprocess.run(
            [program, "forms"], input=b"\n\n", env=environment, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0


def test_programs_of_the_system_run_as_before(runner: Runner) -> None:
    environment = {**os.environ, **runner.live.environment({})}
    for command in (["bash", "-c", "for i in 1 2 3; do x=$(echo $i); done; echo $x"], ["sort"]):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(
            command, env=environment, capture_output=True, input=b"", timeout=TIMEOUT_S, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_sanitizer_that_is_preloaded_keeps_its_place() -> None:
    assert not can_be_preloaded({"LD_PRELOAD": "/usr/lib/gcc/libasan.so"})


@pytest.mark.parametrize("allocator", ["glibc", *ALLOCATORS])
def test_blocks_that_nothing_leads_to_are_told_from_held_ones(
    runner: Runner, program: str, allocator: str
) -> None:
    process = runner.start(program, "lose", preload=library_of(allocator))
    now = runner.step(process)
    found = find_held(process.pid, now, 1, 1)
    assert found is not None
    assert found.bytes == now.heap_bytes[1] == 100 * (1000 + 50 + 70)
    # Allocators' own lists still lead to some that they handed out last.
    assert 60_000 <= found.lost_bytes <= 107_000


def test_a_process_that_may_not_be_searched_says_so(runner: Runner, program: str) -> None:
    process = runner.start(program, "lose")
    now = runner.step(process)
    process.kill()
    process.wait(TIMEOUT_S)
    assert find_held(process.pid, now, 1, 1) is None


@pytest.mark.parametrize(("compiler", "options"), [("gcc", ()), ("g++", ("-xc++", "-DCXX"))])
def test_tracking_costs_a_few_nanoseconds_a_block(
    runner: Runner, build: Build, compiler: str, options: tuple[str, ...]
) -> None:
    """In C++ too, where libraries allocate before the tracker has begun."""
    built = str(
        build(f"pairs_{compiler}", "-O2", *options, str(HERE / "pairs.c"), compiler=compiler)
    )

    def cost_ns(environment: dict[str, str]) -> float:
        best = 1e9
        for _ in range(5):
            printed = subprocess.check_output([built], env=environment, timeout=TIMEOUT_S)
            best = min(best, float(printed))
        return best

    bare = cost_ns(dict(os.environ))
    tracked = cost_ns({**os.environ, **runner.live.environment({})})
    # 6 ns where it was measured; 22 with atomic additions, 60 with a hash table and a lock.
    assert tracked - bare < 16


def test_the_tracker_tells_its_own_memory(runner: Runner, program: str) -> None:
    process = runner.start(program, "threads")
    time.sleep(0.1)
    own = runner.step(process).own_bytes
    assert 0 < own < 4 << 20
