"""A service for tests, standard library only: python stub.py PORT MODE."""

from __future__ import annotations

import atexit
import http.server
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

KEPT: list[Any] = []
SERVED = 0
PREFIX = "pytest-stub-"


def leak() -> None:
    KEPT.append(b"x" * (20 * 1024))


def cache() -> None:
    KEPT.append(bytes(4096))
    del KEPT[:-200]


def descriptors() -> None:
    KEPT.append(os.open(os.devnull, os.O_RDONLY))


def shared_files() -> None:
    name = f"/dev/shm/{PREFIX}{os.getpid()}-{SERVED}"
    KEPT.append(name)
    with open(name, "wb") as file:
        file.write(b"x" * 8192)


def remove_shared_files() -> None:
    for name in KEPT:
        os.unlink(name)


def mapped() -> None:
    memory = mmap.mmap(-1, 8192)
    memory[:] = b"x" * 8192
    KEPT.append(memory)


def children() -> None:
    if SERVED % int(mode.removeprefix("children")) == 0:
        KEPT.append(subprocess.Popen(["sleep", "300"]))


def limited() -> None:
    try:
        descriptors()
    except OSError:
        if mode == "limited_dies":
            os._exit(3)


def deaf() -> None:
    if SERVED == 60:
        threading.Thread(target=close_port).start()


def close_port() -> None:
    server.shutdown()
    server.server_close()
    while True:
        KEPT.append(bytearray(b"x" * 20_000))
        time.sleep(0.005)


def suicide() -> None:
    if SERVED == 60:
        os.kill(os.getpid(), signal.SIGKILL)


def clean() -> None:
    """Nothing stays."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Headers and body in one packet: Nagle's algorithm would wait 40 ms for each."""

    def do_GET(self) -> None:
        global SERVED
        if self.path.startswith("/orders"):
            SERVED += 1
            {
                "leak": leak,
                "cache": cache,
                "fds": descriptors,
                "deaf": deaf,
                "suicide": suicide,
                "shared_files": shared_files,
                "mapped": mapped,
                "limited": limited,
                "limited_dies": limited,
                "children": children,
            }.get(mode.rstrip("0123456789"), clean)()
        self.send_response(500 if self.path == "/broken" or mode == "broken" else 200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


port, mode = int(sys.argv[1]), sys.argv[2]
if mode == "refuses":
    sys.exit("no configuration found")
if mode == "forks" and os.fork():
    os._exit(0)
if mode == "shared_files":
    atexit.register(remove_shared_files)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if mode.startswith("limited"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (
    mode == "greedy_worker"
):  # the first process answers, a second one takes memory and is replaced when killed
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            if os.fork() == 0:
                while os.getppid() != 1:
                    KEPT.append(bytearray(b"x" * 100_000))
                    time.sleep(0.002)
            os.wait()
        os._exit(0)
kind = http.server.HTTPServer if mode == "workers" else http.server.ThreadingHTTPServer
server = kind(("127.0.0.1", port), Handler)
print("listening", flush=True)
if mode == "workers":  # forked workers on one listener; each ends after 60 orders and is replaced
    while True:
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            while SERVED < 60:
                leak()
                server.handle_request()
            os._exit(0)
        os.wait()
server.serve_forever()
if mode == "deaf":
    time.sleep(60)
