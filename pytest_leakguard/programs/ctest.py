"""The tests that CTest knows of a build directory: ``ctest --show-only=json-v1`` lists them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.core.programs import Target
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs.cases import Case

_LIST_TIMEOUT_S = 120.0
"""Seconds CTest may take to list its tests; GoogleTest's discovery may run every test program."""
_JUDGED_BY_OUTPUT = ("PASS_REGULAR_EXPRESSION", "FAIL_REGULAR_EXPRESSION")
_TEST_FILE = "CTestTestfile.cmake"


def read_cases(
    directory: Path, timeout_s: float, arguments: Sequence[str] = ()
) -> tuple[Case, ...]:
    """The tests of ``directory``; ``arguments`` are CTest's own, such as ``-R codec``.

    Raises ``UsageProblem`` for what is no build directory of CMake, or has no tests.
    """
    directory = directory.absolute()
    if not (directory / _TEST_FILE).is_file():
        raise UsageProblem(
            f"{directory}: no {_TEST_FILE} in it: name CMake's build directory, and call "
            "enable_testing() in CMakeLists.txt"
        )
    if shutil.which("ctest") is None:
        raise UsageProblem("ctest is not installed; it comes with cmake")
    document = _listed(directory, arguments)
    tests = [test for test in document.get("tests", []) if isinstance(test, dict)]
    if not tests:
        raise UsageProblem(f"{directory}: CTest knows no test here{_chosen(arguments)}")
    _refuse_namesakes(tests, directory)
    return tuple(_cases(tests, directory, timeout_s))


def _refuse_namesakes(tests: list[dict[str, Any]], directory: Path) -> None:
    """Of two tests with one name, in two folders, one would hide the other in every report."""
    seen: set[str] = set()
    for test in tests:
        name = str(test.get("name"))
        if name in seen:
            raise UsageProblem(f"{directory}: two tests are called {name!r}: rename one")
        seen.add(name)


def _chosen(arguments: Sequence[str]) -> str:
    return f" that {' '.join(arguments)} chooses" if arguments else ""


def _listed(directory: Path, arguments: Sequence[str]) -> dict[str, Any]:
    argv = ["ctest", "--show-only=json-v1", *arguments]
    # CTest before 3.20 has no --test-dir.
    command = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(directory), *argv]
    code, out, errors = supervisor.capture(command, _LIST_TIMEOUT_S)
    try:
        document = json.loads(out[out.index(b"{") :])
    except ValueError:
        document = None
    if code != 0 or not isinstance(document, dict):
        said = errors.decode("utf-8", "replace").strip().splitlines()
        why = said[-1] if said else "it printed no JSON (version 3.14 or newer is needed)"
        raise LeakguardError(f"ctest --show-only=json-v1 in {directory} failed: {why}")
    return document


def _cases(tests: list[dict[str, Any]], directory: Path, timeout_s: float) -> Iterator[Case]:
    properties = {str(test.get("name")): _properties(test) for test in tests}
    for test in tests:
        name = str(test.get("name"))
        yield _case(name, test.get("command"), properties, directory, timeout_s)


def _properties(test: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for each in test.get("properties", []):
        if isinstance(each, dict) and "name" in each:
            found[str(each["name"])] = each.get("value")
    return found


def _case(
    name: str,
    command: Any,
    all_properties: Mapping[str, dict[str, Any]],
    directory: Path,
    timeout_s: float,
) -> Case:
    properties = all_properties[name]
    if properties.get("DISABLED"):
        return Case(name, skipped="disabled in CMake")
    if not command:
        return Case(name, problem="its program is not built: cmake --build the directory first")
    target = Target(
        argv=tuple(str(word) for word in command),
        cwd=Path(str(properties.get("WORKING_DIRECTORY") or directory)),
        env=tuple(_variables(properties.get("ENVIRONMENT"))),
        # CTest's limit is for the program alone, which runs many times slower under a tool.
        timeout_s=max(timeout_s, float(properties.get("TIMEOUT") or 0)),
    )
    is_judged_by_output = any(properties.get(key) for key in _JUDGED_BY_OUTPUT)
    return Case(
        name,
        target,
        expected_exit=None if is_judged_by_output else 0,
        must_fail=bool(properties.get("WILL_FAIL")) and not is_judged_by_output,
        skip_exit=_number(properties.get("SKIP_RETURN_CODE")),
        is_alone=bool(properties.get("RUN_SERIAL") or properties.get("RESOURCE_LOCK")),
        after=frozenset(_before(name, all_properties)),
    )


def _variables(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries if isinstance(entries, list) else []:
        variable, _, value = str(entry).partition("=")
        if variable:
            yield variable, value


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _before(name: str, all_properties: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """What has to be over before a test: what it depends on, and the fixtures around it."""
    own = all_properties[name]
    yield from map(str, own.get("DEPENDS") or ())
    needed = set(own.get("FIXTURES_REQUIRED") or ())
    cleaned = set(own.get("FIXTURES_CLEANUP") or ())
    for other, properties in all_properties.items():
        if other == name:
            continue
        if needed & set(properties.get("FIXTURES_SETUP") or ()):
            yield other
        if cleaned & set(properties.get("FIXTURES_REQUIRED") or ()):
            yield other
