"""Requests and seconds until the verdict, by size of the leak and by language.

    python benchmarks/leak_sizes.py [--only WORD ...]

A C++ server, Flask, Node, Java and redis, each with 1 B, 64 B, 1 KiB and 10 KiB kept by each
request, clean, and with a cache of 500 entries. In C++ nothing leads to what is kept; in the others
a container holds it. The seconds are those of the loop, without start and explanation.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bounded_services import SOURCES, Service, check, services
from pytest_leakguard.services import sampler
from pytest_leakguard.services.launch import ServiceTarget
from pytest_leakguard.services.readiness import free_port
from pytest_leakguard.services.shared_files import SharedFiles

SIZES = (1, 64, 1024, 10_240)


def leaking(folder: Path, size: int) -> Iterator[Service]:
    """One service of each language that keeps so many bytes of each request; 0 is clean."""
    name = str(size)
    lost = ("lost" if size else "none", "0", str(max(1, size)))
    yield Service("c++", name, 0, ServiceTarget((str(folder / "server"), "{port}", *lost)))
    run = (sys.executable, "-m", "gunicorn", "-w", "1", "-b", "127.0.0.1:{port}", "app:app")
    env = (("SHAPE", "bytes" if size else "nothing"), ("LIMIT", "0"), ("SIZE", name))
    ready = "http://127.0.0.1:{port}/healthz"
    flask = ServiceTarget(run, ready, cwd=SOURCES, env=env, start_timeout_s=60.0)
    yield Service("flask", name, 0, flask)
    if shutil.which("node"):
        kept = ("buffers" if size else "none", "0", name)
        node = ServiceTarget(("node", str(SOURCES / "server.js"), "{port}", *kept))
        yield Service("node", name, 0, node)
    if shutil.which("java"):
        kept = ("map" if size else "none", "0", name)
        java = ("java", str(SOURCES / "Bounded.java"), "{port}", *kept)
        yield Service("java", name, 0, ServiceTarget(java, start_timeout_s=60.0))
    if shutil.which("redis-server"):
        yield _redis(size)


def _redis(size: int) -> Service:
    port = free_port()
    command = ("redis-server", "--port", str(port), "--save", "", "--appendonly", "no")
    target = ServiceTarget(command, ready=f"tcp://127.0.0.1:{port}")
    return Service("redis", str(size), 0, target, _setting(port, size))


def _setting(port: int, size: int) -> Callable[[], None]:
    connections: list[socket.socket] = []
    numbers = itertools.count()

    def set_one() -> None:
        if not connections:
            connections.append(socket.create_connection(("127.0.0.1", port), 30))
        number = next(numbers)
        words = [b"SET", b"key:%d" % (number if size else number % 10), b"x" * max(1, size)]
        text = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        connections[0].sendall(b"*3\r\n" + text)
        assert connections[0].recv(64) == b"+OK\r\n"

    return set_one


def all_of(folder: Path) -> Iterator[tuple[str, Service]]:
    for size in (*SIZES, 0):
        for service in leaking(folder, size):
            yield f"{size} B" if size else "clean", service
    shapes = {"c++": "lru", "flask": "lru_cache", "node": "map", "java": "map", "redis": "keys"}
    for service in services(folder, (500,)):
        if shapes[service.kind] == service.shape:
            yield "cache of 500", service


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leakguard-sizes-") as name:
        vars(sampler)["SharedFiles"] = lambda: SharedFiles(Path(name) / "shared")
        next(iter(services(Path(name), (500,))))  # which compiles the server
        for what, service in all_of(Path(name)):
            if options.only and service.kind not in options.only:
                continue
            started = time.monotonic()
            done, judged = check(service, None)
            whole_s = time.monotonic() - started
            answer = done.diagnosis
            requests = answer.iterations if answer else 0
            found = next(
                (one for one in done.growth if answer and one.metric == answer.metric), None
            )
            rate = found.per_iteration if found else 0.0
            print(
                f"{service.kind:<6} {what:<13} {judged.outcome:<13} {requests:>6} requests "
                f"{done.duration_s:6.1f} s ({whole_s:5.1f} s in all) {rate:10.1f} B/request "
                f"{'; '.join(done.problems)[:120]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
