"""Compiles patterns with the C library's regcomp through ctypes and never frees them."""

import ctypes
import sys

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
PATTERN_BYTES = 128  # room for a regex_t
REG_EXTENDED = 1

_libc = ctypes.CDLL(None)


def compile_pattern(source):
    pattern = ctypes.create_string_buffer(PATTERN_BYTES)
    if _libc.regcomp(pattern, source, REG_EXTENDED) != 0:
        raise ValueError(source)
    return pattern


def is_match(source, text):
    pattern = compile_pattern(source)
    return _libc.regexec(pattern, text, 0, None, 0) == 0  # BUG: regfree is never called


def main():
    matches = 0
    for number in range(ROWS):
        matches += is_match(b"^row [0-9]*[05]$", f"row {number}".encode())
    print(f"{matches} of {ROWS} rows match")
    return 0


if __name__ == "__main__":
    sys.exit(main())
