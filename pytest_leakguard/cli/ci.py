"""``pytest-leakguard ci``: what the gates of build systems call, so that they decide nothing."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pytest_leakguard.ci import pull_request_comment, requirements
from pytest_leakguard.ci.gate import ERROR, GateResult, read_result
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.text import one_line
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.programs.tools.base import Backend
from pytest_leakguard.reporters import github
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.reporters.conclude import is_github
from pytest_leakguard.reporters.markdown import code
from pytest_leakguard.verdict import CLEAN

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """``clear``, ``result``, ``needs-valgrind``, ``comment`` and ``words`` under ``parser``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    result = actions.add_parser(
        "result", help="pass, fail or error of a finished run, from its report directory"
    )
    result.add_argument("directory", type=Path, metavar="DIR")
    result.add_argument(
        "--pytest-exit", type=int, metavar="N", help="exit status that pytest ended with"
    )
    result.set_defaults(action=_result)
    clear = actions.add_parser(
        "clear", help="remove what an earlier run has left, so that it cannot answer for the next"
    )
    clear.add_argument("directory", type=Path, metavar="DIR")
    clear.set_defaults(action=_clear)
    for backend in BACKENDS.values():
        if backend.is_system_package:
            _add_needs(actions, backend)
    comment = actions.add_parser(
        "comment", help="comment on the pull request of a finished run; for workflow_run"
    )
    comment.add_argument("directory", type=Path, metavar="DIR")
    comment.set_defaults(action=_comment)
    words = actions.add_parser(
        "words", help="the words of a shell-like text in a variable, each ended by a NUL"
    )
    words.add_argument("variable", metavar="VARIABLE")
    words.set_defaults(action=_words)


def _add_needs(actions: Commands, backend: Backend) -> None:
    needs = actions.add_parser(
        f"needs-{backend.name}",
        help=f"yes or no: does a target or test here need {backend.name} installed",
    )
    needs.add_argument("directory", type=Path, nargs="?", default=Path(), metavar="DIR")
    needs.set_defaults(action=partial(_needs, backend))


def _clear(arguments: argparse.Namespace) -> int:
    reports.forget(arguments.directory)
    return CLEAN


def _result(arguments: argparse.Namespace) -> int:
    answer = read_result(arguments.directory, arguments.pytest_exit)
    if os.environ.get("GITHUB_OUTPUT"):
        _write_outputs(Path(os.environ["GITHUB_OUTPUT"]), answer)
    if answer.result == ERROR and is_github(os.environ):
        print(github.command("error", "leakguard gate", f"inconclusive: {answer.why}"))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if answer.result == ERROR and summary and not answer.outputs()["summary"]:
        # The run itself has left no summary, so that nobody else says why.
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(f"## ❌ leakguard: inconclusive\n\n{code(answer.why)}\n")
    print(f"leakguard gate: {answer.result}: {answer.why}")
    return answer.exit_status


def _write_outputs(path: Path, answer: GateResult) -> None:
    """Appends to GitHub's file in the form whose end a value cannot guess."""
    with path.open("a", encoding="utf-8") as file:
        for name, value in answer.outputs().items():
            end = f"end-{secrets.token_hex(16)}"
            file.write(f"{name}<<{end}\n{value}\n{end}\n")


def _needs(backend: Backend, arguments: argparse.Namespace) -> int:
    why = requirements.why_needed(backend, arguments.directory.absolute())
    print("yes" if why else "no")
    if why:
        print(one_line(f"{backend.name} is needed by {why}"), file=sys.stderr)
    return CLEAN


def _comment(arguments: argparse.Namespace) -> int:
    print(one_line(pull_request_comment.post(arguments.directory)))
    return CLEAN


def _words(arguments: argparse.Namespace) -> int:
    try:
        words = shlex.split(os.environ.get(arguments.variable, ""), comments=False)
    except ValueError as error:
        raise UsageProblem(f"{arguments.variable}: {error}") from None
    sys.stdout.write("".join(f"{word}\0" for word in words))
    return CLEAN
