"""memray on Python programs: which calls keep allocating, all through the run, and never free."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from pytest_leakguard.core.errors import LeakguardError, MalformedReport, ToolMissing
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.core.programs import (
    Launch,
    Process,
    Report,
    RunStatus,
    Target,
    signal_name,
)
from pytest_leakguard.processes.supervisor import capture
from pytest_leakguard.programs import binary, launchers
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import CLEAN, Canaries
from pytest_leakguard.programs.tools import memray_started
from pytest_leakguard.programs.tools.base import Backend, Trial, incomplete, root_is_missing

_STOP_S = 5.0
"""Seconds after each signal that stops a run; writing the end of a capture takes under one."""
_STARTED = "started"
"""The file beside the capture into which the wrapper writes what programs were started."""
_FOLLOW = "LEAKGUARD_MEMRAY"
"""The variable that the agent in started Python programs reads; empty where none is followed."""
_PYTHONS_OWN = "from multiprocessing.resource_tracker "
"""The code of the helper that multiprocessing starts, which may outlive the program."""
_TOOLS_OF_PYTHON = frozenset(
    "pip ensurepip venv virtualenv compileall py_compile zipapp build json.tool".split()
)
"""Modules that are not meant where a program starts them, as tools of the system are not; the agent
in started programs has the same list."""
_COMPILED = (
    'it starts {}, which memray does not see into: use tool="valgrind" '
    "(or --follow=PATTERN for what counts)"
)
_NOT_FOLLOWED = (
    "it starts the Python program `{}`, which left no capture (its interpreter has no memray, or "
    "it ran with -I, -E or -S, or without PYTHONPATH): check it by itself, or leave children out "
    "with --no-follow-children"
)
_CALLED_DIRECTLY = (
    "it calls {} of the C library through ctypes or cffi, which memray does not see: "
    'use tool="valgrind"'
)
_NOTES_LOST = (
    "what it starts and calls outside Python could not all be written down (no descriptor was "
    "left, or the disk was full), so that leaks may be missing"
)
_AGENT = Path(__file__).resolve().parents[2] / "agents" / "memray"
"""What has a started Python program tracked; see there."""
_WRAPPER, _READER = "memray_main.py", "memray_reader.py"
_READING_S = 900.0
"""Seconds that reading one capture may take; a gigabyte takes some minutes."""
_IMPORT_S = 60.0
"""Seconds that another interpreter may take to say whether it can import memray."""
_LONGEST_FIRST_LINE = 512
"""Bytes of a script's first two lines that are read; Linux reads 256 of the first."""
_LONG_PATH = "''" + "'exec' "
"""How pip begins the second line of a script whose interpreter has a long path or a space."""
_MAGIC = b"memray\0"
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_FORMAT, _COUNT_AT = 13, 17
"""The format of memray 1.17 to 1.20, and where its header has the count of records."""
_HEAD_BYTES = 256
"""Bytes of a capture that hold its header, packed or not."""
_LONGEST_WORDS = 200
"""Characters of memray's own words that are repeated."""
_PYTHON = re.compile(r"^(python|pypy)[\d.]*$")
_WITH_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})


