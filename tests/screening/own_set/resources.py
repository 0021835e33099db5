"""Descriptors, threads, children, files and mappings."""

from __future__ import annotations

import itertools
import mmap
import os
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import IO

COUNTER = itertools.count()
FILES: list[IO[bytes]] = []
SOCKETS: list[socket.socket] = []
MAPS: list[mmap.mmap] = []
SEGMENTS: list[SharedMemory] = []
CHILDREN: list[subprocess.Popen[bytes]] = []
NEVER = threading.Event()


def leak_file_kept_open() -> None:
    FILES.append(open(os.devnull, "rb"))  # noqa: SIM115 - the leak


def leak_descriptor() -> None:
    os.close(os.open(os.devnull, os.O_RDONLY))
    os.open(os.devnull, os.O_WRONLY)


def leak_end_of_pipe() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert reading


def leak_socket() -> None:
    SOCKETS.append(socket.socket())


def leak_100_descriptors() -> None:
    for _ in range(100):
        os.open(os.devnull, os.O_RDONLY)


def clean_file_closed() -> None:
    with open(os.devnull, "rb") as file:
        file.read()


_log: list[int] = []


def clean_descriptor_opened_on_first_use() -> None:
    if not _log:
        _log.append(os.open(os.devnull, os.O_WRONLY))
    os.write(_log[0], b"x")


def leak_thread() -> None:
    threading.Thread(target=NEVER.wait, daemon=True).start()


def leak_timer() -> None:
    timer = threading.Timer(3600, print)
    timer.daemon = True
    timer.start()


def clean_timer_cancelled() -> None:
    timer = threading.Timer(3600, print)
    timer.start()
    timer.cancel()
    timer.join()


RESULTS: list[bytes] = []


def _work() -> None:
    RESULTS.append(bytes(555))


def leak_made_by_a_thread_that_ended() -> None:
    thread = threading.Thread(target=_work)
    thread.start()
    thread.join()


EXECUTOR = ThreadPoolExecutor(4)
FUTURES: list[Future[int]] = []


def clean_shared_executor() -> None:
    assert EXECUTOR.submit(abs, -3).result() == 3


def leak_future_kept() -> None:
    future = EXECUTOR.submit(abs, -3)
    future.result()
    FUTURES.append(future)


LOCAL = threading.local()


def leak_thread_local_of_main_thread() -> None:
    if not hasattr(LOCAL, "items"):
        LOCAL.items = []
    LOCAL.items.append(bytes(222))


def leak_child() -> None:
    CHILDREN.append(subprocess.Popen(["sleep", "60"]))


def leak_child_never_waited_for() -> None:
    os.posix_spawn("/bin/true", ["true"], {})


def clean_child() -> None:
    assert subprocess.run(["true"], check=False).returncode == 0


def leak_temporary_file() -> None:
    descriptor, _ = tempfile.mkstemp()
    os.close(descriptor)


def leak_temporary_directory() -> None:
    tempfile.mkdtemp()


def clean_temporary_directory() -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "a").write_bytes(b"x")


def leak_mapping() -> None:
    MAPS.append(mmap.mmap(-1, 8192))


def clean_mapping_closed() -> None:
    mmap.mmap(-1, 8192).close()


def leak_shared_memory_not_unlinked() -> None:
    segment = SharedMemory(create=True, size=4096)
    segment.close()


def clean_shared_memory_unlinked() -> None:
    segment = SharedMemory(create=True, size=4096)
    segment.close()
    segment.unlink()


BACKGROUND: list[bytes] = []
STARTED = threading.Event()


def _allocate() -> None:
    """As a metrics thread does: it keeps its last 200 readings, whoever runs meanwhile."""
    while not NEVER.wait(0.0005):
        BACKGROUND.append(bytes(next(COUNTER) % 3000))
        del BACKGROUND[:-200]


def clean_background_thread_allocates() -> None:
    if not STARTED.is_set():
        STARTED.set()
        threading.Thread(target=_allocate, daemon=True).start()
    assert sum(range(2000)) > 0
