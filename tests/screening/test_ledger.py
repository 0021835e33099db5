"""The ledger says exactly what each run has left, by the real tracker in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.screening.ledger import RESOURCES
from pytest_leakguard.tracker.library import LIBRARY
from tests.tracker.conftest import ROOT, missing, run_program

SCENARIOS = Path(__file__).with_name("ledger_scenarios.py")
NAMES = (
    "nothing",
    "garbage",
    "object",
    "bytearray",
    "heard_collections",
    "native",
    "mapping",
    "several_calls",
    "goes_later",
    "interned",
    "interned_and_kept",
    "interned_short",
    "list",
    "free_lists",
    "freed_by_a_late_thread",
    "used_slices",
    "grown",
    "descriptors",
    "closed_descriptor",
    "thread",
    "process_beside_one_that_ends",
    "file",
    "unarmed",
    "forgotten",
    "raises",
    "unjudged",
    "memory_now",
)
"""Scenarios that do not disturb each other, so one interpreter runs them all."""
KEEPS_INTERNED = sys.version_info[:2] == (3, 12)
"""Strings that are interned when the program runs are freed in 3.11, and again from 3.13 on."""
NO_MEMORY = [[0, 0], [0, 0], [0, 0]]
NO_RISES = [0] * len(RESOURCES)


def outcome_of(*names: str) -> dict[str, Any]:
    if not LIBRARY.is_file():
        missing("the native library is not built: pip install -e .")
    printed = run_program([sys.executable, str(SCENARIOS), *names], PYTHONPATH=str(ROOT))
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return outcome_of(*NAMES)


def test_runs_of_nothing_leave_nothing(results: dict[str, Any]) -> None:
    memory, rises = results["nothing"]
    assert memory == [NO_MEMORY] * 50
    assert rises == [NO_RISES] * 50


def test_garbage_is_collected_at_the_end_of_a_run(results: dict[str, Any]) -> None:
    assert results["garbage"] == [NO_MEMORY] * 3


def test_an_object_is_one_block_of_its_size(results: dict[str, Any]) -> None:
    size_bytes, runs = results["object"]
    assert runs == [[[1, size_bytes], [0, 0], [0, 0]]] * 3


def test_a_dict_is_allocated_also_where_somebody_listens_to_collections(
    results: dict[str, Any],
) -> None:
    assert [run[0][0] for run in results["heard_collections"]] == [1, 1, 1]


def test_a_bytearray_is_its_object_and_its_buffer(results: dict[str, Any]) -> None:
    size_bytes, runs = results["bytearray"]
    assert runs == [[[2, size_bytes], [0, 0], [0, 0]]] * 3


def test_memory_of_malloc_is_native(results: dict[str, Any]) -> None:
    natives = [native for _, native, _ in results["native"]]
    assert natives == [[1, 100_000]] * 3


def test_a_mapping_is_counted_in_whole_pages(results: dict[str, Any]) -> None:
    page_bytes, runs = results["mapping"]
    mapped = [mapping for _, _, mapping in runs]
    assert mapped == [[1, 3 * page_bytes]] * 3


def test_calls_under_one_number_are_counted_together(results: dict[str, Any]) -> None:
    calls, memory = results["several_calls"]
    assert calls == 20 and memory[0][0] == 20


def test_what_goes_after_its_run_is_no_longer_kept(results: dict[str, Any]) -> None:
    assert results["goes_later"] == [True, False]


def test_strings_that_the_interpreter_keeps_for_good_are_not_counted(
    results: dict[str, Any],
) -> None:
    counted, has_interned, with_interned = results["interned"]
    assert counted == [0, 0, 0]
    assert has_interned == [KEEPS_INTERNED] * 3
    assert with_interned == [int(KEEPS_INTERNED)] * 3


def test_an_object_beside_an_interned_string_is_counted(results: dict[str, Any]) -> None:
    assert results["interned_and_kept"] == [1, 1, 1]


def test_short_strings_that_the_interpreter_keeps_for_good_are_not_counted(
    results: dict[str, Any],
) -> None:
    assert results["interned_short"] == [0, 0, 0]


def test_an_object_of_a_type_with_a_free_list_is_counted(results: dict[str, Any]) -> None:
    lists, dictionaries = results["list"]
    assert [memory[0][0] for memory in lists] == [2, 2, 2]
    assert [memory[0][0] for memory in dictionaries] == [2, 2, 2]


def test_an_object_that_may_come_from_a_free_list_is_counted_in_each_run(
    results: dict[str, Any],
) -> None:
    for kind, blocks in results["free_lists"].items():
        assert blocks == [1, 1, 1], kind


def test_what_a_thread_frees_late_is_not_kept_alive_by_our_own_records(
    results: dict[str, Any],
) -> None:
    """The first of them may be what a thread needs on first use."""
    assert results["freed_by_a_late_thread"][1:] == [0] * 7


def test_a_slice_that_a_run_only_uses_is_not_kept_by_it(results: dict[str, Any]) -> None:
    assert results["used_slices"] == [0, 0, 0]


def test_calling_the_tracker_tells_nobody_who_listens_to_audit_events() -> None:
    assert outcome_of("heard_calls")["heard_calls"] == [0, 0, 0]


def test_the_growth_of_a_block_belongs_to_the_run_that_resizes_it(
    results: dict[str, Any],
) -> None:
    first_blocks, second_blocks, is_grown = results["grown"]
    assert first_blocks == 1 and second_blocks == 0 and is_grown


def test_older_containers_that_get_a_larger_table_are_found() -> None:
    for kind, found in outcome_of("larger_tables")["larger_tables"].items():
        assert kind.split()[-1] in found, kind


def test_what_gets_no_larger_table_is_no_grown_container() -> None:
    assert outcome_of("no_larger_tables")["no_larger_tables"] == [[]] * 6


def test_a_grown_container_is_found_while_everything_is_frozen() -> None:
    found, is_frozen, frozen_afterwards = outcome_of("frozen")["frozen"]
    assert found == ["list"] and is_frozen
    assert frozen_afterwards == 0


def test_an_older_buffer_of_unknown_size_is_noticed_when_it_is_resized() -> None:
    assert outcome_of("touched_old")["touched_old"] == [False, True, False]


def test_each_open_descriptor_is_counted(results: dict[str, Any]) -> None:
    at, rises, has_room = results["descriptors"]
    assert [rise[at] for rise in rises] == [1, 1, 1]
    assert has_room


def test_a_closed_descriptor_is_not_counted(results: dict[str, Any]) -> None:
    assert results["closed_descriptor"] == NO_RISES


def test_a_thread_that_has_ended_is_gone_when_it_is_counted_again(results: dict[str, Any]) -> None:
    assert results["thread"] == [1, True, 0]


def test_a_process_that_ends_does_not_hide_the_one_that_a_run_leaves(
    results: dict[str, Any],
) -> None:
    assert results["process_beside_one_that_ends"] == [1, [1], [0]]


def test_a_temporary_file_is_counted_until_it_is_removed(results: dict[str, Any]) -> None:
    assert results["file"] == [1, 0]


def test_what_is_allocated_while_nothing_is_armed_is_nobodys(results: dict[str, Any]) -> None:
    assert results["unarmed"][0][0] == 2


def test_a_run_that_is_forgotten_has_nothing(results: dict[str, Any]) -> None:
    assert results["forgotten"] == NO_MEMORY


def test_a_run_that_raises_leaves_nothing_armed(results: dict[str, Any]) -> None:
    assert results["raises"] == [True, 0]


def test_a_run_that_explains_has_a_number_of_its_own(results: dict[str, Any]) -> None:
    is_new, count, memory = results["unjudged"]
    assert is_new and count == 1 and memory[0] == 1


def test_the_memory_of_the_current_run_is_known_while_it_lasts(results: dict[str, Any]) -> None:
    native_bytes, mapped_bytes = results["memory_now"]
    assert native_bytes >= 100_000 and mapped_bytes == 0
