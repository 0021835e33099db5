"""Reads and writes the project's files: baseline and reports; whole or not at all."""

from __future__ import annotations

import codecs
import datetime as dt
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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

if sys.platform != "win32":
    import fcntl

LONGEST_LOCK_S = 60.0
"""Seconds to wait for others that change the baseline; each of them takes some milliseconds."""
_LOCK_PAUSE_S = 0.01
"""Seconds between two attempts: a hundredth of what a reader would notice."""


def read_baseline(path: Path) -> Baseline:
    """The accepted leaks; none when there is no file. Raises ``BaselineError``."""
    text = read_text(path)
    return loads(text, str(path)) if text else Baseline()


def read_text(path: Path) -> str:
    """The file's text, empty when there is no file; without a byte order mark, lines end with LF.

    Raises ``BaselineError`` when it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}") from None


def read_recording(name: str) -> str:
    """The text of a recorded series; ``-`` is standard input.

    Raises ``MalformedReport`` when it cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedReport(
            f"{name}: not UTF-8 at byte {error.start}; expected JSON or a table as text"
        ) from None
    except OSError as error:
        raise MalformedReport(f"{name}: cannot be read: {error.strerror}") from None


def rewrite(path: Path, text: str) -> None:
    """``write_text`` with the line ends and the byte order mark that the file has."""
    before = path.read_bytes() if path.exists() else b""
    if before.partition(b"\n")[0].endswith(b"\r"):
        text = text.replace("\n", "\r\n")
    write_text(path, f"\ufeff{text}" if before.startswith(codecs.BOM_UTF8) else text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds every other run off that would change the file meanwhile.

    Raises ``BaselineError`` when another one holds it for too long. Windows, where a directory
    cannot be locked, holds nobody off.
    """
    if sys.platform == "win32":
        yield
        return
    # The directory is what is locked: a file beside the baseline would be left, and committed.
    folder = path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _wait_for_lock(handle, path)
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int, path: Path) -> None:
    deadline_s = time.monotonic() + LONGEST_LOCK_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                why = f"another run has been changing it for {LONGEST_LOCK_S:g} seconds"
                raise BaselineError(f"{path}: {why}") from None
            time.sleep(_LOCK_PAUSE_S)
        except OSError:
            return  # a file system without locks, on which only one run can be told to write
        else:
            return


def write_text(path: Path, text: str) -> None:
    """Replaces the file in one step, so that a killed run leaves the old one.

    Of a symbolic link the file that it leads to is replaced.
    """
    path = path.resolve() if path.is_symlink() else path
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
    with locked(path):
        _accept(path, list(findings), reason, owner, expires)


def _accept(
    path: Path, findings: list[Finding], reason: str, owner: str, expires: dt.date | None
) -> None:
    accepted = read_baseline(path)
    leaks = [
        replace(leak, expires=expires) for leak in entries_for(findings, accepted, reason, owner)
    ]
    growth = [
        replace(entry, expires=expires)
        for entry in growth_entries_for(findings, accepted, reason, owner)
    ]
    if leaks or growth:
        # Imported here, since it needs tomlkit, which a run that only reads does without.
        from pytest_leakguard.baseline.edit import accept

        rewrite(path, accept(read_text(path), leaks, growth))


def growth_entries_for(
    findings: Iterable[Finding], accepted: Baseline, reason: str, owner: str
) -> Iterator[AcceptedGrowth]:
    """Entries that accept growth up to the upper end of its interval.

    At its estimate the next run would fail by chance.
    """
    for finding in findings:
        if finding.rate is None:
            continue
        high = math.ceil(finding.rate.high * 100) / 100
        unit = f"{finding.rate.unit}/{finding.rate.per}"
        for check_id in finding.checks:
            key = growth_key(check_id, finding.rate)
            old = accepted.growth.get(key)
            if old is None:
                yield AcceptedGrowth(key, unit, max(high, 0.0), reason, owner)
            else:
                allowed = max(high, old.allowed)
                yield AcceptedGrowth(key, unit, allowed, reason, owner or old.owner)


def entries_for(
    findings: Iterable[Finding], accepted: Baseline, reason: str, owner: str
) -> list[AcceptedLeak]:
    """Baseline entries that accept these findings.

    Ceilings and targets of older entries are never narrowed.
    """
    entries = []
    for finding in findings:
        if finding.rate:
            continue
        entry = AcceptedLeak(
            fingerprint=finding.fingerprint,
            kind=finding.kind,
            targets=tuple(sorted(set(finding.checks))),
            max_bytes=finding.size_bytes,
            max_blocks=finding.blocks,
            reason=reason,
            stack=accepted_stack(finding),
            owner=owner,
        )
        old = accepted.leaks.get(finding.fingerprint)
        entries.append(entry if old is None else _widened(entry, old))
    return entries


def _widened(entry: AcceptedLeak, old: AcceptedLeak) -> AcceptedLeak:
    """``entry`` with all that the older one accepts as well."""
    return replace(
        entry,
        targets=tuple(sorted({*entry.targets, *old.targets})),
        max_bytes=max(entry.max_bytes, old.max_bytes),
        max_blocks=max(entry.max_blocks, old.max_blocks),
        owner=entry.owner or old.owner,
    )


def prune_entries(path: Path, fingerprints: tuple[str, ...]) -> None:
    """Removes these entries from the baseline."""
    if fingerprints:
        from pytest_leakguard.baseline.edit import prune

        with locked(path):
            rewrite(path, prune(read_text(path), fingerprints))
