"""What a finding says of its cause: line and holder are right, and the same in each process."""

from __future__ import annotations

import json
import linecache
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parent / "explained_cases.py"
MEASURE = """
import importlib.util, json, sys
from pytest_leakguard.tracker.installed import installed
installed()  # as pytest's door does, before anybody looks up the address of malloc
specification = importlib.util.spec_from_file_location("shop", sys.argv[1])
shop = importlib.util.module_from_spec(specification)
sys.modules["shop"] = shop
specification.loader.exec_module(shop)
from pytest_leakguard.screening.loop import check_loop
check = check_loop(getattr(shop, sys.argv[2]), "a test", seconds=1.0)
print("ANSWER", json.dumps({
    "notes": check.notes,
    "problems": check.problems,
    "findings": [{
        "fingerprint": one.fingerprint, "kind": one.kind.value, "size_bytes": one.size_bytes,
        "lines": [int(site.rpartition(":")[2]) for site in one.sites],
        "holders": one.holders, "held_by": one.held_by, "details": one.details,
    } for one in check.findings],
}))
"""


def answer(name: str) -> dict[str, Any]:
    """What the loop says about one of the functions, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(CASES), name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = [line for line in run.stdout.splitlines() if line.startswith("ANSWER ")]
    assert told, run.stderr[-2000:]
    assert "RAN" not in run.stdout, "looking at an object ran its code"
    found: dict[str, Any] = json.loads(told[0].removeprefix("ANSWER "))
    return found


@lru_cache(maxsize=1)
def finding(name: str) -> dict[str, Any]:
    """The one finding."""
    found = answer(name)
    assert len(found["findings"]) == 1, found
    one: dict[str, Any] = found["findings"][0]
    return one


def source(one: dict[str, Any]) -> str:
    """The text of the line that is blamed."""
    assert one["lines"], one
    return linecache.getline(str(CASES), one["lines"][0]).strip()


NAMED = [
    ("hostile", "KEEP.append(Hostile())", "shop.KEEP (list, +1 item per run) -> Hostile"),
    (
        "class_per_run",
        'KEEP.append(type(f"Model{next(NUMBERS)}", (Order,), {})())',
        "shop.KEEP (list, +1 item per run) -> a class that each run makes from shop.Order",
    ),
    (
        "module_per_run",
        'exec("class Plugin: pass", module.__dict__)',
        "sys.modules (dict, +1 item per run) -> module",
    ),
    (
        "keyed",
        'CACHE[f"order-{next(NUMBERS)}"] = Order()',
        "shop.CACHE (dict, +1 item per run) -> Order",
    ),
    (
        "logger_per_run",
        'logging.getLogger(f"connection.{next(NUMBERS)}")',
        "logging.root.manager.loggerDict (dict, +1 item per run) -> Logger",
    ),
    ("beside_a_weak_set", None, "shop.KEEP (list, +1 item per run) -> Order"),
    (
        "weak_keys_strong_values",
        "RUNS.setdefault(ANCHOR, []).append(Order())",
        "shop.RUNS.data (dict) -> list (+1 item per run) -> Order",
    ),
    ("linked", "LAST.next = Node(None)", "shop.FIRST.next.next.next (Node) -> (* further) *"),
    ("hooks", "sys.excepthook = lambda*", "sys.excepthook (function hooks*) -> *(* further)*"),
    (
        "stream_handlers",
        None,
        "shop.LOG.handlers (list, +1 item per run) -> logging.StreamHandler",
    ),
    ("text_grows", 'TEXT["all"] += "an order, "', "shop.TEXT (dict) -> str"),
    ("tuple_grows", "PAIRS += (True, False)", "shop.PAIRS (tuple)"),
    ("handlers", "signal.signal*", "handler of the signal SIGUSR1 -> function handlers*"),
    (
        "at_exit",
        "atexit.register(functools.partial(id, Order()))",
        "callbacks registered with atexit -> functools.partial",
    ),
    (
        "codec_search",
        "codecs.register(lambda name: None)",
        "search functions registered with codecs -> list (+1 item per run) -> function codec_*",
    ),
    (
        "codec_errors",
        "codecs.register_error(*",
        "error handlers registered with codecs -> dict (+1 item per run) -> function codec_*",
    ),
    ("rows", "DATABASE.execute(*", "a C extension*never gave back"),
    ("context", None, "shop.KEEP (list, +1 item per run) -> _contextvars.Context"),
    ("buffer", 'BUFFER.extend(b"x" * 200)', "shop.BUFFER (bytearray, +200 bytes per run)"),
    ("values", "VALUES.extend([1.0] * 30)", "shop.VALUES (array.array, +240 bytes per run)"),
    (
        "task",
        "KEEP.append(asyncio.create_task(wait()))",
        "shop.KEEP (list, +1 item per run) -> asyncio task of wait",
    ),
    (
        "native",
        "self.address = LIBC.malloc(100_000)",
        "shop.KEEP (list, +1 item per run) -> Native",
    ),
    ("descriptor", 'os.open("/dev/zero", os.O_RDONLY)', ""),
    ("native_line", "LIBC.malloc(500)", "a C extension*"),
    ("rare", "KEEP.append(Order())", "shop.KEEP (list, +1 item in every 40th run) -> Order"),
    ("recorded_and_kept", None, "shop.PRODUCT (list, +1 item per run) -> Order"),
    (
        "environment",
        'os.environ[f"NEW_{next(NUMBERS)}"] = "x"',
        "os.environ._data (dict, +1 item per run) -> key of type bytes",
    ),
    ("unknown_list", None, "a C extension, or a reference that C code took and never gave *list"),
    ("unknown_dict", None, "a C extension, or a reference that C code took and never gave *dict"),
]


@pytest.mark.parametrize(("name", "line", "held_by"), NAMED, ids=[case[0] for case in NAMED])
def test_line_and_holder_are_named(name: str, line: str | None, held_by: str) -> None:
    from fnmatch import fnmatchcase

    one = finding(name)
    assert fnmatchcase(one["held_by"], held_by.replace("[", "[[]")), one
    if line is not None:
        assert fnmatchcase(source(one), line.replace("[", "[[]")), one


@pytest.mark.parametrize("name", ["class_per_run", "module_per_run", "hooks", "at_exit", "rare"])
def test_another_process_names_the_same(name: str) -> None:
    first, second = answer(name)["findings"][0], answer(name)["findings"][0]
    assert first["fingerprint"] == second["fingerprint"]
    assert first["held_by"].partition("(")[0] == second["held_by"].partition("(")[0]
    assert first["holders"][:2] == second["holders"][:2]


def test_what_nobody_can_explain_shares_no_name() -> None:
    assert finding("unknown_list")["fingerprint"] != finding("unknown_dict")["fingerprint"]


def test_native_memory_behind_an_object_counts() -> None:
    one = finding("native")
    assert 100_000 < one["size_bytes"] < 100_300
    assert "100,000 of the bytes per run are native memory that goes with it" in one["details"]


def test_code_that_is_watched_has_the_size_that_it_has_otherwise() -> None:
    assert finding("watched_code")["size_bytes"] == finding("code")["size_bytes"]


def test_a_temporary_file_is_counted_without_the_memory_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (one,) = answer("temporary_file")["findings"]
    assert one["size_bytes"] == 0, one


def test_a_rare_leak_says_what_one_loss_is_and_how_often_it_comes() -> None:
    details = finding("rare")["details"]
    assert any("bytes) in every 40th run over" in detail for detail in details), details


def test_the_record_of_a_test_double_is_no_leak() -> None:
    found = answer("only_recorded")
    assert found["findings"] == []
    assert "unittest.mock" in str(found["notes"])


def test_what_cpython_loses_with_tracemalloc_is_no_leak_of_the_test() -> None:
    found = answer("traces")
    assert found["findings"] == []
    assert found["problems"] == []
    if sys.version_info < (3, 13):
        assert "itself" in str(found["notes"])


def test_native_memory_that_a_test_loses_beside_tracemalloc_is_found() -> None:
    assert finding("traces_and_loses")["size_bytes"] >= 600
