"""Which Python programs a shell has started that left no capture, by the loader's own log.

Python's flags -E and -I keep the agent out (``agents/memray``), and nobody writes down what a shell
starts. The loader of the C library logs each program that begins, whatever its flags, as long as
``LD_DEBUG`` is in its environment; ``env -i`` takes it out, and is known by that it stays the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_leakguard.core.programs import Target
from pytest_leakguard.programs import binary, launchers

_LOG = "ld"
"""Prefix of the loader's logs, which the process id follows."""
_BEGUN = re.compile(rb"initialize program: (.+)$", re.MULTILINE)
_EMPTIES = re.compile(rb"\benv +(?:-i\b|-(?= )|--ignore-environment\b)")
_WAY_OUT = "check it by itself, or leave children out with --no-follow-children"
_UNSEEN = (
    "it starts a Python program that left no capture (process {}, by `{}`: its interpreter has no "
    f"memray, or it ran with -I, -E or -S, or without PYTHONPATH): {_WAY_OUT}"
)
_EMPTIED = f"what it starts by `env -i` is not tracked: {_WAY_OUT}"
_NO_LOG = (
    "what it starts could not be seen (its C library's loader writes no log, or the program is "
    f"static): {_WAY_OUT}"
)


def variables(workdir: Path) -> dict[str, str]:
    """What has the loader log each program that is started."""
    return {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(workdir / _LOG)}


def unseen(notes: tuple[dict[str, Any], ...], target: Target, workdir: Path) -> Iterator[str]:
    """A problem for each Python program that neither the wrapper nor the agent has seen."""
    seen = {note.get("pid", note.get("seen")) for note in notes}
    logs = sorted(path for path in workdir.glob(f"{_LOG}.*") if path.suffix[1:].isdecimal())
    if not logs:
        yield _NO_LOG
    for path in logs:
        begun = [name.decode("utf-8", "replace") for name in _BEGUN.findall(path.read_bytes())]
        if not begun:
            continue
        python = next((name for name in begun if _is_python(name, target.cwd)), None)
        pid = int(path.suffix[1:])
        if python is not None and pid not in seen:
            yield _UNSEEN.format(pid, python)
        elif Path(begun[-1]).name == "env" and _empties(target, notes):
            yield _EMPTIED


def _is_python(name: str, cwd: Path | None) -> bool:
    return binary.inspect(name, cwd).is_python


def _empties(target: Target, notes: tuple[dict[str, Any], ...]) -> bool:
    """Whether anything that was started empties the environment of what it starts."""
    lines = [" ".join(target.argv)]
    lines += [" ".join(note["words"]) for note in notes if "words" in note]
    texts = [line.encode("utf-8", "backslashreplace") for line in lines]
    for word in target.argv:
        path = binary.find(word, target.cwd) or binary.find(f"./{word}", target.cwd)
        if path is not None and launchers.is_shell_script(path):
            with path.open("rb") as stream:
                texts.append(stream.read(launchers.LARGEST_SCRIPT_BYTES))
    return any(_EMPTIES.search(text) for text in texts)
