"""Containers in variables of the user's modules and classes are followed by their lengths."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.screening.users_containers import RESCAN_TESTS, UsersContainers, united
from tests.pytest_integration.test_screening import screened

CONSTANTS = """
    import array, collections, io, itertools, types
    import pytest
    NAMES = [f"name {number}" for number in range(500_000)]
    NEXT = itertools.count()
    ITEMS, PLACES, ENTRIES, MEMBERS = [], collections.deque(), {}, set()
    BYTES, DOUBLES = bytearray(), array.array("d")
    STREAM, TEXT = io.BytesIO(b"x" * 20_000), io.StringIO("x" * 20_000)
    class State:
        def __init__(self): self.events, self.log, self.by_name = [], io.BytesIO(b"x" * 20_000), {"": []}
    class App:
        __slots__ = ("state",)
        def __init__(self): self.state = State()
    APP = App()
    SETTINGS = types.SimpleNamespace()
    class Shop:
        SEEN, INDEX = [], {}
    def name(): return NAMES[next(NEXT)]
    def list_of_module(): ITEMS.append(None)
    def deque_of_module(): PLACES.append(True)
    def dict_of_module(): ENTRIES[name()] = None
    def set_of_module(): MEMBERS.add(name())
    def bytearray_of_module(): BYTES.append(1)
    def array_of_module(): DOUBLES.append(1.0)
    def list_of_class(): Shop.SEEN.extend([None, None])
    def dict_of_class(): Shop.INDEX[name()] = 1
    def stream_of_module():
        STREAM.seek(0, 2)
        STREAM.write(b"12345")
        STREAM.seek(0)
    def text_of_module():
        TEXT.seek(0, 2)
        TEXT.write("12345")
    def list_of_object(): APP.state.events.append(None)
    def stream_of_object(): APP.state.log.seek(0, 2), APP.state.log.write(b"12")
    def names_of_namespace(): setattr(SETTINGS, name(), None)
    def list_of_registry(): APP.state.by_name[""].append(None)
    def stream_over_and_over():
        STREAM.seek(0)
        STREAM.write(b"12345")
    KINDS = [stream_of_module, text_of_module, list_of_object, stream_of_object, list_of_registry,
        names_of_namespace,
        stream_over_and_over, list_of_module, deque_of_module, dict_of_module, set_of_module, bytearray_of_module,
        array_of_module, list_of_class, dict_of_class]
"""
IN_A_SUITE = """
    @pytest.mark.parametrize("number", range(150))
    def test_clean(number): assert str(number)
    @pytest.mark.parametrize("work", KINDS)
    def test_adds(work): work()
"""
IN_A_LOOP = """
    @pytest.mark.parametrize("work", KINDS)
    def test_adds(leakguard, work): leakguard.loop(work)
"""
BYTES_PER_RUN = {
    "stream_of_module": 5,
    "text_of_module": 20,
    "list_of_object": 8,
    "stream_of_object": 2,
    "list_of_registry": 8,
    "names_of_namespace": 24,
    "list_of_module": 8,
    "deque_of_module": 8,
    "dict_of_module": 24,
    "set_of_module": 16,
    "bytearray_of_module": 1,
    "array_of_module": 8,
    "list_of_class": 16,
    "dict_of_class": 24,
}
HOLDERS = {
    "stream_of_module": "STREAM",
    "text_of_module": "TEXT",
    "list_of_object": "events",
    "stream_of_object": "log",
    "list_of_registry": "by_name",
    "names_of_namespace": "SETTINGS",
    "list_of_module": "ITEMS",
    "deque_of_module": "PLACES",
    "dict_of_module": "ENTRIES",
    "set_of_module": "MEMBERS",
    "bytearray_of_module": "BYTES",
    "array_of_module": "DOUBLES",
    "list_of_class": "SEEN",
    "dict_of_class": "INDEX",
}


@pytest.mark.parametrize(
    "tests",
    [
        pytest.param(IN_A_SUITE, id="in a suite of 165"),
        pytest.param(IN_A_LOOP, id="in a loop", marks=pytest.mark.slow),
    ],
)
def test_constants_that_each_run_adds_are_found_with_their_exact_pace(
    pytester: pytest.Pytester, tests: str
) -> None:
    _, report = screened(pytester, CONSTANTS + tests)
    sizes, holders = {}, {}
    for check in report["checks"]:
        for fingerprint in check["findings"]:
            kind = re.findall(r"\w+(?=\])", check["id"])[0]
            sizes[kind] = report["findings"][fingerprint]["size_bytes"]
            holders[kind] = str(report["findings"][fingerprint])
    assert sizes == BYTES_PER_RUN
    for kind, holder in HOLDERS.items():
        assert holder in holders[kind], holders[kind]


IN_A_CLOSURE = """
    import array, pytest
    def made():
        log = bytearray(b"x" * 400)
        def adds(): log.extend(b"1234567")
        return adds
    MADE = [made]
    adds = MADE[0]()
    @pytest.mark.parametrize("number", range(150))
    def test_clean(number): assert str(number)
    @pytest.mark.parametrize("number", range(8))
    def test_adds(number): adds()
