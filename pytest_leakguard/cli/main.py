"""``pytest-leakguard``: argv in, exit status out. 0 clean, 1 leaks, 2 usage, 3 inconclusive."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_leakguard import __version__
from pytest_leakguard.baseline import store
from pytest_leakguard.baseline.compare import Baseline
from pytest_leakguard.cli import baseline as baseline_cli
from pytest_leakguard.cli import (
    ci,
    completion,
    ctest,
    ending,
    explain,
    init,
    private_names,
    screening,
    trend,
)
from pytest_leakguard.cli import report as report_cli
from pytest_leakguard.core import clock, patterns
from pytest_leakguard.core import settings as options
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.core.options import OPTIONS, TOOLS
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.core.text import one_line, printable
from pytest_leakguard.growth.diagnosis import Production
from pytest_leakguard.growth.recordings import Asked, unit_of
from pytest_leakguard.programs import check as pipeline
from pytest_leakguard.programs import doctor, existing_reports
from pytest_leakguard.programs.toml_table import read_patterns
from pytest_leakguard.reporters import accepted, conclude, junit, terminal
from pytest_leakguard.reporters import json as report_json
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.verdict import CLEAN, INCONCLUSIVE, USAGE

_RUN_OPTIONS = tuple(
    "baseline accept prune report missing-tool strict kinds errors timeout".split()
)
"""Options of the table that ``run`` and ``check`` take as well."""
_DOOR = terminal.Door(
    accept="--accept",
    prune="the same command with --prune",
    all_leaks="--report=DIR (report.html, report.json)",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its return value is the exit status."""
    _open_closed_streams()
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.action(arguments)
        sys.stdout.flush()
        return status
    except UsageProblem as problem:
        print(f"pytest-leakguard: {one_line(str(problem))}", file=sys.stderr)
        return USAGE
    except LeakguardError as error:
        print(f"pytest-leakguard: {one_line(str(error))}", file=sys.stderr)
        return INCONCLUSIVE
    except KeyboardInterrupt:
        print("pytest-leakguard: interrupted: inconclusive", file=sys.stderr)
        return INCONCLUSIVE
    except BrokenPipeError:
        # Whoever reads has gone; without this the interpreter complains when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INCONCLUSIVE
    except OSError as error:
        file = f"{one_line(str(error.filename))}: " if error.filename else ""
        print(f"pytest-leakguard: {file}{error.strerror or error}", file=sys.stderr)
        return INCONCLUSIVE


