"""Memory in files of ``/dev/shm`` that were made while a service was driven, mapped or not."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path("/dev/shm")
_OWN = "leakguard-"
"""How the folders begin in which this package counts."""
_BLOCK_BYTES = 512
"""Unit of ``st_blocks``, whatever the file system."""


@dataclass(slots=True)
class SharedFiles:
    """Counts files newer than itself; older ones are nobody's growth."""

    folder: Path = _FOLDER
    since: float = field(default_factory=time.time)

    def size_bytes(self) -> int:
        """Return what they take now; 0 where there is no such folder."""
        try:
            with os.scandir(self.folder) as entries:
                return sum(self._size_of(entry) for entry in entries)
        except OSError:
            return 0

    def _size_of(self, entry: os.DirEntry[str]) -> int:
        if entry.name.startswith(_OWN):
            return 0
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:  # gone meanwhile
            return 0
        is_new = status.st_ctime >= self.since and stat.S_ISREG(status.st_mode)
        return status.st_blocks * _BLOCK_BYTES if is_new else 0