class Memray(Backend):
    """Runs Python programs, 5 times slower.

    Sees what Python code allocates, not who still holds it.
    """

    name = "memray"
    artifacts = "memray.bin*"
    how_to_get = "memray is not installed: `pip install 'pytest-leakguard[memray]'`"

    def is_present(self) -> bool:
        """Whether memray can be imported."""
        return find_spec(self.name) is not None

    def suits(self, program: Binary) -> str:
        """Python programs, but for those whose interpreter has a sanitizer inside."""
        return "a Python program" if program.is_python and not program.sanitizer else ""

    def refuses(self, target: Target) -> str:
        """There is nothing that more arguments or suppressions could be given to."""
        if target.tool_args or target.suppressions:
            return "memray takes no tool arguments, and no suppressions"
        return ""

    def prepare(self, target: Target) -> Target:
        """With a script's own interpreter before it: ours may lack what the script imports.

        Raises ``ToolMissing`` where that interpreter has no memray.
        """
        if launchers.is_launcher(target.argv, target.cwd):
            return target
        argv = (*_interpreter_of(target.argv[0], target.cwd), *target.argv)
        interpreter = split_command(argv)[0]
        if not binary.inspect(interpreter, target.cwd).is_elf:
            argv = (_interpreter_behind(interpreter, target.cwd), *argv[1:])
            interpreter = argv[0]
        if interpreter != sys.executable and not _has_memray(interpreter):
            raise ToolMissing(
                f"memray is not installed for {interpreter}, which runs {target.argv[0]}: "
                f"`{interpreter} -m pip install memray`"
            )
        return replace(target, argv=argv)

    def plan(self, target: Target, workdir: Path) -> Launch:
        """The program inside a small wrapper, in the interpreter it names or else in ours."""
        wrapper, capture_path = Path(__file__).resolve().with_name(_WRAPPER), workdir / "memray.bin"
        env = {**dict(target.env), _FOLLOW: f"{wrapper}:{capture_path}"}
        if launchers.is_launcher(target.argv, target.cwd):  # the agent takes what it starts
            others = env.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
            env["PYTHONPATH"] = f"{_AGENT}:{others}" if others else str(_AGENT)
            argv = target.argv
        else:
            interpreter, flags, program = split_command(target.argv)
            argv = (interpreter, *flags, str(wrapper), str(capture_path), *program)
            env[_FOLLOW] = env[_FOLLOW] if target.follows_children else ""
        if target.follows_children:
            env.update(memray_started.variables(workdir))
        return Launch(
            argv=argv,
            env=tuple(env.items()),
            cwd=target.cwd,
            timeout_s=target.timeout_s,
            # Only a normal end completes the capture.
            stop_signals=((signal.SIGINT, _STOP_S), (signal.SIGTERM, _STOP_S)),
            memory_limit_bytes=target.memory_limit_bytes,
            stdin=target.stdin,
        )

    def recognises(self, head: bytes) -> bool:
        """memray's magic, plain or in an LZ4 frame, whose first block holds it uncompressed."""
        return _MAGIC in head[:64]

    def parse(self, artifact: Path) -> Report:
        """The lasting growth in one capture.

        Raises ``MalformedReport`` when the run did not end normally.
        """
        if not self.is_present():
            raise MalformedReport(
                f"{artifact}: reading a memray capture needs memray: pip install memray"
            )
        reason = _why_not_whole(artifact)
        try:
            answer = _answer(artifact)
        except MalformedReport as error:
            if reason:  # the likelier cause of the two
                why = f"{artifact}: {reason}"
                raise MalformedReport(why, error.recovered) from None
            raise
        return _report(artifact, answer, reason or _contradiction(artifact, answer))

    def demand(self, report: Report, status: RunStatus) -> tuple[str, ...]:
        """The started interpreter must have closed its capture."""
        return root_is_missing(report, status, "finished memray capture") + incomplete(
            report.processes
        )

    def after_run(self, report: Report, target: Target, workdir: Path, status: RunStatus) -> Report:
        """With a problem for each thing of the user's that no capture shows."""
        notes = tuple(_notes(workdir / _STARTED))
        problems: dict[str, None] = {}
        is_launched = launchers.is_launcher(target.argv, target.cwd)
        if report.processes and not all(map(_is_whole, notes or ({},))):
            problems[_NOTES_LOST] = None
        for called in sorted({note["calls"] for note in notes if "calls" in note}):
            problems[_CALLED_DIRECTLY.format(called)] = None
        if target.follows_children:
            problems.update(dict.fromkeys(_unseen_programs(notes, target)))
            is_shell = is_launched or any(_is_of_a_launcher(note) for note in notes)
            if report.processes and is_shell and not problems:
                problems.update(dict.fromkeys(memray_started.unseen(notes, target, workdir)))
        processes = report.processes
        if is_launched and processes and all(process.pid != status.pid for process in processes):
            # The launcher itself is no Python program; those of its children that are are here.
            processes = (Process(status.pid, command=target.argv[0]), *processes)
        return replace(report, processes=processes, problems=(*report.problems, *problems))

    def trials(self, canaries: Canaries) -> Iterator[Trial]:
        """A Python script in this interpreter."""
        if not self.is_present():
            yield Trial(why="it is not installed", fix="pip install 'pytest-leakguard[memray]'")
            return
        argv = (sys.executable, str(canaries.python()))
        clean_argv = (*argv, CLEAN)
        yield Trial(argv, clean_argv, path=sys.executable, version=version(self.name))


