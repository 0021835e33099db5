"""Runs a Python program under memray.

Started by path in the target's interpreter, so it imports nothing of this package.
"""

import sys
from pathlib import Path
from typing import Any

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # this file's directory must not shadow the program's modules


def note_programs(path: str) -> None:
    """Has every program that is started from now on written down: memray sees into none."""
    import json
    import os

    def hook(event: str, arguments: "tuple[Any, ...]") -> None:
        if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"):
            try:
                words = _words(event, arguments)
                line = json.dumps(words) + "\n"
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(handle, line.encode())
                finally:
                    os.close(handle)
            except Exception:  # what the program does must not fail because of us
                pass

    sys.addaudithook(hook)


def _words(event: str, arguments: "tuple[Any, ...]") -> "list[str]":
    """The command line; the events put it in different places."""
    import os

    if event == "os.system":
        return ["/bin/sh", "-c", os.fsdecode(arguments[0])]
    at = 1 if event == "os.spawn" else 0  # a mode comes first there
    program, words = arguments[at], arguments[at + 1]
    if isinstance(words, (str, bytes)):
        words = [words]
    texts = [os.fsdecode(word) for word in words]
    return [os.fsdecode(program) if program else texts[0], *texts[1:]]


def main(capture: str, arguments: "list[str]") -> None:
    """Program as the interpreter takes it: ``SCRIPT ...``, ``-m MODULE ...`` or ``-c CODE ...``."""
    import gc
    import pkgutil  # noqa: F401 - runpy imports it when it is first used
    import runpy

    import memray

    mode, rest = (arguments[0], arguments[1:]) if arguments[0] in ("-m", "-c") else ("", arguments)
    sys.argv = ["-c", *rest[1:]] if mode == "-c" else rest
    sys.path.insert(0, str(Path(rest[0]).resolve().parent) if not mode else "")
    # What the program's globals hold must live until the end, as it does in Python.
    kept = {"__name__": "__main__"}
    note_programs(str(Path(capture).with_name("started")))
    with memray.Tracker(capture, trace_python_allocators=True, follow_fork=True):
        try:
            if mode == "-m":
                kept = runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
            elif mode == "-c":
                exec(compile(rest[0], "<string>", "exec"), kept)
            else:
                kept = runpy.run_path(rest[0], run_name="__main__")
        finally:
            gc.collect()  # what only waits for the collector is no leak
    del kept


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
