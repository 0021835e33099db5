"""Reads and writes the project's files: baseline and reports. Whole or not at all, never in between."""

from __future__ import annotations

import datetime as dt
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pytest_leakguard.baseline.compare import (
    AcceptedGrowth,
    AcceptedLeak,
    Baseline,
    growth_key,
    loads,
)
from pytest_leakguard.core.errors import BaselineError, MalformedReport
from pytest_leakguard.core.leaks import Finding
from pytest_leakguard.core.text import accepted_stack


def read_baseline(path: Path) -> Baseline:
    """The accepted leaks; none when there is no file. Raises ``BaselineError``."""
    text = read_text(path)
    return loads(text, str(path)) if text else Baseline()


def read_text(path: Path) -> str:
    """The file's text, empty when there is no file; raises ``BaselineError`` when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}") from None


def read_recording(name: str) -> str:
    """The text of a recorded series; ``-`` is standard input. Raises ``MalformedReport`` when it cannot be read."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedReport(
            f"{name}: not UTF-8 at byte {error.start}; expected JSON or a table as text"
        ) from None
    except OSError as error:
        raise MalformedReport(f"{name}: cannot be read: {error.strerror}") from None


def write_text(path: Path, text: str) -> None:
    """Replaces the file in one step, so that a killed run leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def accept_findings(
    path: Path,
    findings: Iterable[Finding],
    reason: str,
    owner: str = "",
    expires: dt.date | None = None,
) -> None:
    """Writes these findings into the baseline, whatever they are."""
    findings, known = list(findings), read_baseline(path)
    leaks = [replace(one, expires=expires) for one in entries_for(findings, known, reason, owner)]
    growth = [
        replace(one, expires=expires) for one in growth_entries_for(findings, known, reason, owner)
    ]
    if leaks or growth:
        from pytest_leakguard.baseline.edit import (
            accept,  # and with it tomlkit, which a run that only reads does without
        )

        write_text(path, accept(read_text(path), leaks, growth))


def growth_entries_for(
    findings: Iterable[Finding], known: Baseline, reason: str, owner: str
) -> Iterator[AcceptedGrowth]:
    """Entries that accept growth up to the upper end of its interval, so that the next run does not fail by chance."""
    for finding in findings:
        for check_id in finding.checks if finding.rate else ():
            assert finding.rate is not None
            key = growth_key(check_id, finding.rate)
            old = known.growth.get(key)
            allowed = max(math.ceil(finding.rate.high * 100) / 100, old.allowed if old else 0.0)
            unit = f"{finding.rate.unit}/request"
            yield AcceptedGrowth(key, unit, allowed, reason, owner or (old.owner if old else ""))


def entries_for(
    findings: Iterable[Finding], known: Baseline, reason: str, owner: str
) -> list[AcceptedLeak]:
    """Baseline entries that accept these findings; ceilings and targets of older entries are never narrowed."""
    entries = []
    for finding in findings:
        if finding.rate:
            continue
        old = known.leaks.get(finding.fingerprint)
        entries.append(
            AcceptedLeak(
                fingerprint=finding.fingerprint,
                kind=finding.kind,
                targets=tuple(sorted({*finding.checks, *(old.targets if old else ())})),
                max_bytes=max(finding.size_bytes, old.max_bytes if old else 0),
                max_blocks=max(finding.blocks, old.max_blocks if old else 0),
                reason=reason,
                stack=accepted_stack(finding),
                owner=owner or (old.owner if old else ""),
            )
        )
    return entries


def prune_entries(path: Path, fingerprints: tuple[str, ...]) -> None:
    """Removes these entries from the baseline."""
    if fingerprints:
        from pytest_leakguard.baseline.edit import prune

        write_text(path, prune(read_text(path), fingerprints))