def _notes(path: Path) -> Iterator[dict[str, Any]]:
    """What the wrapper has written down; a line that was cut is a note without anything."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                note = json.loads(line)
            except ValueError:
                note = {}
            yield note if isinstance(note, dict) else {}


def _is_whole(note: dict[str, Any]) -> bool:
    """Whether a note says what the wrapper has seen."""
    return bool(note) and "lost" not in note


def _is_of_a_launcher(note: dict[str, Any]) -> bool:
    """Whether it is about a shell, or whatever else starts what it is given."""
    words = note.get("words") or ("",)
    return Path(words[0]).name in launchers.LAUNCHERS


def _unseen_programs(notes: tuple[dict[str, Any], ...], target: Target) -> Iterator[str]:
    """A problem for each started program of the user's into which memray did not see."""
    followed = [tuple(note["followed"]) for note in notes if "followed" in note]
    for note in notes:
        words, cwd = tuple(note.get("words", ())), Path(note.get("cwd", "."))
        if not words:
            continue
        for path in _compiled(words, cwd, target):
            yield _COMPILED.format(path)
        program = _python_program(words, cwd)
        if not program or _is_left_out(program, cwd, target):
            continue
        found = next((each for each in followed if _is_same(each, program)), None)
        if found is None:
            yield _NOT_FOLLOWED.format(shlex.join(program)[:_LONGEST_WORDS])
        else:
            followed.remove(found)


def _python_program(words: tuple[str, ...], cwd: Path) -> tuple[str, ...]:
    """The Python program that a command line starts, with its arguments; empty for none."""
    if Path(words[0]).name in launchers.LAUNCHERS:
        return _behind_launcher(words, cwd)
    if not binary.inspect(words[0], cwd).is_python:
        return ()
    is_interpreter = binary.inspect(words[0], cwd).is_elf or _PYTHON.match(Path(words[0]).name)
    program = split_command(words)[2] if is_interpreter else words
    is_interpreters_own = not program or _is_pythons_own(program)
    return () if is_interpreters_own else program


def _behind_launcher(words: tuple[str, ...], cwd: Path) -> tuple[str, ...]:
    """What follows the first word that is Python, also in a shell's line."""
    parts = list(launchers.words_of(words))
    for position, part in enumerate(parts):
        is_python = not part.startswith("-") and binary.inspect(part, cwd).is_python
        if is_python:
            return _python_program(tuple(parts[position:]), cwd)
    return ()


def _is_pythons_own(program: tuple[str, ...]) -> bool:
    """What Python starts for itself, or a question to the interpreter that runs no program."""
    is_helper = program[0] == "-c" and "".join(program[1:2]).startswith(_PYTHONS_OWN)
    return is_helper or (program[0] == "-" and len(program) == 1)


def _is_same(followed: tuple[str, ...], program: tuple[str, ...]) -> bool:
    """Whether a capture is of this program; a shell's line may go on behind its arguments."""
    return followed == program[: len(followed)]


def _is_left_out(program: tuple[str, ...], cwd: Path, target: Target) -> bool:
    """Whether a script came with the system, or is not among those to follow."""
    path = (cwd / program[0]).resolve()
    if target.follow:
        return not launchers.matches(str(path), target.follow)
    if program[0] == "-m":
        return "".join(program[1:2]) in _TOOLS_OF_PYTHON
    return program[0] != "-c" and launchers.is_of_the_system(str(path))


