"""What is private to CPython, pytest and other plugins is where we look for it, and behaves as we think."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pytest_leakguard
from pytest_leakguard.core.probes import Probe, problems
from pytest_leakguard.counters import _cpython
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals, _pytest_probes
from pytest_leakguard.tracker.installed import installed

PACKAGE = Path(pytest_leakguard.__file__).parent
ROOMS = ("_cpython.py", "_pytest_internals.py", "_pytest_probes.py", "_other_plugins.py")
ALONE = ("memray_main.py",)
"""As the agents do, it runs in other interpreters and can import nothing of the package."""
OUR_OWN = ("self", "cls", "_cpython", "_pytest_internals", "_other_plugins", "_pytest_probes")
PUBLIC = ("os._exit", "__future__", "getattr(sys, '_jit', None)")
"""Documented in spite of their names."""


@pytest.mark.parametrize(
    "probes",
    [_cpython.probes, _pytest_probes.probes, _other_plugins.probes],
    ids=["cpython", "pytest", "other plugins"],
)
def test_every_private_name_is_where_we_look_for_it(
    probes: Callable[[], tuple[Probe, ...]],
) -> None:
    installed()  # as in every screened run: CPython then says less of its allocator
    assert list(problems(probes())) == []


@pytest.mark.parametrize(
    ("module", "name", "stand_in", "expected"),
    [
        (_cpython, "RAW_ENVIRONMENT", {}, "os.environ._data: it is not the environment"),
        (
            _cpython,
            "recorded_warnings",
            list,
            "warnings._get_context or _showwarnmsg_impl: it does",
        ),
        (_cpython, "task_count", int, "asyncio.tasks._scheduled_tasks or _all_tasks: one more"),
        (_cpython, "cache_clearer", lambda: int, "sys._clear_internal_caches or "),
    ],
    ids=["environment", "warnings", "tasks", "attribute cache"],
)
def test_a_private_name_of_cpython_that_moves_is_reported_by_name(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, stand_in: object, expected: str
) -> None:
    monkeypatch.setattr(module, name, stand_in)
    found = list(problems(_cpython.probes()))
    assert len(found) == 1 and found[0].startswith(expected), found


def test_a_private_name_of_pytest_that_moves_is_reported_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_pytest_internals, "_REGISTRIES", ("_gone",))
    monkeypatch.setattr(_pytest_internals, "captured_files", lambda config: [])
    names = [problem.partition(":")[0] for problem in problems(_pytest_probes.probes())]
    assert names == [
        "FixtureManager._arg2node2fixturedefs and FixtureDef._finalizers",
        "CaptureManager._global_capturing and _capture_fixture",
    ]


def test_private_names_stand_in_their_rooms_and_nowhere_else() -> None:
    elsewhere = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name in (*ROOMS, *ALONE) or "agents" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for name in _private_names(node):
                elsewhere.append(f"{file.relative_to(PACKAGE)}: {name}")
    assert elsewhere == []


def _private_names(node: ast.AST) -> Iterator[str]:
    """Those of somebody else's that a piece of code uses."""
    names = []
    if isinstance(node, ast.Attribute) and _is_private(node.attr):
        owner = ast.unparse(node.value)
        if owner not in OUR_OWN:
            names.append(f"{owner}.{node.attr}")
    elif isinstance(node, ast.ImportFrom) and node.module and _is_private(node.module):
        names.append(node.module)
    elif isinstance(node, ast.Import):
        names.extend(alias.name for alias in node.names if _is_private(alias.name))
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
        name = node.args[1]
        if isinstance(name, ast.Constant) and _is_private(str(name.value)):
            names.append(ast.unparse(node))
    return (name for name in names if name not in PUBLIC)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
