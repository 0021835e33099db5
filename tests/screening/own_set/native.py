"""Native memory: through ctypes, of a C library, and of an extension that loses references."""

from __future__ import annotations

import ctypes
import itertools
import random

from tests.screening.own_set.build import native_library

SIZE = ctypes.c_size_t
LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = LIBC.calloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [SIZE]
LIBC.free.argtypes = [ctypes.c_void_p]
LIBRARY = ctypes.CDLL(native_library())
LIBRARY.open_handle.restype = ctypes.c_void_p
LIBRARY.open_handle.argtypes = [SIZE]
LIBRARY.close_handle.argtypes = [ctypes.c_void_p]
EXTENSION = ctypes.PyDLL(native_library())
EXTENSION.lose_a_reference.restype = ctypes.py_object
RUN_7 = itertools.count(1)
RANDOM = random.Random(3)


def leak_malloc_1() -> None:
    LIBC.malloc(1)


def leak_malloc_16() -> None:
    LIBC.malloc(16)


def leak_calloc_24() -> None:
    LIBC.calloc(2, 12)


def clean_malloc_freed() -> None:
    LIBC.free(LIBC.malloc(400))


def leak_library_24() -> None:
    LIBRARY.keep_block(SIZE(24))


def leak_library_400() -> None:
    LIBRARY.keep_block(SIZE(400))


def leak_library_1() -> None:
    LIBRARY.keep_block(SIZE(1))


def leak_copied_name() -> None:
    LIBRARY.keep_copy_of_name(b"fifteen letters")


def leak_aligned_block() -> None:
    LIBRARY.keep_aligned_block(SIZE(96))


def leak_native_pages() -> None:
    LIBRARY.keep_pages(SIZE(65_536))


def leak_growing_journal() -> None:
    LIBRARY.grow_journal(SIZE(48))


def leak_block_of_native_thread() -> None:
    LIBRARY.keep_block_of_a_worker(SIZE(40))


def leak_library_16_beside_noise() -> None:
    noise = sorted(str(RANDOM.random()) for _ in range(200))
    LIBRARY.keep_block(SIZE(16))
    del noise


def leak_library_every_7th_run() -> None:
    if next(RUN_7) % 7 == 0:
        LIBRARY.keep_block(SIZE(640))


def leak_lost_reference() -> None:
    EXTENSION.lose_a_reference(SIZE(600))


def leak_memory_of_python() -> None:
    EXTENSION.lose_memory_of_python(SIZE(72))


class Image:
    """Small in Python, large behind it."""

    __slots__ = ("pixels",)

    def __init__(self) -> None:
        self.pixels = LIBRARY.open_handle(100_000)


IMAGES: list[Image] = []


def leak_small_object_with_much_behind() -> None:
    IMAGES.append(Image())


def clean_handle_closed() -> None:
    LIBRARY.close_handle(Image().pixels)


def clean_native_slots() -> None:
    LIBRARY.keep_in_slot(SIZE(RANDOM.randrange(16, 5000)))


def clean_native_pool() -> None:
    LIBRARY.keep_in_pool(SIZE(32))


def clean_native_scratch() -> None:
    LIBRARY.write_scratch(SIZE(24))


MIXED: list[bytes] = []


def leak_python_and_native() -> None:
    MIXED.append(bytes(100))
    LIBRARY.keep_block(SIZE(24))
