"""Copies rows into buffers from malloc, called directly through ctypes, and frees them."""

import ctypes
import sys

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
ROW_BYTES = 4096

_libc = ctypes.CDLL(None)
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.malloc.restype = ctypes.c_void_p
_libc.free.argtypes = [ctypes.c_void_p]
_libc.free.restype = None


def copy_row(row):
    address = _libc.malloc(ROW_BYTES)
    if address is None:
        raise MemoryError
    ctypes.memmove(address, row, len(row))
    return address


def export_row(number):
    address = copy_row(f"row {number}".encode())
    try:
        return len(ctypes.string_at(address))
    finally:
        _libc.free(address)


def main():
    total = 0
    for number in range(ROWS):
        total += export_row(number)
    print(f"{ROWS} rows, {total} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
