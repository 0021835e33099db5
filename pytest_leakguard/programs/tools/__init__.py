"""The registry: one line per tool. Everything else finds backends here."""

from __future__ import annotations

from pathlib import Path

from pytest_leakguard.core.errors import UnknownFormat
from pytest_leakguard.programs.tools.base import Backend
from pytest_leakguard.programs.tools.memray import Memray
from pytest_leakguard.programs.tools.sanitizer import Sanitizer
from pytest_leakguard.programs.tools.valgrind import Valgrind

BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (Valgrind(), Sanitizer(), Memray())
}
_HEAD_BYTES = 1 << 16


def recognise(artifact: Path) -> Backend:
    """The backend whose report this is, by content alone; raises ``UnknownFormat`` when it is nobody's."""
    with artifact.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for backend in BACKENDS.values():
        if backend.recognises(head):
            return backend
    seen = repr(head[:40])[2:-1] or "nothing: the file is empty"
    raise UnknownFormat(
        f"{artifact}: no report of {', '.join(BACKENDS)}; it begins with {seen}. Expected valgrind XML "
        "(--xml=yes --xml-file=F), a valgrind log, a LeakSanitizer log (log_path=F) or a memray capture"
    )
