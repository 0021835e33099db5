"""The set of our own as loops, each function in a process of its own: found with count, line and holder, or left alone."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from tests.screening.own_set import build
from tests.screening.own_set.answers import ANSWERS, MODULES
from tests.screening.own_set.judged import wrong
from tests.screening.own_set.loop import said_of

DIRECTORY = Path(build.__file__).parent
SAMPLE = (
    "containers.leak_beside_shared_sqlite_connection",
    "containers.leak_closure_listener",
    "containers.leak_growing_bytearray",
    "containers.clean_sorted_window_that_breathes",
    "caches.clean_lru_cache_per_instance",
    "caches.leak_ordered_dict_never_evicts",
    "rare.leak_every_13th_run",
    "native.leak_library_24",
    "native.leak_lost_reference",
    "native.clean_native_pool",
    "resources.leak_descriptor",
    "stdlib.leak_finished_task_kept",
)
"""One of each kind; the others are slow."""
OPEN = {
    "resources.leak_child": "no holder is named, though a list holds the Popen objects",
    "resources.leak_shared_memory_not_unlinked": "segments below /dev/shm are not counted",
    "resources.clean_background_thread_allocates": "what a thread keeps for a while is taken for rare",
    "stdlib.leak_interned_names": "the list's growth is counted, its interned strings are not",
}
"""Answered wrongly today, and how."""


@pytest.fixture(scope="session")
def native_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Built once; the processes that are started find it through their environment."""
    build.native_library(tmp_path_factory.mktemp("own_set"))


def check(name: str) -> None:
    answer = ANSWERS[name]
    if answer.package and importlib.util.find_spec(answer.package) is None:
        pytest.skip(f"{answer.package} is not installed")
    said, _ = said_of(name)
    assert wrong(answer, said) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_function_has_an_answer(module: str) -> None:
    tree = ast.parse((DIRECTORY / f"{module}.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    functions = [name for name in names if name.startswith(("leak_", "clean_"))]
    assert sorted(functions) == sorted(MODULES[module])


def test_the_set_is_as_large_as_it_is_said_to_be() -> None:
    leaking = [name for name, answer in ANSWERS.items() if answer.leaks]
    assert len(leaking) >= 40
    assert len(ANSWERS) - len(leaking) >= 30


@pytest.mark.usefixtures("native_library")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_function_of_each_kind_is_answered_right(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.usefixtures("native_library")
@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in SAMPLE])
def test_every_other_function_is_answered_right(name: str, request: pytest.FixtureRequest) -> None:
    if name in OPEN:
        request.applymarker(pytest.mark.xfail(reason=OPEN[name]))
    check(name)
