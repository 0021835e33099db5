"""``pytest-leakguard report``: makes every other report from ``report.json``.

From the reports of several shards it makes one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_leakguard.core.errors import MalformedReport, UsageProblem
from pytest_leakguard.core.text import one_line
from pytest_leakguard.reporters import conclude, json_reader, terminal
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.reporters.history import Earlier, in_order
from pytest_leakguard.reporters.json import FORMAT
from pytest_leakguard.reporters.merge import Shard, merge

DEFAULT = "leakguard-report"
_HEAD_BYTES = 200
"""Where a report says what it is: at its very beginning."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``report``."""
    parser.add_argument(
        "directories",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="holds report.json, or shards that do",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"where to write (default: DIR itself; {DEFAULT})",
    )
    parser.add_argument(
        "--history",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="holds reports of earlier runs: report.html says since when each leak is there",
    )
    parser.add_argument(
        "--expect-shards",
        type=int,
        metavar="N",
        help="fail unless exactly so many reports are found",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="explain every leak and list every check that is not clean; -vv: all stack frames",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="one line per leak, and the result"
    )
    parser.set_defaults(action=_report)


def _report(arguments: argparse.Namespace) -> int:
    if arguments.expect_shards is not None and arguments.expect_shards < 1:
        raise UsageProblem(f"--expect-shards {arguments.expect_shards}: a number above 0 is needed")
    files = list(dict.fromkeys(_files(arguments.directories, arguments.output)))
    output = arguments.output or _default_output(arguments.directories, files)
    run = merge([_shard(file, problem) for file, problem in files], arguments.expect_shards)
    # Each shard has annotated its leaks already; the whole has problems of its own.
    history = _history(arguments.history, files)
    wanted = conclude.Wanted(report=output, history=history, annotates_checks=False)
    conclusion = conclude.conclude(run, wanted)
    verbosity = -1 if arguments.quiet else arguments.verbose
    conclude.print_verdict(conclusion, verbosity, conclude.door_of(terminal.PYTEST, output))
    for text in conclusion.annotations:
        print(text)
    return conclusion.verdict.exit_status


def _history(directories: Sequence[Path], present: Sequence[_Found]) -> tuple[Earlier, ...]:
    """What the reports below ``directories`` say, without those that are reported now.

    One that cannot be read is named and left out: what is judged does not depend on it.
    """
    here = {file.resolve() for file, _ in present}
    runs = []
    for directory in directories:
        if not directory.is_dir():
            raise UsageProblem(f"--history {directory}: no such directory")
        for path in sorted(_reports_in(directory)):
            if path.resolve() in here:
                continue
            try:
                runs.append(json_reader.read_run(path))
            except MalformedReport as error:
                print(one_line(f"note: left out of the history: {error}"), file=sys.stderr)
    return in_order(runs)


_Found = tuple[Path, str]
"""A report, or a place where one should be and what is wrong with it."""


def _files(directories: Sequence[Path], output: Path | None) -> Iterator[_Found]:
    for directory in directories:
        if directory.is_file():
            yield directory, ""
        elif not directory.exists():
            yield (
                directory,
                "no such file or directory; did the job that writes it run, and was it downloaded?",
            )
        else:
            yield from _found_in(directory, output)


def _found_in(directory: Path, output: Path | None) -> Iterator[_Found]:
    found = []
    for path in sorted(_reports_in(directory)):
        if not _is_output(path, output, directory):
            found.append((path, ""))
    if not found:
        why = "holds no report.json; did the job that writes it run with --leakguard-report?"
        found.append((directory, why))
    yield from found


def _reports_in(directory: Path) -> Iterator[Path]:
    """What is called ``report.json``, or says that it is a report: jobs give it other names."""
    for path in directory.rglob("*.json"):
        if path.name == "report.json" or (path.is_file() and _says_report(path)):
            yield path


def _says_report(path: Path) -> bool:
    with path.open("rb") as stream:
        return f'"{FORMAT}"'.encode() in stream.read(_HEAD_BYTES)


def _is_output(path: Path, output: Path | None, directory: Path) -> bool:
    """What an earlier merge has left inside its own input."""
    return (
        output is not None
        and output.resolve() != directory.resolve()
        and path.parent.resolve() == output.resolve()
    )


def _shard(file: Path, problem: str) -> Shard:
    if problem:
        return Shard(str(file), None, problem)
    if unfinished := reports.why_unfinished(file.parent):
        return Shard(_name(file), None, unfinished)
    try:
        return Shard(_name(file), json_reader.read_run(file))
    except MalformedReport as error:
        return Shard(_name(file), None, str(error).removeprefix(f"{file}: "))


def _name(file: Path) -> str:
    return str(file.parent if file.name == "report.json" and file.parent != Path() else file)


def _default_output(directories: Sequence[Path], files: Sequence[_Found]) -> Path:
    """Beside a report that is converted; a directory of its own for what is merged."""
    if len(files) == 1 and files[0][0].name == "report.json":
        return files[0][0].parent
    output = Path(DEFAULT)
    if any(file.parent.resolve() == output.resolve() for file, _ in files):
        raise UsageProblem(
            f"{output} is one of the reports to be merged; name another place with --output"
        )
    return output
