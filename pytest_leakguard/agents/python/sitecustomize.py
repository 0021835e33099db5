"""Tells the live heap of this interpreter over a private socket, or has it counted.

Runs inside the service: imports next to nothing, never raises, changes nothing but the two things
it says: garbage is collected before a reading, and what was there at the first one is frozen
(``gc.freeze``), so that later collections cost little.

Found as ``sitecustomize`` through PYTHONPATH; the one it hides is run after it. Must work on Python
3.8 and later.
"""

import sys


class _Agent:
    """One per process; forked children start their own."""

    def __init__(self, directory):
        import _socket
        import _thread
        import os
        import time

        self.socket, self.thread, self.os, self.sleep = _socket, _thread, os, time.sleep
        self.directory = directory
        self.listener = None
        self.libc = None
        self.is_frozen = False
        self.lengths = None
        os.register_at_fork(after_in_child=self.start)

    def start(self):
        try:
            if self.listener is not None:
                self.listener.close()  # the parent's
            path = self.os.path.join(self.directory, "%d.sock" % self.os.getpid())
            self.listener = self.socket.socket(self.socket.AF_UNIX, self.socket.SOCK_STREAM)
            self.os.set_inheritable(self.listener.fileno(), False)
            self.listener.bind(path)
            self.listener.listen(4)
            self.thread.start_new_thread(self.serve, (self.listener,))
        except Exception:  # a service must not suffer from being measured
            self.listener = None

    def serve(self, listener):
        while listener is self.listener:
            try:
                descriptor, _ = listener._accept()
            except OSError as error:
                if error.errno in (23, 24):  # no descriptor left, here or in the system
                    self.sleep(0.05)
                    continue
                return
            caller = self.socket.socket(fileno=descriptor)
            try:
                question = caller.recv(16)
                if question.startswith(b"explain"):
                    caller.sendall(self.explain(caller, int(question.split()[1])))
                else:
                    caller.sendall(self.answer(question).encode())
            except Exception:
                pass
            finally:
                caller.close()
                caller = None

    def answer(self, question):
        import gc

        if question.startswith(b"settle"):  # what was open when it was frozen may be garbage now
            gc.unfreeze()
            self.is_frozen = False
        gc.collect()
        if not self.is_frozen:
            gc.freeze()
            self.is_frozen = True
        if question.startswith((b"collect", b"settle")):  # the preloaded library counts
            self.forget_names()
            return "0\n"
        if question.startswith(b"growing"):
            return self.growing_containers()
        if self.libc is None:
            self.prepare()
        try:
            return "%d\n" % self.live_bytes()
        except Exception as error:
            return "none %r\n" % (error,)

    def explain(self, caller, requests):
        """The line and the holder of a leak, as JSON, while the harness sends requests.

        Empty where the interpreter is older than what looks for them.
        """
        import json

        def window():
            caller.sendall(b"window\n")
            if not caller.recv(16):
                raise EOFError  # nobody sends any more

        if sys.version_info < (3, 11):
            return b"{}\n"
        lines = _Lines()
        lines.pause(1)  # what is noted here is no memory of the service
        try:
            found = _package_of_harness("explain.in_service").explain(window, requests)
        finally:
            lines.pause(0)
            lines.close()
        return json.dumps(found).encode() + b"\n"

    def growing_containers(self):
        """Which containers grew since the last question, and how much they will hold, as JSON."""
        import ctypes
        import gc

        if sys.version_info < (3, 11):  # older than what asks them
            return "[]\n"
        pause = ctypes.PyDLL(None).leakguard_live_pause
        gc.unfreeze()  # what is frozen would be no holder
        pause(1)  # what is loaded and noted here is no memory of the service
        try:
            import json

            if self.lengths is None:
                self.lengths = _package_of_harness("explain.open_ended").Lengths()
            return json.dumps(self.lengths.grown()) + "\n"
        finally:
            pause(0)
            gc.collect()
            gc.freeze()

    def forget_names(self):
        """Empty the cache of attributes: it keeps the last 4,096 names that were asked for.

        A name that a request makes (``getattr(view, method.lower())``) is another one each time.
        """
        import ctypes

        ctypes.pythonapi.PyType_ClearCache()

    def prepare(self):
        import ctypes

        class Mallinfo2(ctypes.Structure):
            _fields_ = [
                (name, ctypes.c_size_t)
                for name in (
                    "arena",
                    "ordblks",
                    "smblks",
                    "hblks",
                    "hblkhd",
                    "usmblks",
                    "fsmblks",
                    "uordblks",
                    "fordblks",
                    "keepcost",
                )
            ]

        self.ctypes = ctypes
        self.libc = libc = ctypes.CDLL(None)
        libc.mallinfo2.restype = Mallinfo2  # glibc 2.33 and later
        libc.open_memstream.restype = ctypes.c_void_p
        libc.open_memstream.argtypes = [
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_size_t),
        ]
        libc.fclose.argtypes = [ctypes.c_void_p]
        libc.free.argtypes = [ctypes.c_void_p]

    def live_bytes(self):
        info = self.libc.mallinfo2()
        return info.uordblks + info.hblkhd + self.small_object_bytes()

    def small_object_bytes(self):
        """What Python's own allocator has handed out.

        It says so on C's stderr only, which is a variable and can be pointed elsewhere.
        """
        ctypes, libc = self.ctypes, self.libc
        stderr = ctypes.c_void_p.in_dll(libc, "stderr")
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
        kept = stderr.value
        stderr.value = stream
        try:
            sys._debugmallocstats()
        finally:
            stderr.value = kept
            libc.fclose(stream)
        try:
            told = ctypes.string_at(text.value, size.value).decode("ascii", "replace")
        finally:
            libc.free(text)
        for line in told.splitlines():
            if line.startswith("# bytes in allocated blocks"):
                return int(line.partition("=")[2].replace(",", ""))
        return 0  # PYTHONMALLOC=malloc: all of it is malloc's