def _compiled(words: tuple[str, ...], cwd: Path, target: Target) -> Iterator[Path]:
    """The programs among them that no interpreter runs, and that did not come with the system."""
    if launchers.is_launcher(words, cwd):
        found = launchers.behind(words, cwd)
    else:
        path = binary.find(words[0], cwd)
        found = (path,) if path else ()
    for path in found:
        program = binary.inspect(str(path.absolute()))
        is_own = program.is_elf and not launchers.is_of_the_system(str(path.resolve()))
        if not is_own or program.is_python:
            continue
        if not target.follow or launchers.matches(str(path), target.follow):
            yield path


def _interpreter_of(program: str, cwd: Path | None) -> tuple[str, ...]:
    """The Python that a script names in its first line, with its flags; empty for anything else."""
    path = binary.find(program, cwd)
    if path is None or _PYTHON.match(path.name):
        return ()
    with path.open("rb") as stream:
        first = os.fsdecode(stream.readline(_LONGEST_FIRST_LINE)).strip()
        second = os.fsdecode(stream.readline(_LONGEST_FIRST_LINE)).strip()
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    if words and Path(words[0]).name == "sh" and second.startswith(_LONG_PATH):
        words = shlex.split(second.removeprefix(_LONG_PATH))
    while words and (Path(words[0]).name == "env" or words[0] == "-S"):
        words.pop(0)
    found = binary.find(words[0], cwd) if words else None
    if found is None or not _PYTHON.match(found.name):
        return ()
    flags = [word for word in words[1:] if word.startswith("-")]
    return (str(found), *flags)


@lru_cache(maxsize=16)
def _interpreter_behind(script: str, cwd: Path | None) -> str:
    """The interpreter that a script called ``python`` starts, as those of pyenv do."""
    with suppress(LeakguardError):
        code, out, _ = capture([script, "-c", "import sys; print(sys.executable)"], _IMPORT_S)
        if code == 0 and out.strip():
            return os.fsdecode(out.strip())
    return script


@lru_cache(maxsize=16)
def _has_memray(interpreter: str) -> bool:
    try:
        code, _, _ = capture([interpreter, "-c", "import memray"], _IMPORT_S)
    except LeakguardError:
        return False
    return code == 0


