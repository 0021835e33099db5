"""Where the golden reports are, and how tests read them."""

from __future__ import annotations

from pathlib import Path

from pytest_leakguard.core import forks
from pytest_leakguard.core.errors import MalformedReport
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.core.programs import Report
from pytest_leakguard.programs.tools import BACKENDS

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = GOLDEN / "samples"
MORE_SAMPLES = Path(__file__).parents[2] / "shared" / "samples"
"""Samples that are too large or too much alike for the repository; beside the checkout or absent."""
DEFINITE, INDIRECT = LeakKind.DEFINITELY_LOST, LeakKind.INDIRECTLY_LOST
POSSIBLE, REACHABLE = LeakKind.POSSIBLY_LOST, LeakKind.STILL_REACHABLE

Figures = dict[LeakKind, tuple[int, int]]


def golden(backend: str, name: str) -> Path:
    """``golden("memray", "leaky")`` is the leaky capture; a name may come with its suffix."""
    path = GOLDEN / backend / name
    if path.suffix:
        return path
    (found,) = path.parent.glob(f"{name}.*")
    return found


def samples() -> list[Path]:
    """Every file of the recorded runs, each run a folder; of files that are in both places ours."""
    found: dict[str, Path] = {}
    for folder in (MORE_SAMPLES, SAMPLES):
        for path in folder.glob("*/*"):
            if path.is_file():
                found[f"{path.parent.name}/{path.name}"] = path
    return [found[name] for name in sorted(found)]


def read(path: Path, backend: str) -> tuple[Report, str]:
    """What is in ``path``, and why it is not whole (empty when it is)."""
    try:
        return BACKENDS[backend].parse(path), ""
    except MalformedReport as error:
        assert error.recovered is not None, error
        assert str(path) in str(error)
        return error.recovered, str(error)


def figures(report: Report) -> Figures:
    """Bytes and blocks per kind as the report has them."""
    return {kind: (total.size_bytes, total.blocks) for kind, total in forks.totals(report.leaks)}


def counted_figures(report: Report) -> Figures:
    """The same with what forked children inherited left out."""
    return {
        kind: (total.size_bytes, total.blocks)
        for kind, total in forks.totals(forks.counted_once(report))
    }
