"""Services that keep an entry of each request up to a limit, and the same without a limit.

    python benchmarks/bounded_services.py [--runs N] [--only WORD ...] [--limits N ...]

A C++ server, Flask, Node, Java and redis with ``maxmemory``. A limit of 0 is a leak. What has a
limit must never be called a leak; what has none must be, and it is told after how many requests.
The exit status is 1 when an answer is wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.services import sampler, session
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.readiness import free_port
from pytest_leakguard.services.shared_files import SharedFiles
from pytest_leakguard.verdict import Judged, Policy, judge_check

SOURCES = Path(__file__).with_name("bounded")
LIMITS = (0, 500, 1000, 2000, 5000)
NATIVE = ("lru", "ring", "table", "flush", "queue")
PYTHON = ("lru_cache", "deque", "sessions", "dict", "list")
NODE = ("map", "list")
REDIS_ENTRY_BYTES = 2060
"""Bytes that an entry may take in Redis, so that about as many fit as the limit says."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service; a limit of 0 is a leak."""

    kind: str
    shape: str
    limit: int
    target: ServiceTarget
    work: tuple[str, ...] | Callable[[], None] = ("GET /orders/7",)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.shape} {self.limit or 'leak'}"


def services(folder: Path, limits: tuple[int, ...]) -> Iterator[Service]:
    """Those that can be run here."""
    for limit in limits:
        yield from _native(folder, limit)
        yield from _python(limit)
        for shape in NODE if shutil.which("node") else ():
            command = ("node", str(SOURCES / "server.js"), "{port}", shape, str(limit))
            yield Service("node", shape, limit, ServiceTarget(command))
        if shutil.which("java"):
            command = ("java", str(SOURCES / "Bounded.java"), "{port}", "map", str(limit))
            yield Service("java", "map", limit, ServiceTarget(command, start_timeout_s=60.0))
        if shutil.which("redis-server"):
            yield _redis(limit)


def _native(folder: Path, limit: int) -> Iterator[Service]:
    server = folder / "server"
    if not server.exists():
        source = str(SOURCES / "server.cpp")
        subprocess.run(["g++", "-O1", "-o", str(server), source], check=True, timeout=120)
    for shape in NATIVE:
        command = (str(server), "{port}", shape, str(limit))
        yield Service("c++", shape, limit, ServiceTarget(command))


def _python(limit: int) -> Iterator[Service]:
    if not all(importlib.util.find_spec(name) for name in ("flask", "gunicorn")):
        print("left out: Flask under gunicorn")
        return
    run = (sys.executable, "-m", "gunicorn", "-w", "1", "-b", "127.0.0.1:{port}", "app:app")
    for shape in PYTHON:
        env = (("SHAPE", shape), ("LIMIT", str(limit)))
        ready = "http://127.0.0.1:{port}/healthz"
        target = ServiceTarget(run, ready, cwd=SOURCES, env=env, start_timeout_s=60.0)
        yield Service("flask", shape, limit, target)


def _redis(limit: int) -> Service:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    if limit:  # beside what it needs for itself
        most_bytes = 1_000_000 + limit * REDIS_ENTRY_BYTES
        command += ["--maxmemory", str(most_bytes), "--maxmemory-policy", "allkeys-lru"]
    connections: list[socket.socket] = []
    numbers = itertools.count()

    def set_new() -> None:
        if not connections:
            connections.append(socket.create_connection(("127.0.0.1", port), 30))
        words = [b"SET", b"key:%d" % next(numbers), b"x" * 2000]
        text = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        connections[0].sendall(b"*3\r\n" + text)
        assert connections[0].recv(64) == b"+OK\r\n"

    target = ServiceTarget(tuple(command), ready=f"tcp://127.0.0.1:{port}")
    return Service("redis", "keys", limit, target, set_new)


def check(service: Service, requests: int | None) -> tuple[Check, Judged]:
    """One service, driven until its verdict."""
    found: list[tuple[Check, Judged]] = []

    def keep(one: Check) -> Judged:
        found.append((one, judge_check(one, Policy())))
        return found[-1][1]

    context = session.Context(Settings(), lambda: service.name, keep)
    with session.serve(service.target, context) as served:
        work = list(service.work) if isinstance(service.work, tuple) else service.work
        served.loop(work, requests)
    return found[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--limits", nargs="*", type=int, default=list(LIMITS))
    options = parser.parse_args()
    wrong = total = 0
    counts: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="leakguard-bounded-") as name:
        # What others make in shared memory meanwhile is not these services'.
        vars(sampler)["SharedFiles"] = lambda: SharedFiles(Path(name) / "shared")
        for service in services(Path(name), tuple(options.limits)):
            if options.only and not any(word in service.name for word in options.only):
                continue
            for _ in range(options.runs):
                started = time.monotonic()
                done, judged = check(service, options.requests)
                right = (judged.outcome == "leak") == (service.limit == 0)
                wrong, total = wrong + (not right), total + 1
                requests = done.diagnosis.iterations if done.diagnosis else 0
                kind = f"{service.kind} {'with a limit' if service.limit else 'leaking'}"
                counts.setdefault(kind, []).append(requests)
                seconds = time.monotonic() - started
                shape = f"{done.diagnosis.shape} {done.diagnosis.metric}" if done.diagnosis else ""
                print(
                    f"{'ok   ' if right else 'WRONG'} {service.name:<24} {judged.outcome:<12} "
                    f"{shape:<20} {requests:>6} requests {seconds:5.1f} s "
                    f"{'; '.join((*done.problems, done.notes[-1] if done.notes else ''))[:160]}",
                    flush=True,
                )
    for kind, found in counts.items():
        print(f"{kind}: median {statistics.median(found):.0f} requests")
    print(f"{total - wrong} of {total} answers right")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