def split_command(argv: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Interpreter, its flags, and the program with its arguments."""
    if not _PYTHON.match(Path(argv[0]).name):
        return sys.executable, (), argv
    index = 1
    while (
        index < len(argv) and argv[index].startswith("-") and argv[index] not in ("-m", "-c", "-")
    ):
        index += 2 if argv[index] in _WITH_VALUE else 1
    return argv[0], argv[1:index], argv[index:]


def _answer(artifact: Path) -> dict[str, Any]:
    """What memray reads in a capture.

    Raises ``MalformedReport`` where it reads none, or says itself that something is wrong.
    """
    reader = str(Path(__file__).resolve().with_name(_READER))
    try:
        code, out, errors = capture([sys.executable, reader, str(artifact)], _READING_S)
    except LeakguardError as error:
        raise MalformedReport(f"{artifact}: {error}", Report("memray")) from None
    said = errors.decode("utf-8", "backslashreplace").strip().splitlines()
    why = said[-1] if said else ""
    if code < 0:
        why = f"its reader ended with {signal_name(-code)}: the capture is damaged"
    if code == 0 and not why:
        answer: dict[str, Any] = json.loads(out)
        return answer
    why = f"{artifact}: memray cannot read it: {why[:_LONGEST_WORDS]}"
    raise MalformedReport(why, Report("memray"))


def _report(artifact: Path, answer: dict[str, Any], reason: str) -> Report:
    leaks = []
    for size_bytes, blocks, stack in answer["leaks"]:
        frames = tuple(Frame(function, file, line) for function, file, line in stack)
        leaks.append(Leak(LeakKind.PYTHON_OBJECTS, size_bytes, blocks, frames, answer["pid"]))
    process = Process(
        answer["pid"], command=answer["command"], is_complete=not reason, reason=reason
    )
    report = Report("memray", tuple(leaks), (process,))
    if reason:
        raise MalformedReport(f"{artifact}: {reason}", report)
    return report


def _contradiction(artifact: Path, answer: dict[str, Any]) -> str:
    """Why what was read cannot be what the run has written; empty when it can."""
    counted = _counted_by_the_run(artifact)
    if counted is not None and counted != answer["records"]:
        return (
            f"the capture is damaged: the run counted {counted} allocations and releases, "
            f"{answer['records']} can be read"
        )
    if answer["repeated"]:
        return (
            f"the capture is damaged: {answer['repeated']} block(s) are allocated where another "
            "one is alive"
        )
    return ""


def _counted_by_the_run(artifact: Path) -> int | None:
    """How many records memray says it has written; ``None`` in a format that is not known.

    Source: HeaderRecord and TrackerStats in memray's src/memray/_memray/records.h.
    """
    with artifact.open("rb") as stream:
        head = _beginning(stream.read(_HEAD_BYTES))
    if len(head) < _COUNT_AT + 8 or head[: len(_MAGIC)] != _MAGIC:
        return None
    if int.from_bytes(head[len(_MAGIC) : len(_MAGIC) + 4], "little") != _FORMAT:
        return None
    return int.from_bytes(head[_COUNT_AT : _COUNT_AT + 8], "little")


def _beginning(packed: bytes) -> bytes:
    """The first bytes that an LZ4 frame holds, as far as the capture's header goes.

    Source: LZ4 block format description; literals and copies of what came before take turns.
    """
    at, out = _first_block(packed), bytearray()
    try:
        while len(out) < _COUNT_AT + 8:
            token = packed[at]
            length, at = _length(packed, at + 1, token >> 4)
            out += packed[at : at + length]
            at += length
            offset = int.from_bytes(packed[at : at + 2], "little")
            length, at = _length(packed, at + 2, token & 15)
            for _ in range(min(length + 4, _HEAD_BYTES)):
                out.append(out[-offset])
    except IndexError:  # damaged, or the header ends here
        pass
    return bytes(out)


def _first_block(packed: bytes) -> int:
    """Where the data of a frame's first block begins."""
    return 7 + 8 * bool(packed[4] & 8) + 4 * bool(packed[4] & 1) + 4 if len(packed) > 4 else 0


def _length(packed: bytes, at: int, length: int) -> tuple[int, int]:
    """A length of four bits, which the following bytes may add to, and where it ends."""
    more = 255 if length == 15 else 0
    while more == 255:
        more = packed[at]
        length, at = length + more, at + 1
    return length, at


def _why_not_whole(artifact: Path) -> str:
    """Why the file does not prove that memray closed the capture; empty when it does.

    memray writes captures plain and compresses them when it closes them, so a whole LZ4 frame is
    the proof. Its header is none: the reader makes up the number of allocations and the time of the
    end where they are missing.
    """
    with artifact.open("rb") as stream:
        if stream.read(len(_MAGIC)) == _MAGIC:
            return (
                "the capture was not closed: the program was killed or left by os._exit "
                "(or memray ran --no-compress)"
            )
        size_bytes = stream.seek(0, os.SEEK_END)
        if _frame_length(stream) != size_bytes:
            return f"the capture is cut off at byte {size_bytes}"
    return ""


def _frame_length(stream: BinaryIO) -> int:
    """Where the LZ4 frame in ``stream`` ends; -1 when it does not.

    Source: LZ4 frame format description, version 1.6.2.
    """
    stream.seek(0)
    head = stream.read(6)
    if len(head) < 6 or head[:4] != _LZ4_MAGIC:
        return -1
    has_block_sums, has_size, has_sum, has_dictionary = (
        bool(head[4] & bit) for bit in (16, 8, 4, 1)
    )
    at = 7 + 8 * has_size + 4 * has_dictionary
    while True:
        stream.seek(at)
        block = stream.read(4)
        if len(block) < 4:
            return -1
        at += 4
        # The highest bit says that the block is not compressed.
        length = int.from_bytes(block, "little") & 0x7FFFFFFF
        if length == 0:
            return at + 4 * has_sum
        at += length + 4 * has_block_sums
