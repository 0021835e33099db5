"""Where the sources of a Java service are: a JVM knows the names of files alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.processes import tree

_MOST_FOLDERS = 5_000
"""Upper limit of the folders that are searched below where the service runs."""
_NO_SOURCES = frozenset({"target", "build", "out", "bin", "node_modules", "__pycache__"})
"""Folders in which builds put copies, or which hold no source of Java."""


@dataclass(slots=True)
class Sources:
    """Paths by package and name, of one service."""

    folder: Path
    words: tuple[str, ...]
    """Of the command: a single source file may be run as it is."""
    _found: dict[str, list[str]] = field(default_factory=dict)
    _is_searched: bool = False

    @classmethod
    def of(cls, pid: int) -> Sources:
        """Return those of a process that runs."""
        folder = Path(tree.target_of(Path(f"/proc/{pid}/cwd")) or ".")
        words = tree.content_of(f"/proc/{pid}/cmdline").split(b"\0")
        return cls(folder, tuple(map(os.fsdecode, words)))

    def path_of(self, kind: str, source: str) -> str:
        """Return where the class was written; its file's name alone where that is not known."""
        if not source:
            return ""
        for word in self.words:
            if Path(word).name == source and (self.folder / word).is_file():
                return str(self.folder / word)
        self._search()
        package = kind.rpartition(".")[0].replace(".", "/")
        inside = f"{package}/{source}" if package else source
        candidates = [path for path in self._found.get(source, ()) if path.endswith(f"/{inside}")]
        return candidates[0] if len(candidates) == 1 else source

    def text_of(self, frame: Frame) -> str:
        """Return the text of its line; empty where the source is not here."""
        try:
            lines = Path(frame.file or "").read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        number = frame.line or 0
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""

    def _search(self) -> None:
        if self._is_searched:
            return
        self._is_searched = True
        for count, (folder, folders, names) in enumerate(os.walk(self.folder)):
            folders[:] = [
                name for name in folders if name not in _NO_SOURCES and not name.startswith(".")
            ]
            for name in names:
                if name.endswith((".java", ".kt", ".scala")):
                    self._found.setdefault(name, []).append(f"{folder}/{name}")
            if count >= _MOST_FOLDERS:
                return
