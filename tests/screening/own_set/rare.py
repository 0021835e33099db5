"""Leaks that are not in every run, and what only looks like them."""

from __future__ import annotations

import itertools
import os

RUN_7, RUN_13, RUN_40, RUN_5 = (itertools.count(1) for _ in range(4))
RUN_CLEAN_7, RUN_CLEAN_13 = (itertools.count(1) for _ in range(2))
KEPT_7: list[bytes] = []
KEPT_13: list[bytearray] = []
KEPT_40: list[bytes] = []
REPLACED: dict[str, bytes] = {}
FLUSHED: list[bytes] = []


def leak_every_7th_run() -> None:
    if next(RUN_7) % 7 == 0:
        KEPT_7.append(bytes(1000))


def leak_every_13th_run() -> None:
    if next(RUN_13) % 13 == 0:
        KEPT_13.append(bytearray(100))


def leak_every_40th_run() -> None:
    if next(RUN_40) % 40 == 0:
        KEPT_40.append(bytes(300))


def leak_descriptor_every_5th_run() -> None:
    if next(RUN_5) % 5 == 0:
        os.open(os.devnull, os.O_RDONLY)


def clean_replaced_every_7th_run() -> None:
    if next(RUN_CLEAN_7) % 7 == 0:
        REPLACED["newest"] = bytes(1000)


def clean_every_13th_run_flushed_at_20() -> None:
    if next(RUN_CLEAN_13) % 13 == 0:
        FLUSHED.append(bytes(100))
        if len(FLUSHED) == 20:
            FLUSHED.clear()
