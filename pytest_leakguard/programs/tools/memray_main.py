"""Runs a Python program under memray.

Started by path in the target's interpreter, so it imports nothing of this package. The Python
programs that it starts are tracked as well (``agents/memray``); what memray cannot see into is
written down in a file beside the capture.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # this file's directory must not shadow the program's modules

FOLLOW = "LEAKGUARD_MEMRAY"
"""The variable that holds this file and the first capture, for the agent in started programs."""
_ENVIRONMENT_AT = 5
"""Which argument of ``_posixsubprocess.fork_exec`` holds the variables; ``None`` for ours."""
_DIRECTORY_AT = 4
_ALLOCATORS = frozenset(
    "malloc calloc realloc reallocarray memalign aligned_alloc posix_memalign valloc pvalloc "
    "mmap mmap64".split()
)
"""Functions that memray sees through the tables of libraries, which ctypes does not call through.
"""


class _Notes:
    """What the program does that this capture does not show."""

    def __init__(self, path: str, capture: str, tracker: Any) -> None:
        # Imported here, since an import while the program runs would count as its own.
        import json
        import os
        import shutil

        self.dump, self.which = json.dumps, shutil.which
        self.os, self.path, self.tracker, self.pid = os, path, tracker, os.getpid()
        self.capture = capture
        self.unwritten = []  # type: list[dict[str, Any]]
        self.is_open = True

    def close(self) -> None:
        """Ends the capture of this process; without its notes it is no answer, and is removed."""
        if not self.is_open:
            return
        self.is_open = False
        self.flush()
        _forget_names()
        self.tracker.__exit__(None, None, None)
        if self.unwritten:
            self.os.unlink(self.capture)

    def write(self, **note: Any) -> None:
        """Adds a note; one that cannot be written now is tried again with the next."""
        self.unwritten.append(note)
        self.flush()

    def flush(self) -> None:
        flags = self.os.O_WRONLY | self.os.O_APPEND | self.os.O_CREAT
        with suppress(OSError):  # the program may have no descriptor left, for a while
            handle = self.os.open(self.path, flags, 0o600)
            try:
                while self.unwritten:
                    self.os.write(handle, (self.dump(self.unwritten[0]) + "\n").encode())
                    del self.unwritten[0]
            finally:
                self.os.close(handle)

    def hook(self, event: str, arguments: "tuple[Any, ...]") -> None:
        """An audit hook; what the program does must not fail because of us."""
        try:
            if event == "ctypes.dlsym" and arguments[1] in _ALLOCATORS:
                self.write(calls=arguments[1])
            elif event == "os.system":
                self.started(["/bin/sh", "-c", self.os.fsdecode(arguments[0])], None)
            elif event in ("os.exec", "os.posix_spawn"):
                is_there = self.started(_words(arguments[0], arguments[1]), None)
                if is_there and event == "os.exec":
                    self.close()
        except Exception:
            self.write(lost=event)  # no answer rather than a clean one

    hook.__cantrace__ = True  # type: ignore[attr-defined]  # memray has to see that it is ours

    def started(self, words: "list[str]", directory: Any) -> bool:
        """Whether there is such a program; noted where there is."""
        place = self.os.path.abspath(self.os.fsdecode(directory) if directory else ".")
        program = words[0]
        path = self.os.path.join(place, program) if "/" in program else self.which(program)
        if not path or not self.os.path.exists(path):
            return False
        self.write(words=[path, *words[1:]], cwd=place)
        return True

    def watch_children(self) -> None:
        """Notes what subprocess and multiprocessing start, and follows into it."""
        try:
            import _posixsubprocess
        except ImportError:
            return
        fork_exec = _posixsubprocess.fork_exec

        def follow(*arguments: Any) -> Any:
            try:
                arguments = self.followed(arguments)
            except Exception:  # the program must not fail because of us
                self.write(lost="fork_exec")
            return fork_exec(*arguments)

        _posixsubprocess.fork_exec = follow

    def followed(self, arguments: "tuple[Any, ...]") -> "tuple[Any, ...]":
        """The arguments, with the variables that the agent needs where others replace ours."""
        words = [self.os.fsdecode(word) for word in arguments[0]]
        for program in arguments[1]:  # where the program may be, along PATH
            if self.started([self.os.fsdecode(program), *words[1:]], arguments[_DIRECTORY_AT]):
                break
        variables = arguments[_ENVIRONMENT_AT]
        if variables is None or FOLLOW not in self.os.environ:
            return arguments
        given = dict(each.split(b"=", 1) for each in variables)
        _add_agent(given, self.os.environb[FOLLOW.encode()])
        replaced = [b"%s=%s" % pair for pair in given.items()]
        return (*arguments[:_ENVIRONMENT_AT], replaced, *arguments[_ENVIRONMENT_AT + 1 :])

    def watch_cffi(self) -> None:
        """Notes the allocators that cffi looks up without a compiler: no audit event tells."""
        from importlib import import_module

        try:
            backend: Any = import_module("_cffi_backend")
        except ImportError:
            return
        notes, load_library, plain = self, backend.load_library, backend.FFI

        class Library:
            """What cffi asks a loaded library for."""

            def __init__(self, library: Any) -> None:
                self._library = library

            def __getattr__(self, name: str) -> Any:
                return getattr(self._library, name)

            def load_function(self, kind: Any, name: str) -> Any:
                notes.called(name)
                return self._library.load_function(kind, name)

        def dlopen(ffi: Any, *arguments: Any) -> Any:
            library = plain.dlopen(ffi, *arguments)
            for name in dir(library):
                notes.called(name)
            return library

        backend.load_library = lambda *arguments: Library(load_library(*arguments))
        # What a module that ``set_source(..., None)`` has written is made of.
        backend.FFI = type("FFI", (plain,), {"dlopen": dlopen})

    def called(self, name: str) -> None:
        """A function that is called past the tables in which memray sees it."""
        if name in _ALLOCATORS:
            self.write(calls=name)

    def watch_ends(self) -> None:
        """Has a forked child close its capture where it leaves by ``os._exit``."""
        leave = self.os._exit

        def close_and_leave(status: int) -> None:
            if self.os.getpid() != self.pid:
                with suppress(Exception):  # what is not closed is reported as such
                    self.close()
            leave(status)

        self.os._exit = close_and_leave  # type: ignore[assignment]


def _forget_names() -> None:
    """Empties the cache of attributes: it keeps up to 4,096 names, such as pickle makes anew."""
    import warnings

    with warnings.catch_warnings(), suppress(Exception):  # not there in every interpreter
        warnings.simplefilter("ignore")  # deprecated since 3.13, in favour of what also does more
        sys._clear_type_cache()


def _words(program: Any, words: Any) -> "list[str]":
    import os

    texts = [os.fsdecode(word) for word in words]
    return [os.fsdecode(program) if program else texts[0], *texts[1:]]


def _add_agent(variables: "dict[bytes, bytes]", follow: bytes) -> None:
    folder = str(Path(__file__).resolve().parents[2] / "agents" / "memray").encode()
    others = [
        each for each in variables.get(b"PYTHONPATH", b"").split(b":") if each and each != folder
    ]
    variables[b"PYTHONPATH"] = b":".join([folder, *others])
    variables[FOLLOW.encode()] = follow


def _follow_started(capture: str) -> None:
    """Has the Python programs tracked that are started from now on."""
    import os

    if os.environ.get(FOLLOW) == "":  # asked for: the program itself, and nothing else
        return
    follow = os.environb.get(FOLLOW.encode()) or os.fsencode(f"{__file__}:{capture}")
    variables = dict(os.environb)
    _add_agent(variables, follow)
    os.environb.update(variables)


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
    tracker = memray.Tracker(capture, trace_python_allocators=True, follow_fork=True)
    notes = _Notes(str(Path(capture).with_name("started")), capture, tracker)
    notes.write(followed=arguments, pid=notes.pid)
    _follow_started(capture)
    notes.watch_children()
    notes.watch_ends()
    with suppress(Exception):  # a cffi that is made in another way
        notes.watch_cffi()
    sys.addaudithook(notes.hook)
    tracker.__enter__()
    try:
        if mode == "-m":
            kept = runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif mode == "-c":
            exec(compile(rest[0], "<string>", "exec"), kept)
        else:
            kept = runpy.run_path(rest[0], run_name="__main__")
    finally:
        gc.collect()  # what only waits for the collector is no leak
        notes.close()
    del kept


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
