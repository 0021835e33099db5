"""What a user hands over to be judged, as files that can be read more than once.

Standard input and pipes are read once, since another look would lose what the first has taken;
what is packed is unpacked; directories, patterns and archives become the files in them.
"""

from __future__ import annotations

import bz2
import errno
import glob
import gzip
import lzma
import os
import re
import select
import stat
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, cast

MOST_BYTES = 2 << 30
"""Bytes of one input that are read from a pipe or unpacked; the longest logs of builds have some
hundred megabytes, and a file that unpacks to more is an attack."""
MOST_FILES = 10_000
"""Files of one directory or archive; no build leaves more reports."""
_MOST_LAYERS = 3
"""Packed files inside packed files that are opened: ``logs.tar.xz`` has two."""
_WRITER_S = 10.0
"""Seconds that somebody has to open a named pipe for writing, which takes a shell milliseconds."""
_PAUSE_S = 0.05
"""Seconds between two looks at a pipe that nobody writes to."""
_CHUNK_BYTES = 1 << 20
"""Bytes read at once."""


def _gunzipped(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path))


_UNPACKERS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": _gunzipped,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
_UNKNOWN_PACKERS = {b"\x28\xb5\x2f\xfd": "zstd -d", b"7z\xbc\xaf\x27\x1c": "7z x"}
_REPORT_NAMES = (".log", ".txt", ".xml", ".out", ".gz", ".xz", ".bz2", ".bin", ".zip")
"""Names in a directory that an empty file may have which should have held a report."""


@dataclass(frozen=True, slots=True)
class Input:
    """One file of the user's."""

    name: str
    """As the user gave it, and what of it: ``logs.zip/vg.7.xml``."""
    path: Path
    """Where its content can be read."""
    problem: str = ""
    """Why it is not all that it was."""
    is_chosen: bool = True
    """The user named it; other files of a directory need not be reports."""


def collect(names: Iterable[str], workdir: Path, patience_s: float) -> Iterator[Input]:
    """Each file that ``names`` stand for; ``-`` is standard input.

    ``patience_s`` is how long a pipe may stay silent. What is spooled or unpacked lies below
    ``workdir``.
    """
    for number, name in enumerate(names):
        place = workdir / str(number)
        place.mkdir()
        for given in _expanded(name):
            if given.problem or not given.path:
                yield given
            else:
                yield from _plain(_spooled(given, place, patience_s), place, 0)


def _expanded(name: str) -> Iterator[Input]:
    """The files behind a name: a pattern that the shell left alone, a directory, or one file."""
    path = Path(name)
    if name == "-" or path.exists() or not glob.has_magic(name):
        found = [name]
    else:
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 -- it may be absolute
        if not found:
            yield Input(name, path, f"{name}: no file matches this pattern")
    for one in found:
        if one != "-" and Path(one).is_dir():
            yield from _in_directory(Path(one))
        else:
            yield Input(one, Path(one))


def _in_directory(directory: Path) -> Iterator[Input]:
    files: list[Path] = []
    for folder, folders, names in os.walk(directory):
        folders.sort()
        files.extend(Path(folder, name) for name in sorted(names))
        if len(files) > MOST_FILES:
            why = f"{directory}: more than {MOST_FILES} files"
            yield Input(str(directory), directory, why)
            return
    if not any(path.is_file() for path in files):
        yield Input(str(directory), directory, f"{directory}: there is no file in this directory")
    for path in files:
        if path.is_file():  # a pipe that lies there is nobody's report
            yield Input(str(path), path, is_chosen=_should_hold_a_report(path))


def _should_hold_a_report(path: Path) -> bool:
    return path.stat().st_size == 0 and path.name.endswith(_REPORT_NAMES)


def _spooled(given: Input, place: Path, patience_s: float) -> Input:
    """``given`` in a file of ours where it is none that can be read twice."""
    target = place / "spooled"
    try:
        if given.name == "-":
            with target.open("wb") as stream:
                problem = _copy(sys.stdin.buffer, stream)
            return Input("-", target, problem and f"standard input: {problem}")
        mode = given.path.stat().st_mode
        if stat.S_ISREG(mode):
            return given
        if not stat.S_ISFIFO(mode):
            return _of_device(given, target, mode)
        with target.open("wb") as stream:
            problem = _drained(given.path, stream, patience_s)
    except OSError as error:
        return replace(given, problem=f"{given.name}: cannot be read: {_words(error)}")
    return Input(given.name, target, problem and f"{given.name}: {problem}")


def _of_device(given: Input, target: Path, mode: int) -> Input:
    is_terminal = stat.S_ISCHR(mode) and given.name in ("/dev/stdin", "/dev/fd/0")
    if not is_terminal and given.name != os.devnull:
        return replace(given, problem=f"{given.name}: neither a file nor a pipe")
    with given.path.open("rb") as source, target.open("wb") as stream:
        _copy(source, stream)
    return Input(given.name, target)


