"""A page of which a part is made from the code, between two comments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MadePage:
    """What ``made`` returns stands in the page between ``begin`` and ``end``."""

    path: Path
    begin: str
    end: str
    made: Callable[[], str]
    script: str
    """What makes it anew."""

    def written(self, page: str) -> str:
        """The page with its part made anew."""
        before, _, rest = page.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not end:
            raise SystemExit(
                f"{self.path}: lacks the two comments that the made part stands between"
            )
        return before + self.begin + self.made() + self.end + after

    def main(self) -> int:
        """Exit status 1 when ``--check`` finds the part to be old."""
        page = self.path.read_text(encoding="utf-8")
        if "--check" not in sys.argv[1:]:
            self.path.write_text(self.written(page), encoding="utf-8")
            return 0
        if self.written(page) == page:
            return 0
        print(f"{self.path.name}: the code has changed; run python {self.script}", file=sys.stderr)
        return 1
