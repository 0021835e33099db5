"""Resizes images and remembers the last ten results."""

import sys
from collections import deque

ITEMS = int(sys.argv[1]) if len(sys.argv) > 1 else 500
PIXELS = 4096

_finished = deque(maxlen=10)


def resize(number):
    pixels = bytes([number % 256]) * PIXELS
    return pixels


def handle_item(number):
    thumbnail = resize(number)
    _finished.append((number, thumbnail))
    return len(thumbnail)


def main():
    total = 0
    for number in range(ITEMS):
        total += handle_item(number)
    print(f"{ITEMS} items, {total} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