"""


def test_a_buffer_that_nobody_names_is_told_by_its_length_once_it_is_resized(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, IN_A_CLOSURE)
    findings = list(report["findings"].values())
    assert [finding["size_bytes"] for finding in findings] == [7], report["checks"][-8:]
    assert not any(check["notes"] for check in report["checks"])


REPLACED = """
    import time
    class Connection:
        def __init__(self): self.cursors = []
        def cursor(self):
            if len(self.cursors) > 60: setattr(self, "cursors", [])
            self.cursors.append([0])
    CONNECTION = Connection()
    def test_statement():
        end = time.process_time() + 0.008
        CONNECTION.cursor()
        while time.process_time() < end: pass
"""


def test_what_is_in_a_list_that_is_replaced_is_not_kept_by_following_it(
    pytester: pytest.Pytester,
) -> None:
    _, report = screened(pytester, REPLACED)
    assert [check["outcome"] for check in report["checks"]] == ["clean"], report["findings"]


class Strange:
    """Stands where a module is expected, and fails whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the user's."""
    found = types.ModuleType("shop")
    found.__file__ = str(tmp_path / "shop.py")
    Path(found.__file__).write_text("")
    monkeypatch.setitem(sys.modules, "shop", found)
    return found


def is_followed(container: Any) -> bool:
    return any(other is container for other in UsersContainers().lengths().containers)


def test_variables_of_the_users_modules_and_of_their_classes_are_followed(
    module: types.ModuleType,
) -> None:
    seen, index = [1], {1: 1}
    variables: Any = vars(module)
    variables["SEEN"] = seen
    variables["Shop"] = type("Shop", (), {"INDEX": index, "__module__": "shop"})
    assert is_followed(seen) and is_followed(index)


def test_a_class_that_was_only_imported_is_followed_where_it_was_made(
    module: types.ModuleType,
) -> None:
    index = {1: 1}
    vars(module)["Shop"] = type("Shop", (), {"INDEX": index, "__module__": "elsewhere"})
    assert not is_followed(index)


def test_variables_of_libraries_and_of_the_interpreter_are_not_followed() -> None:
    assert not is_followed(sys.modules)
    assert not is_followed(re.__all__)


def test_a_module_that_is_none_is_not_asked(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [1]
    vars(module)["SEEN"] = seen
    vars(module)["STRANGE"] = Strange()
    monkeypatch.setitem(sys.modules, "strange", Strange())
    assert is_followed(seen)


def test_a_module_that_is_imported_later_is_followed_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    containers = UsersContainers()
    containers.lengths()
    later, seen = types.ModuleType("later"), [1]
    later.__file__ = str(tmp_path / "later.py")
    Path(later.__file__).write_text("")
    vars(later)["SEEN"] = seen
    monkeypatch.setitem(sys.modules, "later", later)
    assert any(other is seen for other in containers.lengths().containers)


def test_a_container_that_is_known_twice_is_followed_once() -> None:
    first, second, third = [1], [1], [1]
    found = united([first, second], [second, third])
    assert [id(container) for container in found] == [id(first), id(second), id(third)]


def test_what_a_variable_is_bound_to_later_is_followed(module: types.ModuleType) -> None:
    variables: Any = vars(module)
    shop: Any = type("Shop", (), {"INDEX": None, "__module__": "shop"})
    variables.update(LATE=None, Shop=shop)
    containers = UsersContainers()
    containers.lengths()
    late, new, index, other = [1], [2], {1: 1}, {2: 2}
    variables["LATE"], variables["NEW"], shop.INDEX = late, new, index
    assert all(_is_among(containers, thing) for thing in (late, new, index))
    variables["Shop"] = type("Shop", (), {"INDEX": other, "__module__": "shop"})
    assert _is_among(containers, other) and not _is_among(containers, index)


def test_a_number_that_becomes_a_container_is_followed_some_tests_later(
    module: types.ModuleType,
) -> None:
    variables: Any = vars(module)
    variables["SEEN"] = 0
    containers = UsersContainers()
    containers.lengths()
    seen = variables["SEEN"] = [1]
    looks = 1
    while not _is_among(containers, seen):
        looks += 1
    assert looks == RESCAN_TESTS


def test_the_interpreters_own_lists_are_followed() -> None:
    assert _is_among(UsersContainers(), sys.path)


def _is_among(containers: UsersContainers, thing: Any) -> bool:
    return any(other is thing for other in containers.lengths().containers)
