"""Runs a Python program under memray.

Started by path in the target's interpreter, so it imports nothing of this package.
"""

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # this file's directory must not shadow the program's modules


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