class _Lines:
    """Has the preloaded library told which Python code calls what allocates, while it is open.

    faulthandler writes the calls of a thread when a signal comes: that needs no lock of the
    interpreter, so that it can be done inside an allocation. File and handler stay, as a thread may
    have been sent the signal just before the end.
    """

    file = number = None

    def __init__(self):
        import ctypes

        self.pause = lambda is_paused: None
        try:
            self.tell = ctypes.PyDLL(None).leakguard_live_lines
            self.pause = ctypes.PyDLL(None).leakguard_live_pause
            if _Lines.number is None:
                _Lines.number = self.free_signal()
        except Exception:  # not preloaded here, or no faulthandler
            return
        if self.number is not None:
            self.tell(self.file, self.number)

    def free_signal(self):
        import faulthandler
        import os
        import signal

        for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN, -1):
            if signal.getsignal(number) == signal.SIG_DFL:
                _Lines.file = os.memfd_create("leakguard-lines", os.MFD_CLOEXEC)
                faulthandler.register(number, file=self.file, all_threads=False)
                return number
        return None

    def close(self):
        if self.number is not None:
            self.tell(-1, 0)


def _package_of_harness(name):
    """A module of the package that this file belongs to, without a path that others would see."""
    import importlib.util
    import os

    package = "pytest_leakguard"
    if package not in sys.modules:
        folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        spec = importlib.util.spec_from_file_location(
            package, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[package] = module
        spec.loader.exec_module(module)
    return importlib.import_module("%s.%s" % (package, name))


def _begin():
    import os

    directory = os.environ.get("LEAKGUARD_AGENT")
    if directory:
        if "LEAKGUARD_LIVE" in os.environ:
            _count_blocks()
        _Agent(directory).start()


def _count_blocks():
    """Have the preloaded library count the interpreter's own blocks as well."""
    try:
        import ctypes

        ctypes.PyDLL(None).leakguard_live_python()
    except Exception:  # not preloaded here, as in a program that drops the variable
        pass


def _hand_over():
    """Run the sitecustomize that this one hides."""
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    kept = sys.path[:]
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    mine = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401  # the one that we stand before
    except ImportError:
        if mine is not None:
            sys.modules["sitecustomize"] = mine
    finally:
        if sys.path == [entry for entry in kept if os.path.abspath(entry or ".") != here]:
            sys.path[:] = kept


try:
    _begin()
except Exception:
    pass
_hand_over()
