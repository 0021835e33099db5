"""Functions that are known to leak, or not to: the same number in every run, or none."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.tracker.conftest import ROOT, missing, run_program

CASES = ROOT / "tests" / "golden" / "inprocess" / "cases.py"
RUNS = 40

NATIVE_LEAKS = {
    "leak_malloc_1b": 1,
    "leak_malloc_64b": 64,
    "leak_c_lib_1b": 1,
    "leak_c_lib_64b": 64,
}
"""Bytes that every run loses, in one block."""
PYTHON_LEAKS = (
    "leak_global_list",
    "leak_uncollectable_cycle",
    "leak_lru_unbounded",
    "leak_interned",
    "leak_mmap",
    "leak_closure_listener",
    "leak_socket",
    "leak_thread",
    "leak_asyncio_task",
)
CLEAN = (
    "clean_big_temp",
    "clean_lazy_init",
    "clean_gc_cycles",
    "clean_exception_traceback",
    "clean_lazy_fd",
    "clean_noop",
)


@pytest.fixture
def alive(tracker_library: Path, request: pytest.FixtureRequest) -> dict[str, list[list[int]]]:
    """By domain, for each run: blocks, bytes, growth in bytes."""
    if shutil.which("cc") is None:
        missing("cc is not installed")
    script = Path(__file__).with_name("known_function.py")
    command = [sys.executable, str(script), str(CASES), request.param, str(RUNS)]
    printed = run_program(command, PYTHONPATH=str(ROOT))
    result: dict[str, list[list[int]]] = json.loads(printed.splitlines()[-1])
    return result


@pytest.mark.parametrize(("alive", "size_bytes"), NATIVE_LEAKS.items(), indirect=["alive"])
def test_a_native_leak_is_the_same_block_in_every_run(
    alive: dict[str, list[list[int]]], size_bytes: int
) -> None:
    assert alive["NATIVE"] == [[1, size_bytes, 0]] * RUNS
    assert alive["PYTHON"] == [[0, 0, 0]] * RUNS


@pytest.mark.parametrize("alive", PYTHON_LEAKS, indirect=True)
def test_a_leak_of_objects_is_the_same_number_in_every_run(
    alive: dict[str, list[list[int]]],
) -> None:
    # The first run does what is done once; the last one has what the next would have replaced.
    blocks = [amount[0] for amount in alive["PYTHON"][1:-1]]
    usual = max(set(blocks), key=blocks.count)
    assert usual > 0
    assert set(blocks) <= {usual, usual + 1}  # a container's larger buffer now and then


@pytest.mark.parametrize("alive", ["leak_every_10"], indirect=True)
def test_a_leak_in_every_tenth_run_is_in_every_tenth_run(alive: dict[str, list[list[int]]]) -> None:
    leaking = [run for run, amount in enumerate(alive["PYTHON"], start=1) if amount[0]]
    assert leaking == [10, 20, 30, 40]


@pytest.mark.parametrize("alive", ["leak_append_none"], indirect=True)
def test_a_list_that_only_grows_has_no_blocks_but_growth(alive: dict[str, list[list[int]]]) -> None:
    assert [amount[0] for amount in alive["PYTHON"][1:]] == [0] * (RUNS - 1)
    assert sum(amount[2] for amount in alive["PYTHON"]) >= 8 * (RUNS - 8)  # a pointer is 8 bytes


@pytest.mark.parametrize("alive", ["leak_mmap"], indirect=True)
def test_a_mapping_that_is_kept_is_one_in_every_run(alive: dict[str, list[list[int]]]) -> None:
    assert [amount[0] for amount in alive["MAPPING"]] == [1] * RUNS


@pytest.mark.parametrize("alive", CLEAN, indirect=True)
def test_what_leaks_nothing_leaves_nothing_after_its_first_run(
    alive: dict[str, list[list[int]]],
) -> None:
    for amounts in alive.values():
        assert amounts[1:] == [[0, 0, 0]] * (RUNS - 1)


@pytest.mark.parametrize("alive", ["clean_noisy_sizes", "clean_c_lib_slot"], indirect=True)
def test_old_runs_blocks_disappear_from_a_bounded_cache(alive: dict[str, list[list[int]]]) -> None:
    for amounts in alive.values():
        without_any = [amount for amount in amounts if amount[0] == 0]
        assert len(without_any) >= RUNS / 2
