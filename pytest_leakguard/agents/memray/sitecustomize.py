"""Has memray track a Python program that a tracked one has started.

Runs in that program before its first line, and replaces it by itself inside the wrapper. Changes
nothing where that cannot be done: the missing capture then tells that the program was not seen.

Found as ``sitecustomize`` through PYTHONPATH; the one it hides is run after it. Must work on Python
3.8 and later.
"""

import sys

_WITH_VALUE = ("-X", "-W", "--check-hash-based-pycs")
_NOT_OURS = ("from multiprocessing.resource_tracker ",)
"""What Python starts for itself, and what may outlive the program."""
_OF_THE_USER = ("/usr/local/", "/usr/src/", "/usr/home/")
_TOOLS_OF_PYTHON = "pip ensurepip venv virtualenv compileall py_compile zipapp build json.tool"


def _begin():
    import os

    wrapper, capture = os.environ.get("LEAKGUARD_MEMRAY", "").split(os.pathsep, 1)
    words = list(getattr(sys, "orig_argv", ())) or _command_line()
    at = 1
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-m", "-c", "-"):
        at += 2 if words[at] in _WITH_VALUE else 1
    program = words[at:]
    if _is_left_out(program, wrapper):
        _write_that_it_was_seen(capture)
        return
    import importlib.util

    if importlib.util.find_spec("memray") is None:
        return
    # A name of its own: what was forked before, under the same id, has one after memray's rule.
    capture = "%s.started.%d" % (capture, os.getpid())
    if not os.path.exists(capture):
        os.execv(sys.executable, [sys.executable, *words[1:at], wrapper, capture, *program])


def _is_left_out(program, wrapper):
    """Whether nobody means it, or the interpreter itself says best what is wrong with it."""
    import os

    if not program or program[0] in ("-", wrapper) or " ".join(program[1:2]).startswith(_NOT_OURS):
        return True
    if program[0] == "-m":
        return "".join(program[1:2]) in _TOOLS_OF_PYTHON.split()
    path = os.path.realpath(program[0])
    is_of_the_system = path.startswith("/usr/") and not path.startswith(_OF_THE_USER)
    return program[0] != "-c" and (is_of_the_system or not os.path.exists(program[0]))


def _write_that_it_was_seen(capture):
    """What the loader's log tells of, and nobody asks for; see ``memray_started``."""
    import os

    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    handle = os.open(os.path.join(os.path.dirname(capture), "started"), flags, 0o600)
    try:
        os.write(handle, b'{"seen": %d}\n' % os.getpid())
    finally:
        os.close(handle)


def _command_line():
    import os

    with open("/proc/self/cmdline", "rb") as stream:
        return [os.fsdecode(word) for word in stream.read().split(b"\0")[:-1]]


def _hand_over():
    """Run the sitecustomize that this one hides, and leave no trace in ``sys.path``."""
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    mine = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401  # the one that we stand before
    except ImportError:
        if mine is not None:
            sys.modules["sitecustomize"] = mine


try:
    _begin()
except Exception:
    pass
_hand_over()
