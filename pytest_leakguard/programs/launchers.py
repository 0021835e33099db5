"""What a command line is about: the program behind env, timeout, a shell, a script or ctest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from pytest_leakguard.programs.binary import Binary, find, inspect

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"})
LAUNCHERS = SHELLS | frozenset(
    "env timeout nice ionice nohup setsid stdbuf time taskset chrt chroot unshare flock script "
    "xvfb-run dbus-run-session catchsegv setarch linux64 prlimit sudo runuser su "
    "make ninja ctest cmake meson".split()
)
"""Programs of the system that start what they are given; nobody means them themselves."""
_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/homebrew/", "/nix/store/")
_OF_THE_USER = ("/usr/local/", "/usr/src/", "/usr/home/")
LARGEST_SCRIPT_BYTES = 1 << 18
"""Bytes of a script that are searched; what it starts stands in its lines."""
_DEEPEST = 3
"""Scripts that start scripts."""
MOST_PROGRAMS = 64
"""Programs that are looked for in one command and its scripts; further ones are not seen."""
_LONGEST_FIRST_LINE = 256
"""Bytes that Linux reads of a script's first line (BINPRM_BUF_SIZE in include/linux/binfmts.h)."""
_WORD = re.compile(r"[^\s'\"`;|&<>(){}]+")
_CTEST_FILE = "CTestTestfile.cmake"
_QUOTED = re.compile(r'"([^"]+)"|\[=*\[(.*?)\]=*\]')


def is_launcher(argv: tuple[str, ...], cwd: Path | None) -> bool:
    """Whether the first word only starts what is meant: a launcher, or a script that is no Python.

    A launcher that is given nothing to start is meant itself.
    """
    if Path(argv[0]).name in LAUNCHERS:
        return len(argv) > 1
    program = inspect(argv[0], cwd)
    return program.path is not None and not program.is_elf and not program.is_python


def behind(argv: tuple[str, ...], cwd: Path | None) -> tuple[Path, ...]:
    """The user's compiled programs that a launcher starts, as far as its words tell."""
    if not is_launcher(argv, cwd):
        return ()
    found: dict[Path, None] = {}
    for path in _started(argv, cwd, 0):
        found[path] = None
        if len(found) >= MOST_PROGRAMS:
            break
    return tuple(found)


def sanitized(argv: tuple[str, ...], cwd: Path | None) -> Binary | None:
    """The first program behind a launcher that is built with a sanitizer."""
    for path in behind(argv, cwd):
        program = inspect(str(path))
        if program.sanitizer:
            return program
    return None


def python_behind(argv: tuple[str, ...], cwd: Path | None) -> Binary | None:
    """The Python program behind a launcher, where that starts no compiled program of the user's."""
    if not is_launcher(argv, cwd):
        return None
    if not all(inspect(str(path)).is_python for path in behind(argv, cwd)):
        return None
    for word in (*list(words_of(argv))[1:], *_words_of_script(argv, cwd)):
        program = inspect(word, cwd) if word and not word.startswith("-") else None
        if program is not None and program.is_python:
            return program
    return None


def _words_of_script(argv: tuple[str, ...], cwd: Path | None) -> list[str]:
    """The words of the shell script that runs: the first one, or what a shell is given."""
    for word in argv[: 2 if Path(argv[0]).name in SHELLS else 1]:
        path = find(word, cwd) or find(f"./{word}", cwd)
        if path is not None and not inspect(str(path.absolute())).is_elf:
            with path.open("rb") as stream:
                text = stream.read(LARGEST_SCRIPT_BYTES).decode("utf-8", "replace")
            return [each for line in text.splitlines()[1:] for each in _WORD.findall(line)]
    return []


def is_of_the_system(path: str) -> bool:
    """Whether a program came with the system."""
    return path.startswith(_SYSTEM) and not path.startswith(_OF_THE_USER)


