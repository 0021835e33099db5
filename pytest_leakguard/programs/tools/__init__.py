"""The registry: one line per tool. Everything else finds the tools here."""

from __future__ import annotations

from pathlib import Path

from pytest_leakguard.core.errors import UnknownFormat
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.foreign_reports import explained
from pytest_leakguard.programs.tools.base import Backend
from pytest_leakguard.programs.tools.memray import Memray
from pytest_leakguard.programs.tools.sanitizer import Sanitizer
from pytest_leakguard.programs.tools.valgrind import Valgrind

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (Valgrind(), Sanitizer(), Memray())
}
"""By name, the most general tool first: reports are recognised in this order, and ``auto`` asks
the tools in the opposite one."""
_HEAD_BYTES = 1 << 16
"""Bytes that a report is recognised by; a program's own output may stand before a sanitizer's."""
_OVERLAP_BYTES = 1 << 10
"""Bytes looked at twice, since what a report is recognised by may lie on both sides of a cut."""


def pick(program: Binary) -> tuple[Backend, str]:
    """The tool that ``auto`` takes for ``program``, and why.

    It is the most special one that suits and is there; without any, the most general one that
    suits, so that the user is told how to get it.
    """
    missing: list[str] = []
    chosen: tuple[Backend, str] | None = None
    for backend in reversed(BACKENDS.values()):
        why = backend.suits(program)
        if not why:
            continue
        chosen = backend, why + "".join(f", and {name} is not installed" for name in missing)
        if backend.is_present():
            break
        missing.append(backend.name)
    assert chosen is not None  # the most general tool suits every program
    return chosen


def recognise(artifact: Path) -> Backend:
    """The tool whose report this is, by content alone.

    Raises ``UnknownFormat`` when it is nobody's.
    """
    with artifact.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for backend in BACKENDS.values():
        if backend.recognises(head):
            return backend
    raise UnknownFormat(f"{artifact}: {_unknown(head)}")


def recognise_all(artifact: Path) -> tuple[Backend, ...]:
    """The tools whose reports stand anywhere in this file, in the order of the registry.

    Raises ``UnknownFormat`` when it is nobody's.
    """
    found: dict[str, Backend] = {}
    head = before = b""
    with artifact.open("rb") as stream:
        while chunk := stream.read(_HEAD_BYTES):
            head = head or chunk
            for backend in BACKENDS.values():
                if backend.name not in found and backend.recognises(before + chunk):
                    found[backend.name] = backend
            before = chunk[-_OVERLAP_BYTES:]
    if not found:
        raise UnknownFormat(f"{artifact}: {_unknown(head)}")
    return tuple(backend for name, backend in BACKENDS.items() if name in found)


def _unknown(head: bytes) -> str:
    seen = repr(head[:40])[2:-1]
    known = explained(head, is_empty=not head)
    return (
        f"no report of {', '.join(BACKENDS)}: {known}"
        if known
        else f"no report of {', '.join(BACKENDS)}; it begins with {seen}. Expected "
        "valgrind XML (--xml=yes --xml-file=F), a valgrind log, a LeakSanitizer log (log_path=F) "
        "or a memray capture"
    )