def _copy(source: IO[bytes], stream: BinaryIO) -> str:
    """Why not everything was copied; empty when it was."""
    size_bytes = 0
    while chunk := source.read(_CHUNK_BYTES):
        stream.write(chunk)
        size_bytes += len(chunk)
        if size_bytes > MOST_BYTES:
            return f"longer than {MOST_BYTES >> 30} GiB"
    return ""


def _drained(path: Path, stream: BinaryIO, patience_s: float) -> str:
    """Copies what comes through a pipe; why it is not all, empty when it is."""
    # Without O_NONBLOCK the call waits for ever for a writer that never comes.
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return _taken(pipe, stream, _WRITER_S if _is_named(path) else 0.0, patience_s)
    finally:
        os.close(pipe)


def _is_named(path: Path) -> bool:
    """Whether somebody may open the pipe later; that of ``<(command)`` has its writer already."""
    return re.search(r"/pipe:\[\d+\]$", os.path.realpath(path)) is None


def _taken(pipe: int, stream: BinaryIO, writer_s: float, patience_s: float) -> str:
    size_bytes, heard_at = 0, time.monotonic()
    while True:
        try:
            chunk = os.read(pipe, _CHUNK_BYTES)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            if time.monotonic() - heard_at > patience_s:
                return f"nothing came through the pipe for {patience_s:g} seconds"
            select.select([pipe], [], [], _PAUSE_S)
            continue
        if chunk:
            stream.write(chunk)
            size_bytes, heard_at = size_bytes + len(chunk), time.monotonic()
        elif size_bytes or writer_s == 0.0:
            return ""
        elif time.monotonic() - heard_at > writer_s:
            return f"nobody wrote to the pipe within {writer_s:g} seconds"
        else:
            time.sleep(_PAUSE_S)
        if size_bytes > MOST_BYTES:
            return f"longer than {MOST_BYTES >> 30} GiB"


def _plain(given: Input, place: Path, layers: int) -> Iterator[Input]:
    """``given`` unpacked: itself, what it was packed from, or the files in it."""
    if given.problem and not given.path.is_file():
        yield given
        return
    try:
        with given.path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        yield replace(given, problem=f"{given.name}: cannot be read: {_words(error)}")
        return
    for magic, command in _UNKNOWN_PACKERS.items():
        if head.startswith(magic):
            yield replace(given, problem=f"{given.name}: packed; unpack it first with `{command}`")
            return
    for magic, opener in _UNPACKERS.items():
        if head.startswith(magic) and layers < _MOST_LAYERS:
            yield from _plain(_unpacked(given, opener, place, layers), place, layers + 1)
            return
    if layers < _MOST_LAYERS and head.startswith(b"PK\x03\x04"):
        yield from _members(given, place, layers, _of_zip)
    elif layers < _MOST_LAYERS and _is_tar(given.path):
        yield from _members(given, place, layers, _of_tar)
    else:
        yield given


def _unpacked(given: Input, opener: Callable[[Path], IO[bytes]], place: Path, layers: int) -> Input:
    """What ``given`` was packed from, as far as it could be unpacked."""
    target = _free(place, f"unpacked-{layers}")
    problem = ""
    with target.open("wb") as stream:
        try:
            with opener(given.path) as source:
                problem = _copy(source, stream)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            problem = f"the packed file is damaged or cut off: {_words(error)}"
    told = given.problem or (problem and f"{given.name}: {problem}")
    return replace(given, path=target, problem=told)


def _free(place: Path, name: str) -> Path:
    """A name below ``place`` that nothing has yet."""
    path, number = place / name, 0
    while path.exists():
        number += 1
        path = place / f"{name}-{number}"
    return path


def _is_tar(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(257)
        return stream.read(5) == b"ustar"


def _members(
    given: Input,
    place: Path,
    layers: int,
    members: Callable[[Path], Iterator[tuple[str, IO[bytes]]]],
) -> Iterator[Input]:
    """Each file of an archive, as a file in a directory."""
    found = 0
    problem = given.problem
    try:
        for name, source in members(given.path):
            target = _free(place, "member")
            with source, target.open("wb") as stream:
                told = _copy(source, stream)
            found += 1
            if found > MOST_FILES:
                problem = f"{given.name}: more than {MOST_FILES} files"
                break
            one = Input(f"{given.name}/{name}", target, told and f"{given.name}/{name}: {told}")
            is_chosen = name.endswith(_REPORT_NAMES) and target.stat().st_size == 0
            yield from _plain(replace(one, is_chosen=is_chosen), place, layers + 1)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"{given.name}: the archive is damaged or cut off: {_words(error)}"
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in an unknown way
        problem = f"{given.name}: {_words(error)}"
    if problem or not found:
        empty = _free(place, "empty")
        empty.touch()
        yield Input(given.name, empty, problem or f"{given.name}: there is no file in this archive")


def _of_zip(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, archive.open(member)


def _of_tar(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and (source := archive.extractfile(member)):
                yield member.name, source


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
