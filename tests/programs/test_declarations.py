"""Declared programs and services: what is wrong is refused with file, table, key and what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.programs.declarations import DeclaredTarget, read_targets
from pytest_leakguard.programs.toml_table import read_table
from pytest_leakguard.services.declarations import DeclaredService, read_services

COMMAND = 'command = ["a"]\n'
REQUESTS = 'requests = ["GET /"]\n'
IN_BOTH = [
    ("", "command must be a list such as"),
    ('command = "a b"', "command must be a list of strings: "),
    ("command = []", "command must be a list such as"),
    ('command = ["a\\u0000b"]', "command must be a list of strings"),
    (COMMAND + 'comand = ["a"]', "unknown key 'comand'; known: command, "),
    (
        COMMAND + 'tool = "gdb"',
        "tool: invalid choice: 'gdb' (choose from auto, valgrind, sanitizer, memray)",
    ),
    (COMMAND + 'tool = "tracemalloc"', "tool: invalid choice: 'tracemalloc'"),
    (COMMAND + "tool = ['valgrind']", "tool: invalid choice: ['valgrind']"),
    (COMMAND + "cwd = 3", "cwd must be a string: working directory, relative to this file"),
    (COMMAND + 'env = "A=B"', "env must be a table of strings: table of variables"),
    (COMMAND + "env = {A = 1}", "env must be a table of strings"),
    (COMMAND + 'env = {"A=B" = "c"}', "env: 'A=B' cannot be a variable's name"),
    (COMMAND + 'env = {A = "b\\u0000"}', "env must be a table of strings"),
    (COMMAND + "timeout = true", "timeout must be a number or a string: seconds"),
    (COMMAND + "timeout = 0", "timeout: must be a positive number of seconds (got '0')"),
    (COMMAND + 'memory_limit = "big"', "memory_limit: invalid size 'big'"),
    (COMMAND + "memory_limit = [1]", "memory_limit must be a number or a string: "),
]
IN_TARGETS = [
    (COMMAND + "follow_children = 1", "follow_children must be true or false"),
    (COMMAND + "expected_exit = 1.5", 'expected_exit must be a number or "any": exit status'),
    (COMMAND + 'kinds = "no_kind"', "kinds: unknown leak kind 'no_kind'"),
    (COMMAND + "kinds = 3", "kinds must be a string: leak kinds that fail"),
    (COMMAND + "stdin = 3", "stdin must be a string: file, relative to this file"),
    (COMMAND + "suppressions = ['a', 1]", "suppressions must be a list of strings: "),
]
IN_SERVICES = [
    (COMMAND, "it needs either requests or load"),
    (COMMAND + REQUESTS + 'load = ["wrk"]', "it needs either requests or load"),
    (COMMAND + 'requests = ["GET"]', "requests: 'GET' is no request line"),
    (
        COMMAND + 'requests = ["GET /a", {path = "/b", jsn = 1}]',
        "requests: request 2 of 2: unknown",
    ),
    (COMMAND + 'requests = "nowhere.http"', "requests: "),
    (COMMAND + REQUESTS + "headers = 3", "headers of a request is 3; expected a table of strings"),
    (COMMAND + REQUESTS + "count = 0", "count must be a whole number above 0: how many"),
    (COMMAND + REQUESTS + "concurrency = 1.5", "concurrency must be a whole number above 0"),
    (COMMAND + REQUESTS + "ready = 8080", "ready must be a string: http://"),
    (COMMAND + REQUESTS + 'rate = "fast"', "rate: invalid rate 'fast'"),
    (
        COMMAND + REQUESTS + "start_timeout = -1",
        "start_timeout: must be a positive number of seconds (got '-1')",
    ),
    (COMMAND + REQUESTS + "budget = 'x'", "budget: invalid size 'x'"),
]


def targets_of(path: Path) -> tuple[DeclaredTarget, ...]:
    return read_targets(path, 300.0)


def services_of(path: Path) -> tuple[DeclaredService, ...]:
    return read_services(read_table(path), path)


READERS = {"targets": targets_of, "services": services_of}
WRONG = [
    *(("targets", text, why) for text, why in IN_BOTH + IN_TARGETS),
    *(("services", text + ("\n" + REQUESTS if text else ""), why) for text, why in IN_BOTH),
    *(("services", text, why) for text, why in IN_SERVICES),
]


@pytest.mark.parametrize(("kind", "text", "why"), WRONG)
def test_what_is_wrong_is_refused_with_file_table_key_and_expectation(
    kind: str, text: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.leakguard.{kind}.x]\n{text}\n")
    with pytest.raises(UsageProblem) as caught:
        READERS[kind](path)
    assert str(caught.value).startswith(f"{path}: [tool.leakguard.{kind}.x]: {why}")


@pytest.mark.parametrize("kind", sorted(READERS))
def test_an_entry_that_is_no_table_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.leakguard]\n{kind} = 3\n")
    with pytest.raises(UsageProblem, match=rf"as \[tool\.leakguard\.{kind}\.NAME\]"):
        READERS[kind](path)
    path.write_text(f"[tool.leakguard.{kind}]\nx = 3\n")
    with pytest.raises(UsageProblem, match=rf"\[tool\.leakguard\.{kind}\.x\] must be a table"):
        READERS[kind](path)


def test_a_declared_program_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        "[tool.leakguard.targets.export]\n"
        'command = ["./export", "--all"]\ntool = "valgrind"\ncwd = "build"\nenv = {A = "b"}\n'
        'timeout = 60\nexpected_exit = "any"\nkinds = ["definitely_lost"]\n'
        'memory_limit = "512 MiB"\nfollow_children = false\ntool_args = ["-q"]\n'
        'suppressions = ["a.supp"]\nstdin = "in"\n'
    )
    (declared,) = targets_of(path)
    target = declared.target
    assert (declared.name, declared.tool, declared.expected_exit) == ("export", "valgrind", None)
    assert [str(kind) for kind in declared.kinds or ()] == ["definitely_lost"]
    assert (target.argv, target.cwd) == (("./export", "--all"), tmp_path / "build")
    assert (target.env, target.timeout_s) == ((("A", "b"),), 60.0)
    assert (target.memory_limit_bytes, target.follows_children) == (512 << 20, False)
    assert (target.tool_args, target.stdin) == (("-q",), tmp_path / "in")
    assert target.suppressions == (tmp_path / "a.supp",)


def test_a_declared_service_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        "[tool.leakguard.services.shop]\n"
        'command = ["shop"]\nready = "tcp://localhost:80"\nload = ["wrk", "{url}"]\ncount = 5\n'
        'rate = 40\nproduction_limit = "1 MiB"\nbudget = 8\nstart_timeout = "7"\ntimeout = 2.5\n'
    )
    (declared,) = services_of(path)
    assert (declared.name, declared.work, declared.count) == ("shop", ("wrk", "{url}"), 5)
    assert (declared.rate_per_s, declared.production_limit_bytes) == (40.0, 1 << 20)
    assert (declared.budget_bytes, declared.timeout_s, declared.tool) == (8.0, 2.5, None)
    assert (declared.target.ready, declared.target.cwd) == ("tcp://localhost:80", tmp_path)
    assert (declared.target.start_timeout_s, declared.target.memory_limit_bytes) == (7.0, None)


def test_requests_of_a_service_may_be_tables_and_have_headers_in_common(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    (tmp_path / "cat.jpg").write_bytes(b"cat")
    path.write_text(
        "[tool.leakguard.services.x]\n"
        + COMMAND
        + """
requests = ["GET /a", {path = "/b", files = {photo = "cat.jpg"}}]
headers = {X-A = "1"}
auth = ["me", "secret"]
verify = "ca.pem"
"""
    )
    (declared,) = services_of(path)
    assert isinstance(declared.work, tuple)
    line, upload = declared.work
    assert (line.path, upload.files[0].content) == ("/a", b"cat")  # type: ignore[attr-defined]
    assert declared.sending.verify == str(tmp_path / "ca.pem") == declared.target.verify
    assert [name for name, _ in declared.sending.headers] == ["X-A", "Authorization"]