def _open_closed_streams() -> None:
    """Gives standard output and error somewhere to go where whoever started us has closed them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # open to the end
            setattr(sys, name, stream)


def _parser(
    kind: type[argparse.ArgumentParser] = argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    parser = kind(prog="pytest-leakguard", description="Fails when a change leaks.")
    parser.add_argument("--version", action="version", version=f"pytest-leakguard {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init.add_arguments(
        commands.add_parser("init", help="write what CI, pre-commit, tox or nox needs")
    )
    _add_run(
        commands.add_parser(
            "run", help="check one program: run [options] -- PROGRAM [ARGUMENT ...]"
        )
    )
    _add_check(commands.add_parser("check", help="check valgrind, sanitizer and memray reports"))
    _add_ctest(
        commands.add_parser("ctest", help="run every test of CTest under a tool: --test-dir build")
    )
    _add_trend(
        commands.add_parser(
            "trend",
            help="analyse a recorded memory series (CSV, JSON, psrecord, pidstat, sar, ...)",
        )
    )
    _add_doctor(
        commands.add_parser("doctor", help="verify that the tools on this machine detect leaks")
    )
    report_cli.add_arguments(
        commands.add_parser("report", help="write all reports from report.json, or merge shards")
    )
    explain.add_arguments(commands.add_parser("explain", help="show the details of one leak"))
    baseline_cli.add_commands(
        commands.add_parser("baseline", help="accept, prune, check or merge accepted leaks")
    )
    ci.add_commands(commands.add_parser("ci", help="helpers for CI integrations"))
    completion.add_arguments(
        commands.add_parser("completion", help="print the script that completes in a shell"),
        _parser,
    )
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    for option in OPTIONS:
        if option.name not in _RUN_OPTIONS:
            continue
        if option.is_flag:
            parser.add_argument(
                f"--{option.name}", action="store_const", const=True, help=option.help
            )
        else:
            parser.add_argument(f"--{option.name}", metavar=option.placeholder, help=option.help)
    parser.add_argument(
        "--owner", default="", help="owner of the leaks that --accept adds to the baseline"
    )
    parser.add_argument(
        "--json", metavar="PATH", help="write the report as JSON; - for standard output"
    )
    parser.add_argument("--junit", metavar="PATH", help="write JUnit XML")
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


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tool", default="auto", choices=TOOLS)
    parser.add_argument(
        "--name",
        help="name of the check in reports and baseline (default: the program's file name)",
    )
    parser.add_argument(
        "--expected-exit", default="0", help='exit status of the program, minus a signal, or "any"'
    )
    parser.add_argument("--memory-limit", help="resident size, whole process tree, such as 512MiB")
    parser.add_argument(
        "--no-follow-children", action="store_true", help="check only the program itself"
    )
    parser.add_argument(
        "--follow",
        action="append",
        default=[],
        metavar="PATTERN",
        help="programs that count, of those it starts (default: all but the system's)",
    )
    parser.add_argument("--suppressions", action="append", default=[], metavar="FILE")
    parser.add_argument("--tool-arg", action="append", default=[], metavar="ARG")
    _add_shared(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- PROGRAM [ARGUMENT ...]")
    parser.set_defaults(action=_run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_shared(parser)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="report, log, directory, pattern, archive or pipe; - is standard input",
    )
    parser.set_defaults(action=_check)


def _add_ctest(parser: argparse.ArgumentParser) -> None:
    ctest.add_arguments(parser)
    _add_shared(parser)
    parser.set_defaults(action=_ctest)


def _add_trend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="JSON of arrays, CSV, psrecord, pidstat, sadf, Prometheus, Grafana, or what sar -r, "
        "ps, free, top, pmap, docker stats, kubectl top or files of /proc print; "
        "- for standard input",
    )
    parser.add_argument(
        "--against",
        metavar="FILE",
        help="does FILE's other group grow more slowly, and by how much",
    )
    parser.add_argument("--unit", metavar="UNIT", help="of numbers without one: B, KiB, MiB or GiB")
    parser.add_argument(
        "--column", metavar="TEXT", help="part of the heading or labels of the series that is meant"
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="PATH",
        help="write the answer as JSON; without PATH to standard output",
    )
    parser.add_argument(
        "--rate", metavar="N", help="production requests per second, for the forecast"
    )
    parser.add_argument(
        "--memory-limit", metavar="SIZE", help="of production, such as 512MiB, for the forecast"
    )
    parser.add_argument(
        "--runtime", choices=("v8", "jvm"), help="whose heap it is, where no live heap was recorded"
    )
    parser.set_defaults(action=_trend)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="PATH", help="write the answers as JSON; - for standard output"
    )
    parser.set_defaults(action=_doctor)


def _settings(arguments: argparse.Namespace) -> Settings:
    given = {name: getattr(arguments, name.replace("-", "_")) for name in _RUN_OPTIONS}
    settings = options.resolve(given, Path.cwd(), os.environ)
    if settings.report is not None:
        reports.clear(settings.report)
    return settings


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageProblem(
            "missing program; usage: pytest-leakguard run [options] -- PROGRAM [ARGUMENT ...]"
        )
    settings = _settings(arguments)
    limit = arguments.memory_limit
    target = Target(
        argv=tuple(command),
        timeout_s=settings.timeout_s,
        memory_limit_bytes=int(options.size(limit)) if limit else None,
        follows_children=not arguments.no_follow_children,
        follow=tuple(arguments.follow),
        suppressions=tuple(Path(file).absolute() for file in arguments.suppressions),
        tool_args=tuple(arguments.tool_arg),
    )
    baseline = accepted.read(settings, arguments.baseline is not None)
    name = arguments.name or Path(command[0]).name
    expected_exit = _expected(arguments.expected_exit)
    with ending.tidy():
        check = pipeline.check_program(target, settings, name, arguments.tool, expected_exit)
    return _conclude((check,), baseline, settings, arguments)


def _expected(text: str) -> int | None:
    if text == "any":
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageProblem(f"--expected-exit: must be a number or any (got {text!r})") from None


def _check(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    baseline = accepted.read(settings, arguments.baseline is not None)
    with ending.tidy():
        checks = existing_reports.check_files(arguments.files, settings)
    return _conclude(checks, baseline, settings, arguments)


def _ctest(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    baseline = accepted.read(settings, arguments.baseline is not None)
    return _conclude(ctest.checks(arguments, settings), baseline, settings, arguments)


def _conclude(
    checks: tuple[Check, ...], baseline: Baseline, settings: Settings, arguments: argparse.Namespace
) -> int:
    """Judges, writes what was asked for, prints, and only then returns the exit status."""
    declared = read_patterns(settings.root / "pyproject.toml")
    today = clock.today()
    checks = tuple(patterns.apply(check, declared, today) for check in checks)
    run = conclude.run_of(checks, baseline, settings)
    wanted = replace(
        conclude.Wanted.by(settings), files=_single_files(arguments), owner=arguments.owner
    )
    conclusion = conclude.conclude(run, wanted)
    said = patterns.remarks(checks, declared, today)
    conclusion = replace(conclusion, messages=(*conclusion.messages, *said))
    is_json_on_stdout = arguments.json == "-"
    if is_json_on_stdout:
        sys.stdout.write(report_json.render(conclusion.verdict, run))
    else:
        verbosity = -1 if arguments.quiet else arguments.verbose
        conclude.print_verdict(conclusion, verbosity, conclude.door_of(_DOOR, settings.report))
    for text in conclusion.annotations:
        print(text, file=sys.stderr if is_json_on_stdout else sys.stdout)
    return conclusion.verdict.exit_status


def _single_files(arguments: argparse.Namespace) -> tuple[tuple[Path, conclude.Render], ...]:
    """The reports that ``--json`` and ``--junit`` ask for."""
    files: list[tuple[Path, conclude.Render]] = []
    if arguments.json and arguments.json != "-":
        files.append((Path(arguments.json), report_json.render))
    if arguments.junit:
        files.append((Path(arguments.junit), junit.render))
    return tuple(files)


def _trend(arguments: argparse.Namespace) -> int:
    production = Production(
        options.rate(arguments.rate) if arguments.rate else 0.0,
        int(options.size(arguments.memory_limit)) if arguments.memory_limit else 0,
    )
    asked = Asked(unit_of(arguments.unit) if arguments.unit else 0.0, arguments.column or "")
    text = store.read_recording(arguments.file)
    if arguments.against:
        other = store.read_recording(arguments.against)
        answer, status = trend.compare_recordings(
            text, arguments.file, other, arguments.against, asked
        )
        print(printable(answer))
        return status
    report = trend.judge_recording(text, arguments.file, production, arguments.runtime or "", asked)
    if arguments.json and arguments.json != "-":
        store.write_text(Path(arguments.json), trend.as_json(report))
    if arguments.json == "-":
        sys.stdout.write(trend.as_json(report))
    else:
        print(printable(trend.as_text(report)))
    return report.exit_status


def _doctor(arguments: argparse.Namespace) -> int:
    of_screening = screening.examine()  # first, before anybody looks up the address of malloc
    with ending.tidy():
        answers, of_names = doctor.examine(), private_names.examine()
    everything = (*answers, *of_screening, *of_names)
    if arguments.json == "-":
        sys.stdout.write(doctor.as_json(everything))
    else:
        if arguments.json:
            store.write_text(Path(arguments.json), doctor.as_json(everything))
        of_tests = (*screening.render(of_screening), *private_names.render(of_names))
        for line in (*doctor.render(answers), *of_tests):
            print(printable(line))
    found = {answer.tool for answer in answers if answer.path}
    seeing = {answer.tool for answer in answers if answer.sees_leaks}
    if not all(answer.sees_leaks for answer in (*of_screening, *of_names)):
        return INCONCLUSIVE
    return CLEAN if seeing and found == seeing else INCONCLUSIVE


if __name__ == "__main__":
    sys.exit(main())
