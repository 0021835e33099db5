"""The tracker says exactly which blocks of a run are alive, whoever allocated them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.conftest import HERE, Scenarios, missing, run_program

_TOGETHER = (
    "python_objects",
    "nothing",
    "list_growth",
    "shrinking",
    "filled_and_emptied",
    "grows_in_own_run",
    "ctypes_malloc",
    "ctypes_strdup",
    "c_functions",
    "native_growth",
    "survivors",
    "mappings",
    "python_mmap",
    "arenas",
    "nothing_crashes",
    "stale",
    "bad_runs",
    "displaced",
    "cpp",
    "stacks",
    "subprocess",
    "costs",
    "canary",
    "many_blocks",
    "runs",
)
"""Scenarios that leave the process as it was, so one interpreter runs them all."""

C_FUNCTIONS = {
    "malloc": [1, 1],
    "calloc": [1, 21],
    "realloc": [1, 33],
    "reallocarray": [1, 33],
    "aligned_alloc": [1, 128],
    "memalign": [1, 100],
    "valloc": [1, 10],
    "posix_memalign": [1, 77],
    "strdup": [1, 4],
    "asprintf": [1, 6],
    "pointer": [1, 55],
    "getline": 1,
    "freed": [0, 0],
    "freed through pointer": [0, 0],
}


@pytest.fixture(scope="module")
def seen(scenarios: Scenarios) -> dict[str, Any]:
    return scenarios(*_TOGETHER)


def test_objects_that_are_kept_are_alive_and_gone_when_they_are_dropped(
    seen: dict[str, Any],
) -> None:
    before, after = seen["python_objects"]
    assert [blocks for blocks, _ in before] == [3, 3, 3]
    assert after == [[0, 0], [0, 0], [0, 0]]


def test_a_run_that_does_nothing_leaves_nothing(seen: dict[str, Any]) -> None:
    assert seen["nothing"] == [[0, 0]] * 9


def test_an_old_list_that_only_grows_shows_as_growth_by_the_byte(seen: dict[str, Any]) -> None:
    grown, alive, _ = seen["list_growth"]
    assert grown == [0, 8000, 8000, 8000, 8000, 8000]  # what it was before the first run is unknown
    assert alive == [[0, 0]] * 6


def test_growth_of_a_runs_buffer_is_taken_back_when_it_goes(seen: dict[str, Any]) -> None:
    grown, alive = seen["filled_and_emptied"]
    assert sum(1 for growth in grown if growth > 0) >= 3
    assert sum(grown) == 0
    assert alive == [[0, 0]] * 21


def test_growth_of_an_old_buffer_is_taken_back_when_it_shrinks(seen: dict[str, Any]) -> None:
    grown, shrunk = seen["shrinking"]
    assert grown == 10_000
    assert shrunk <= -10_000


def test_what_grows_in_its_own_run_is_not_growth_of_another_run(seen: dict[str, Any]) -> None:
    assert seen["grows_in_own_run"] == [2, True, 0]


def test_one_byte_from_malloc_through_ctypes_is_one_block(seen: dict[str, Any]) -> None:
    assert seen["ctypes_malloc"] == [[1, 1], [1, 1], [1, 1]]


def test_strdup_through_ctypes_is_seen_inside_the_c_library(seen: dict[str, Any]) -> None:
    assert seen["ctypes_strdup"] == [1, 8]


@pytest.mark.parametrize("function", C_FUNCTIONS)
def test_every_function_that_allocates_is_exact(seen: dict[str, Any], function: str) -> None:
    assert seen["c_functions"][function] == C_FUNCTIONS[function]


def test_realloc_of_an_old_native_block_books_the_difference(seen: dict[str, Any]) -> None:
    (first, *later), alive = seen["native_growth"]
    assert 3900 <= first <= 4100  # the allocator's own sizes, which it rounds
    assert later == [1, 84_999, -89_990, -10]
    assert alive == [[0, 0]] * 4


def test_survivors_have_address_size_domain_and_thread(seen: dict[str, Any]) -> None:
    block, mapping, count, is_tracked, is_tracked_when_freed = seen["survivors"]
    assert block == [24, "NATIVE", True, True]
    assert mapping[1:] == ["MAPPING", True, True]
    assert count == 2
    assert is_tracked == [True, False, True]  # a block by its start, a mapping anywhere in it
    assert not is_tracked_when_freed


def test_mappings_are_exact_when_cut_mapped_over_and_moved(seen: dict[str, Any]) -> None:
    page, (mapped, cut, mapped_over, moved, growth, gone) = seen["mappings"]
    assert mapped == [1, 10 * page]
    assert cut == [2, 8 * page]
    assert mapped_over == [2, 7 * page]
    assert moved == [2, 53 * page]
    assert growth == [46 * page, 0, 0]
    assert gone == [0, 0]


def test_a_mapping_of_the_mmap_module_is_seen_until_it_is_closed(seen: dict[str, Any]) -> None:
    before, after = seen["python_mmap"]
    assert before[0] == 1
    assert after == [0, 0]


def test_the_interpreters_arenas_and_frames_are_no_mappings(seen: dict[str, Any]) -> None:
    assert seen["arenas"] == [[0, 0], [0, 0]]


def test_what_the_interpreters_jit_compiles_is_no_mapping(scenarios: Scenarios) -> None:
    is_enabled, alive = scenarios("compiled_code", "arenas", PYTHON_JIT="1")["compiled_code"]
    if not is_enabled:
        pytest.skip("this interpreter has no JIT")
    assert alive == [[0, 0]] * 3


def test_every_form_of_operator_new_is_exact(seen: dict[str, Any]) -> None:
    assert seen["cpp"] == NEW_FORMS | NEW_THAT_THROWS


NEW_FORMS = {
    "one": [1, 1],
    "array": [1, 50],
    "nothrow": [1, 60],
    "wide": [1, 256],
    "dropped": [0, 0],
    "array dropped": [0, 0],
    "wide dropped": [0, 0],
}
NEW_THAT_THROWS = {"throws": [1, 1], "after throwing": [1, 1]}


def test_calls_at_their_limits_neither_crash_nor_leave_anything(seen: dict[str, Any]) -> None:
    (unarmed, armed), alive, kept_errno = seen["nothing_crashes"]
    assert unarmed == armed > 0
    assert alive == [0, 0]
    assert kept_errno > 0


def test_a_block_freed_out_of_sight_goes_when_its_address_comes_back(seen: dict[str, Any]) -> None:
    came_back, unarmed, replaced, replacing = seen["stale"]
    assert came_back
    assert unarmed == [0, 0]
    assert replaced == [0, 0]
    assert replacing == [1, 3000]


def test_runs_can_be_merged_forgotten_and_reset(seen: dict[str, Any]) -> None:
    merged, left, used_after_reset, alive_after_reset = seen["runs"]
    assert merged == [2, 20]
    assert left == [[0, 0], [0, 0], [0, 0], [1, 10]]
    assert used_after_reset == 0
    assert alive_after_reset == [0, 0]


def test_a_million_blocks_of_a_late_run_are_counted_and_go(seen: dict[str, Any]) -> None:
    blocks, left, next_is_seen, lost = seen["many_blocks"]
    assert 1_000_000 <= blocks <= 1_000_002  # and the list's own buffer
    assert left == 0
    assert next_is_seen
    assert lost == 0


def test_a_run_that_has_no_number_is_refused(seen: dict[str, Any]) -> None:
    assert seen["bad_runs"] == [0, 0]


def test_slots_can_be_restored_and_taken_again(seen: dict[str, Any]) -> None:
    unhooked, hooked, state = seen["displaced"]
    assert unhooked == [[0, 0], "NOT_INSTALLED"]
    assert hooked == [1, 3]
    assert state == "HOOKED"


def test_stacks_name_the_function_that_allocated(seen: dict[str, Any]) -> None:
    names, innermost, has_offsets, depth, freed, switched_off = seen["stacks"]
    assert names == ["keep_malloc", "keep_strdup", "keep_mapping"]
    assert innermost == "keep_malloc"
    assert has_offsets == [True, True]
    assert 2 < depth <= 16
    assert freed == []
    assert switched_off == []


def test_programs_started_with_vfork_change_nothing(seen: dict[str, Any]) -> None:
    alive, is_child = seen["subprocess"]
    assert alive == [0, 0]
    assert not is_child


def test_arming_leaves_nothing(seen: dict[str, Any]) -> None:
    blocks, alive = seen["costs"]
    assert abs(blocks) <= 1
    assert alive == [0, 0, 0]


def test_the_canary_sees_everything_in_no_time_and_leaves_nothing(seen: dict[str, Any]) -> None:
    unseen, seconds, left = seen["canary"]
    assert unseen == []
    assert seconds < 0.02
    assert left == [0, 0, 0]


def test_only_the_audit_events_that_are_asked_for_reach_python(scenarios: Scenarios) -> None:
    told, is_traced = scenarios("audit")["audit"]
    assert told == ["wanted 1", "wanted and refused 2", "raised"]
    assert not is_traced


def test_a_library_loaded_before_the_hooks_is_seen(scenarios: Scenarios) -> None:
    assert scenarios("c_functions", EARLY="1")["c_functions"] == C_FUNCTIONS


def test_slots_that_are_bound_at_once_are_seen(scenarios: Scenarios) -> None:
    assert scenarios("c_functions", EARLY="1", LD_BIND_NOW="1")["c_functions"] == C_FUNCTIONS


def test_native_threads_that_allocate_meanwhile_end_at_zero(scenarios: Scenarios) -> None:
    assert scenarios("threads")["threads"] == [0, 0]


def test_python_threads_that_allocate_meanwhile_end_at_zero(scenarios: Scenarios) -> None:
    assert scenarios("python_threads")["python_threads"] == 0


def test_other_threads_blocks_are_told_apart(scenarios: Scenarios) -> None:
    has_others, kept_by_others, has_own = scenarios("other_threads")["other_threads"]
    assert has_others
    assert kept_by_others == 2
    assert has_own


def test_a_forked_child_does_not_hang_and_the_parent_stays_exact(scenarios: Scenarios) -> None:
    answers, children, own_blocks, parent_is_child = scenarios("fork", PYTHONWARNINGS="ignore")[
        "fork"
    ]
    assert answers == [1]
    assert children == 20
    assert own_blocks == 1
    assert not parent_is_child


def test_tracemalloc_nests_above_the_hooks(scenarios: Scenarios) -> None:
    inside, after, unseen = scenarios("tracemalloc")["tracemalloc"]
    assert inside[0] == after[0] == 1
    assert unseen == []


def test_after_memray_native_blocks_are_seen_again(scenarios: Scenarios) -> None:
    pytest.importorskip("memray")
    inside, state_inside, after, state_after, sees_all = scenarios("memray")["memray"]
    assert inside[0] == 1
    assert state_inside == "DISPLACED"
    assert after == [1, 5]
    assert state_after == "HOOKED"
    assert sees_all


@pytest.mark.parametrize("allocator", ["malloc", "debug", "malloc_debug", "pymalloc_debug"])
def test_every_allocator_of_python_is_exact(scenarios: Scenarios, allocator: str) -> None:
    names = ("python_objects", "list_growth", "ctypes_malloc", "c_functions", "arenas", "canary")
    seen = scenarios(*names, PYTHONMALLOC=allocator)
    assert [blocks for blocks, _ in seen["python_objects"][0]] == [3, 3, 3]
    assert seen["python_objects"][1] == [[0, 0]] * 3
    assert seen["list_growth"][0] == [0, 8000, 8000, 8000, 8000, 8000]
    assert seen["ctypes_malloc"] == [[1, 1]] * 3
    assert seen["c_functions"] == C_FUNCTIONS
    assert seen["canary"][0] == []


@pytest.mark.parametrize("library", ["libjemalloc", "libtcmalloc_minimal", "libmimalloc"])
def test_another_allocator_is_exact_and_its_mappings_are_its_own(
    scenarios: Scenarios, library: str
) -> None:
    path = _installed(library)
    names = ("python_objects", "ctypes_malloc", "ctypes_strdup", "c_functions", "arenas", "canary")
    seen = scenarios(*names, "cpp", "nothing", "threads", LD_PRELOAD=path, NEW_ABORTS="1")
    assert seen["python_objects"][1] == [[0, 0]] * 3
    assert seen["ctypes_malloc"] == [[1, 1]] * 3
    # Not seen where the allocator brings a strdup of its own, as mimalloc 3 does: it calls itself.
    has_own_strdup = " strdup\n" in run_program(["nm", "-D", "--defined-only", path])
    assert seen["ctypes_strdup"] == ([0, 0] if has_own_strdup else [1, 8])
    assert seen["c_functions"] == C_FUNCTIONS | ({"strdup": [0, 0]} if has_own_strdup else {})
    assert seen["arenas"] == [[0, 0], [0, 0]]
    assert seen["cpp"] == NEW_FORMS
    assert seen["nothing"] == [[0, 0]] * 9
    assert seen["threads"] == [0, 0]
    assert seen["canary"][0] == []


def _installed(library: str) -> str:
    for folder in _LIBRARY_FOLDERS:
        for path in sorted(Path(folder).glob(f"{library}.so.*")):
            return str(path)
    missing(f"{library} is not installed")
    raise AssertionError


_LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)


def test_a_sanitizers_allocator_is_not_worked_around(scenarios: Scenarios) -> None:
    runtime = _print_file_name("libasan.so")
    seen = scenarios(
        "state", "canary", LD_PRELOAD=runtime, ASAN_OPTIONS="detect_leaks=0", NOT_HOOKED="1"
    )
    assert seen["state"] == "SANITIZER"
    unseen = seen["canary"][0]
    assert len(unseen) == 4
    assert all("a sanitizer's allocator is loaded" in text for text in unseen)


def _print_file_name(name: str) -> str:
    if shutil.which("gcc") is None:
        missing("gcc is not installed")
    path = run_program(["gcc", f"-print-file-name={name}"]).strip()
    if "/" not in path:
        missing(f"{name} is not installed")
    return path


@pytest.mark.parametrize("library", ["libjemalloc", "libtcmalloc_minimal"])
def test_operator_new_of_another_allocator_throws_through_the_hooks(
    scenarios: Scenarios, library: str
) -> None:
    path = _installed(library)
    assert scenarios("cpp", LD_PRELOAD=path)["cpp"] == NEW_FORMS | NEW_THAT_THROWS


def test_an_allocator_bound_inside_its_library_is_left_alone(
    scenarios: Scenarios, build: Callable[..., Path]
) -> None:
    own = build(
        "own_allocator.so",
        "-shared",
        "-fPIC",
        "-O0",
        "-fno-builtin",
        str(HERE / "native" / "own_allocator.c"),
    )
    seen = scenarios("own_allocator", "ctypes_malloc", OWN_ALLOCATOR=str(own))
    assert seen["own_allocator"] == [[10, 20], [0, 0]]
    assert seen["ctypes_malloc"] == [[1, 1]] * 3


def test_a_library_loaded_where_another_was_is_seen(
    scenarios: Scenarios, build: Callable[..., Path]
) -> None:
    second = build("second.so", "-shared", "-fPIC", "-O0", str(HERE / "native" / "library.c"))
    results = scenarios("unloaded", "c_functions", SECOND_LIBRARY=str(second))
    assert results["unloaded"] == [[1, 2]] * 3
    assert results["c_functions"] == C_FUNCTIONS


def test_dlopen_and_dlsym_know_their_caller(
    scenarios: Scenarios, build: Callable[..., Path]
) -> None:
    source = str(HERE / "native" / "library.c")
    shared = ("-shared", "-fPIC", "-O0", "-pthread", source)
    caller = build("caller.so", *shared, "-Wl,-rpath,$ORIGIN/neighbours")
    (caller.parent / "neighbours").mkdir(exist_ok=True)
    build("neighbours/libneighbour.so", *shared)
    assert scenarios("callers", CALLER_LIBRARY=str(caller))["callers"] == [1, True]
