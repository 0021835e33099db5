"""What each process of a tree has open, runs and has started, one by one and with its name.

For the start and the end of a run: it costs too much for every sample.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_leakguard.processes.tree import (
    command,
    content_of,
    fields_of,
    name,
    not_waited_for,
    target_of,
)

_CLOSED_BY_PEER = "08"
"""State of a TCP connection whose other end has closed it (CLOSE_WAIT in the kernel's
tcp_states.h)."""
_LISTENS = "0A"
_FIRST_EPHEMERAL = 32768
"""Least port that Linux gives a caller by itself (ip_local_port_range); such a number says
nothing."""
_ENDED = "(ended, not waited for)"
_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process tree has at one moment; each thing with a key that is its own."""

    descriptors: Mapping[tuple[int, int, str], str]
    """What each is, in words; by process, number and target."""
    threads: Mapping[tuple[int, int], str]
    """The name of each thread, by process and thread id."""
    children: Mapping[tuple[int, bytes], tuple[int, str]]
    """Who started it, and its command; by process id and when it started."""


def holdings(pids: Iterable[int]) -> Holdings:
    """What these processes have now."""
    descriptors: dict[tuple[int, int, str], str] = {}
    threads: dict[tuple[int, int], str] = {}
    children: dict[tuple[int, bytes], tuple[int, str]] = {}
    pids = list(pids)
    for pid in pids:
        sockets = _Sockets(pid)
        for number, target in _open(pid):
            descriptors[pid, number, target] = sockets.in_words(target)
        for task in _numbers(f"/proc/{pid}/task"):
            own = content_of(f"/proc/{pid}/task/{task}/comm").decode("utf-8", "backslashreplace")
            threads[pid, task] = own.strip()
        fields = fields_of(pid)
        if len(fields) > 19:
            children[pid, fields[19]] = int(fields[1]), command(pid)
    for pid in not_waited_for(pids):
        fields = fields_of(pid)
        if len(fields) > 19:
            children[pid, fields[19]] = int(fields[1]), f"{name(pid)} {_ENDED}"
    return Holdings(descriptors, threads, children)


def _numbers(folder: str) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a Path for each would be dear
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isdigit())


def _open(pid: int) -> list[tuple[int, str]]:
    found = []
    for number in _numbers(f"/proc/{pid}/fd"):
        target = target_of(Path(f"/proc/{pid}/fd/{number}"))
        if target:
            found.append((number, target))
    return found


class _Sockets:
    """The sockets that a process can see, in words; read when the first one is asked for."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._words: dict[str, str] | None = None

    def in_words(self, target: str) -> str:
        """``/var/log/shop.log``, ``pipe``, ``tcp connection to 127.0.0.1:5432``."""
        kind, _, rest = target.partition(":")
        if kind == "socket":
            if self._words is None:
                self._words = self._read()
            return self._words.get(rest.strip("[]"), "socket")
        if kind == "anon_inode":
            return rest.strip("[]")
        return "pipe" if kind == "pipe" else target

    def _read(self) -> dict[str, str]:
        words: dict[str, str] = {}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            lines = content_of(f"/proc/{self._pid}/net/{table}").decode("ascii", "replace")
            rows = [line.split() for line in lines.splitlines()[1:]]
            own = {_address(row[1]) for row in rows if len(row) > 9 and row[3] == _LISTENS}
            for row in rows:
                if len(row) > 9:
                    words[row[9]] = _connection(table.rstrip("6"), row, {port for _, port in own})
        for line in (
            content_of(f"/proc/{self._pid}/net/unix").decode("utf-8", "replace").split("\n")[1:]
        ):
            row = line.split()
            if len(row) > 6:
                words[row[6]] = f"unix socket {row[7]}" if len(row) > 7 else "unix socket"
        return words


def _connection(table: str, row: list[str], listened: set[int]) -> str:
    (host, port), (peer, peer_port) = _address(row[1]), _address(row[2])
    ended = ", which the other end has closed" if row[3] == _CLOSED_BY_PEER else ""
    if row[3] == _LISTENS or peer_port == 0:
        return f"{table} socket on {host}:{port}"
    if port in listened or peer_port >= _FIRST_EPHEMERAL > port:
        return f"{table} connection from {peer} to its port {port}{ended}"
    return f"{table} connection to {peer}:{peer_port}{ended}"


def _address(text: str) -> tuple[str, int]:
    """Read ``0100007F:1F90``; the kernel writes each four bytes in the machine's order."""
    host, _, port = text.partition(":")
    packed = b"".join(
        struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8)
    )
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed).removeprefix("::ffff:"), int(port, 16)


def without_numbers(name: str) -> str:
    """One name for all files, threads and the like that differ in numbers only."""
    return _NUMBERS.sub("*", name)
