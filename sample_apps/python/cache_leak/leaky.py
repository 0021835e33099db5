"""Resizes images and remembers every result for ever."""

import sys

ITEMS = int(sys.argv[1]) if len(sys.argv) > 1 else 500
PIXELS = 4096

_finished = []


def resize(number):
    pixels = bytes([number % 256]) * PIXELS
    return pixels


def handle_item(number):
    thumbnail = resize(number)
    _finished.append((number, thumbnail))  # BUG: nothing is ever removed
    return len(thumbnail)


def main():
    total = 0
    for number in range(ITEMS):
        total += handle_item(number)
    print(f"{ITEMS} items, {total} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