def named_by(argv: tuple[str, ...], cwd: Path | None) -> frozenset[Path]:
    """The programs that a command line names, launchers left out; also a script's interpreter."""
    names = []
    for position, word in enumerate(argv):
        path = find(word, cwd) if word and not word.startswith("-") else None
        if path is None or (position == 0 and is_launcher(argv, cwd)):
            continue
        names.append(path.resolve())
    interpreter = _interpreter(argv[0], cwd)
    return frozenset([*names, *interpreter])


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns is the path, its end, or its name."""
    name = path.rpartition("/")[2]
    for pattern in patterns:
        plain = pattern.removeprefix("./")
        if fnmatch(name, plain) or fnmatch(path, plain) or fnmatch(path, f"*/{plain}"):
            return True
    return False


def is_shell_script(path: Path) -> bool:
    """Whether a shell runs it; a script without a first line is run by one as well."""
    program = inspect(str(path.absolute()))
    if program.path is None or program.is_elf or program.is_python:
        return False
    return next(_interpreter(str(path.absolute()), None), None) is None


def _interpreter(program: str, cwd: Path | None) -> Iterator[Path]:
    """What runs a script that is no shell script."""
    path = find(program, cwd)
    if path is None:
        return
    try:
        with path.open("rb") as stream:
            first = stream.readline(_LONGEST_FIRST_LINE)
    except OSError:
        return
    if not first.startswith(b"#!"):
        return
    for word in first[2:].decode("utf-8", "replace").split():
        name = word.rpartition("/")[2]
        if name == "env" or word.startswith("-"):
            continue
        found = find(word)
        if found is not None and name not in SHELLS:
            yield found.resolve()
        return


def _started(argv: tuple[str, ...], cwd: Path | None, depth: int) -> Iterator[Path]:
    if depth > _DEEPEST or not argv:
        return
    name = Path(argv[0]).name
    if name not in LAUNCHERS:
        path = find(argv[0], cwd)
        if path is not None:
            yield from _of_file(path, cwd, depth)
        return
    if name == "ctest":
        yield from _of_ctest(argv, cwd)
        return
    for position, word in enumerate(argv[1:], 1):
        is_command = _is_shell_line(argv, position)
        for part in words_of(tuple(_split(word))) if is_command else [word]:
            path = None if part.startswith("-") or "=" in part else find(part, cwd)
            if path is None and name in SHELLS and not is_command:
                path = find(f"./{part}", cwd)  # a shell takes its script from the directory
            if path is not None:
                yield from _of_file(path, cwd, depth + 1)


def words_of(argv: tuple[str, ...]) -> Iterator[str]:
    """The words of a command line, those of a shell's ``-c`` line taken apart."""
    for position, word in enumerate(argv):
        if _is_shell_line(argv, position):
            yield from words_of(tuple(_split(word)))
        else:
            yield word


def _is_shell_line(argv: tuple[str, ...], position: int) -> bool:
    """Whether a word is the line that a shell is given with ``-c``, itself behind launchers."""
    before = argv[:position]
    if not before or not (before[-1].startswith("-") and before[-1].endswith("c")):
        return False
    return any(Path(word).name in SHELLS for word in before)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text.replace(";", " ").replace("&", " ").replace("|", " "))
    except ValueError:
        return []


def _of_file(path: Path, cwd: Path | None, depth: int) -> Iterator[Path]:
    """A compiled program itself; what a script of the user starts."""
    if is_of_the_system(str(path.resolve())):
        return
    program = inspect(str(path.absolute()))
    if program.is_elf:
        yield path.absolute()
    elif not program.is_python and depth <= _DEEPEST:
        yield from _of_script(path, cwd, depth)


def _of_script(path: Path, cwd: Path | None, depth: int) -> Iterator[Path]:
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_SCRIPT_BYTES).decode("utf-8", "replace")
    except OSError:
        return
    folders = [(cwd or Path()).absolute(), path.absolute().parent]
    folders.append(folders[1] / ".libs")  # where libtool hides the program behind its wrapper
    for word in dict.fromkeys(_WORD.findall(text)):
        last = word.rpartition("/")[2]
        if not last or last.startswith(("-", "$", "#")):
            continue
        places = [folder / word for folder in folders] + [folder / last for folder in folders[1:]]
        for place in places:
            if place != path.absolute() and _is_program(place):
                yield from _of_file(place, cwd, depth + 1)
                break


def _is_program(path: Path) -> bool:
    try:
        return path.is_file() and bool(path.stat().st_mode & 0o111)
    except (OSError, ValueError):
        return False


def _of_ctest(argv: tuple[str, ...], cwd: Path | None) -> Iterator[Path]:
    """The programs that CTest's own files name."""
    folder = (cwd or Path()).absolute()
    for position, word in enumerate(argv):
        if word == "--test-dir" and position + 1 < len(argv):
            folder = folder / argv[position + 1]
        elif word.startswith("--test-dir="):
            folder = folder / word.partition("=")[2]
    for file in sorted(folder.rglob(_CTEST_FILE)):
        for first, second in _QUOTED.findall(file.read_text("utf-8", "replace")):
            path = Path(first or second)
            if path.is_absolute() and _is_program(path):
                yield from _of_file(path, cwd, 0)
