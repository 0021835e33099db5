"""Leaky and clean units of work: call one function repeatedly, in a fresh process per function.

LEAKS must be found, CLEAN must not be blamed. `native.c` is compiled on import into a temporary
directory (needs a C compiler); temporary files go to `TMPDIR`.
"""

import ctypes
import functools
import mmap
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
pyapi = ctypes.pythonapi
pyapi.Py_IncRef.argtypes = [ctypes.py_object]

_n = 0
KEEP = []


class Node:
    def __init__(self):
        self.me = None
        self.payload = bytearray(32)


class NodeDel(Node):
    def __del__(self):
        pass


# ---------------- leaks ----------------
def leak_global_list():
    KEEP.append(Node())


def _every(n):
    global _n
    _n += 1
    if _n % n == 0:
        KEEP.append(Node())


def leak_every_10():
    _every(10)


def leak_every_100():
    _every(100)


def leak_malloc_1b():
    libc.malloc(1)


def leak_malloc_64b():
    libc.malloc(64)


def _native():
    source = pathlib.Path(__file__).with_name("native.c")
    target = pathlib.Path(tempfile.mkdtemp()) / "native.so"
    subprocess.run(["cc", "-g", "-O0", "-shared", "-fPIC", "-o", target, source], check=True)
    return ctypes.CDLL(str(target))


cl = _native()
cl.lg_leak.argtypes = cl.lg_clean.argtypes = [ctypes.c_size_t]
cl.lg_leak.restype = cl.lg_clean.restype = None


def leak_c_lib_1b():
    cl.lg_leak(1)


def leak_c_lib_64b():
    cl.lg_leak(64)


def leak_fd():
    os.open(os.devnull, os.O_RDONLY)


_fe = 0


def leak_fd_every_10():
    global _fe
    _fe += 1
    if _fe % 10 == 5:
        os.open(os.devnull, os.O_RDONLY)


_ev = threading.Event()


def leak_thread():
    threading.Thread(target=_ev.wait, daemon=True).start()


def leak_uncollectable_cycle():
    # reference cycle pinned by one reference only C code owns: the collector can never free it
    n = NodeDel()
    n.me = n
    pyapi.Py_IncRef(n)


_k = 0


@functools.cache
def _cached(i):
    return (i, str(i))


def leak_lru_unbounded():
    global _k
    _k += 1
    _cached(_k)


_IS = []
_j = 0


def leak_interned():
    # interned strings that stay referenced (registry of names)
    global _j
    _j += 1
    _IS.append(sys.intern("name_%d_x" % _j))


def leak_mmap():
    m = mmap.mmap(-1, 4096)
    m[0] = 1
    KEEP.append(m)


class Listener:
    def cb(self):
        pass


_LISTENERS = {}


def leak_closure_listener():
    # event listener registry, one per call, realistic "forgot to unsubscribe"
    obj = Listener()
    _LISTENERS[id(obj)] = (obj, obj.cb)


# --- sparse / small leaks (bytes per call under psleak's 16-byte floor) ---
def leak_append_none():
    KEEP.append(None)  # 8 bytes per call, amortised list growth


_m = 0


def leak_malloc_64b_every_10():
    global _m
    _m += 1
    if _m % 10 == 0:
        libc.malloc(64)


_q = 0


def leak_1kb_every_100():
    global _q
    _q += 1
    if _q % 100 == 0:
        KEEP.append(bytearray(1024))


# --- resources other than memory/fds/threads ---
def leak_tempfile_on_disk():
    fd, _ = tempfile.mkstemp(prefix="lg_peer_")
    os.close(fd)


def leak_zombie_child():
    os.posix_spawn("/bin/true", ["true"], {})


import asyncio  # noqa: E402

_loop = None


def _get_loop():
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        _loop.run_until_complete(asyncio.sleep(0))
    return _loop


_get_loop()


def leak_asyncio_task():
    _loop = _get_loop()

    async def forever():
        await asyncio.Event().wait()

    async def unit():
        KEEP.append(asyncio.ensure_future(forever()))
        await asyncio.sleep(0)

    _loop.run_until_complete(unit())


def leak_socket():
    import socket

    KEEP.append(socket.socket())


# ---------------- clean ----------------
_D = {}
_di = 0


def clean_dict_bounded_1000():
    global _di
    _di += 1
    _D[_di % 1000] = Node()


_lru10k = functools.lru_cache(maxsize=10_000)(lambda i: (i, str(i), bytearray(16)))
_li = 0


def clean_lru_10k():
    global _li
    _li += 1
    _lru10k(_li)


def clean_big_temp():
    b = bytearray(4_000_000)
    b[::4096] = b"x" * len(b[::4096])
    return len(b)


_LAZY = None


def clean_lazy_init():
    global _LAZY
    if _LAZY is None:
        _LAZY = [Node() for _ in range(2000)]
    return len(_LAZY)


_rng = random.Random(7)
_slot = [None] * 8


def clean_noisy_sizes():
    # bounded live set (8 slots), random sizes between 100 B and 200 kB
    _slot[_rng.randrange(8)] = bytearray(_rng.randrange(100, 200_000))


def clean_gc_cycles():
    n = Node()
    n.me = n


_buf = []


def clean_sawtooth_700():
    # batch buffer flushed every 700 calls
    _buf.append(Node())
    if len(_buf) >= 700:
        _buf.clear()


def clean_exception_traceback():
    # cyclic garbage through a handled exception, freed by the collector
    try:
        {}["x"]
    except KeyError as e:
        err = e
        cyc = {"err": err}
        cyc["self"] = cyc


_lazyfd = None


def clean_lazy_fd():
    # a log file opened once, on first use, and kept: correct code
    global _lazyfd
    if _lazyfd is None:
        _lazyfd = os.open(os.devnull, os.O_WRONLY)
    os.write(_lazyfd, b"x")


_pool = None


def clean_lazy_pool():
    # a worker pool created once on first use and kept: correct code
    global _pool
    if _pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _pool = ThreadPoolExecutor(1)
    _pool.submit(int, "1").result()


_ci = 0


def clean_c_lib_slot():
    # native one-slot cache with varying sizes
    global _ci
    _ci += 1
    cl.lg_clean(64 + (_ci * 37) % 5000)


def clean_noop():
    pass


LEAKS = [k for k in list(globals()) if k.startswith("leak_")]
CLEAN = [k for k in list(globals()) if k.startswith("clean_")]
ALL = LEAKS + CLEAN
