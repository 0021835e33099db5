"""One pytest session with --leakguard: hands out the fixture, collects checks, judges the run."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.baseline.compare import Baseline, compare
from pytest_leakguard.core import clock, patterns
from pytest_leakguard.core import settings as options
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.codec import decode, encode
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.options import OPTIONS, Option
from pytest_leakguard.core.patterns import Patterns, Rule
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.core.text import counted, one_line
from pytest_leakguard.counters import originals
from pytest_leakguard.counters.originals import Original
from pytest_leakguard.programs.toml_table import read_patterns
from pytest_leakguard.pytest_integration import _other_plugins, _pytest_internals
from pytest_leakguard.pytest_integration.github_output import Muzzle
from pytest_leakguard.pytest_integration.isolation import RUNNER_CACHES
from pytest_leakguard.pytest_integration.progress import Progress
from pytest_leakguard.pytest_integration.unmeasured import MEASURED
from pytest_leakguard.reporters import accepted, conclude, terminal
from pytest_leakguard.reporters import write as reports
from pytest_leakguard.reporters.conclude import Conclusion
from pytest_leakguard.screening.instruments import NATIVE_OFF
from pytest_leakguard.verdict import Judged, Run, Selection, judge_check

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.fixture import Leakguard
    from pytest_leakguard.screening.loop import Harness
    from pytest_leakguard.screening.watch import Watches


CHECKS = pytest.StashKey[list[Check]]()
FIXTURE = pytest.StashKey["Leakguard"]()
ELSEWHERE = "leakguard_elsewhere"
SPENT = "leakguard_spent_s"
OUTCOME = "leakguard_outcome"
_MOST_ERRORS = 3
"""Files named of those that could not be collected; pytest itself shows each with its traceback."""
TRANSPORT = "leakguard_checks"
"""Attribute of a test report; pytest-xdist sends it with the report, so it survives a worker that
crashes later."""


class Session:
    """The plugin object that lives while --leakguard is on."""

    def __init__(self, config: pytest.Config, settings: Settings, baseline: Baseline) -> None:
        self.config, self.settings, self.baseline = config, settings, baseline
        self.policy = conclude.policy_of(settings)
        self.checks: dict[str, Check] = {}
        self._made: dict[str, Check] = {}
        """Those of this process that are on their way with a report."""
        self.conclusion: Conclusion | None = None
        """The end of the run; ``None`` until then, and in a worker for good."""
        self.problems: list[str] = []
        """What the run as a whole could not answer."""
        self.wanted: list[str] = []
        """Tests asked for, before pytest-split leaves some to other shards."""
        self.selected: dict[str, None] = {}
        self.uncollected: dict[str, str] = {}
        """Files and folders that could not be collected, each with its error."""
        self.ran: set[str] = set()
        self.elsewhere: set[str] = set()
        self.is_worker = _other_plugins.is_xdist_worker(config)
        self.is_sent = False
        """This is a child that pytest-forked has made for one test, whose reports it sends."""
        self._pid = Original.getpid()
        self.muzzle = Muzzle(config, self.is_worker)
        self.progress = Progress(config)
        self.patterns = Patterns()
        self.spent_s = 0.0
        """What screening has added to the time of the tests, here and in workers."""
        self._watches: Watches | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> Session:
        """Reads options and baseline; what is wrong with them ends the run with exit status 4."""
        try:
            given = {option.name: _given(config, option) for option in OPTIONS}
            settings = options.resolve(given, _root(config), os.environ)
            is_worker = _other_plugins.is_xdist_worker(config)
            if settings.report is not None and not is_worker and not only_shows(config):
                # Before anything can go wrong, so that no old one is taken for ours.
                reports.clear(settings.report)
            baseline = accepted.read(settings, given["baseline"] is not None)
            chosen = _patterns(config)
        except (UsageProblem, OSError) as problem:
            raise pytest.UsageError(f"leakguard: {problem}") from None
        session = cls(config, settings, baseline)
        session.patterns = chosen
        return session

    def fixture_for(self, item: pytest.Item) -> Leakguard:
        """The ``leakguard`` of one test, with its marker applied."""
        # Imports what services need, which most runs do not.
        from pytest_leakguard.pytest_integration.fixture import Leakguard

        path, line, _ = item.location
        leakguard = Leakguard(
            item.nodeid,
            _marked(item, self.settings),
            lambda check: self.record(item, check),
            self.policy,
            (path, (line or 0) + 1),
            self.progress,
            self._harness,
            self._watches_of_session,
        )
        item.stash[FIXTURE] = leakguard
        return leakguard

    def _watches_of_session(self) -> Watches:
        """One for all tests: a block may be entered by several of them."""
        if self._watches is None:
            from pytest_leakguard.screening.watch import Watches

            self._watches = Watches(self._harness(), self.settings.native != "off")
        return self._watches

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Judges what the test has watched, as a part of its call."""
        result = yield
        leakguard = item.stash.get(FIXTURE, None)
        if leakguard is not None:
            leakguard.finish()
        return result

    def _harness(self) -> Harness:
        """pytest's part in a loop that begins now."""
        from pytest_leakguard.pytest_integration.capture import Captured
        from pytest_leakguard.screening.loop import Harness

        return Harness(
            Captured(self.config).trim,
            _pytest_internals.temporary_directories(self.config),
            RUNNER_CACHES,
            self.progress,
        )

    def record(self, item: pytest.Item, check: Check) -> Judged:
        """Keeps the check with the test, to travel with its report, and says what its answer is."""
        check = self.chosen(check)
        item.stash.setdefault(CHECKS, []).append(check)
        item.stash[MEASURED] = True
        judged = self._answer(check)
        item.user_properties.extend(_properties(judged))
        return judged

    def attach(self, report: pytest.TestReport, check: Check) -> Judged:
        """Sends a check made after the test along with its report, and says what its answer is."""
        check = self.chosen(check)
        judged = self._answer(check)
        if self.is_worker or self.is_sent:
            # Another process reads it; pytest-forked sends nothing but plain types.
            data = json.loads(json.dumps(encode(check, is_lean=True)))
        else:
            self._made[check.id] = check
            data = {"id": check.id}
        setattr(report, TRANSPORT, [*getattr(report, TRANSPORT, []), data])
        if judged.has_failed:  # any other report is what it is without us
            setattr(report, OUTCOME, judged.outcome.value)
            report.user_properties.extend(_properties(judged))
        return judged

    def settings_of(self, item: pytest.Item) -> Settings:
        """The settings of one test, with its marker applied."""
        return _marked(item, self.settings)

    def chosen(self, check: Check) -> Check:
        """``check`` with the findings marked that the project does not want to hear of."""
        return patterns.apply(check, self.patterns, clock.today())

    def _answer(self, check: Check) -> Judged:
        if check.findings:
            check = compare((check,), self.baseline, clock.today()).checks[0]
        return judge_check(check, self.policy)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Sends the checks made so far along with the report of the phase that made them."""
        report = yield
        checks = item.stash.get(CHECKS, [])
        if checks:
            setattr(report, TRANSPORT, [encode(check, is_lean=True) for check in checks])
            report.leakguard_outcome = self._answer(checks[-1]).outcome.value
            item.stash[CHECKS] = []
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collects them where the session ends; a rerun replaces what the first run said."""
        if self.is_worker:
            return
        self.ran.add(report.nodeid)
        for data in report.__dict__.pop(TRANSPORT, ()):  # other plugins write down what they find
            check = self._made.get(data["id"]) or decode(Check, data)
            self.checks[check.id] = check

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Which tests this process is to run.

        What pytest-split took away is left to other shards.
        """
        ids = [item.nodeid for item in session.items]
        self.selected.update(dict.fromkeys(ids))
        if _other_plugins.is_split(self.config):
            self.elsewhere = set(self.wanted).difference(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What could not be collected, such as a file that imports a missing module."""
        if report.failed:
            self.uncollected[report.nodeid] = _error_of(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """The same from a worker of pytest-xdist."""
        self.selected.update(dict.fromkeys(ids))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker that ended too early: what it had reported is kept, and the run is not whole."""
        output = _other_plugins.xdist_output_of(node)
        if error or output is None:
            name = _other_plugins.xdist_name_of(node)
            self.problems.append(f"worker {name} crashed: what it had not yet reported is lost")
        else:
            self.elsewhere.update(output.get(ELSEWHERE, ()))
            self.spent_s += output.get(SPENT, 0.0)

    def pytest_report_header(self) -> str:
        """What is on, at the start of the session."""
        return conclude.what_is_on(self.settings, self.baseline)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """``L`` for a test that fails because of a leak, ``I`` for an inconclusive check."""
        words = {
            Outcome.LEAK: ("failed", "L", "LEAK"),
            Outcome.INCONCLUSIVE: ("failed", "I", "INCONCLUSIVE"),
        }
        outcome = getattr(report, "leakguard_outcome", None)
        return words.get(Outcome(outcome)) if report.failed and outcome else None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Judges the run, writes every report, and only then decides the exit status."""
        if Original.getpid() != self._pid:
            return  # a child that a test has forked and that has come back to pytest
        if self.is_worker:
            output = _other_plugins.xdist_output(self.config)
            output[ELSEWHERE], output[SPENT] = sorted(self.elsewhere), self.spent_s
        if self.is_worker or only_shows(self.config) or runs_no_test(self.config):
            return
        with originals.in_place():
            run = self._run_of(session, exitstatus)
            self.conclusion = conclude.conclude(run, conclude.Wanted.by(self.settings))
            said = patterns.remarks(run.checks, self.patterns, clock.today())
            messages = (*self.conclusion.messages, *said)
            self.conclusion = replace(self.conclusion, messages=messages)
        if exitstatus == pytest.ExitCode.OK and self.conclusion.verdict.has_failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _run_of(self, session: pytest.Session, exitstatus: int) -> Run:
        """All that was measured, ready to be judged."""
        never_ran = tuple(name for name in self.selected if name not in self.ran)
        was_interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        problems = [*self.problems, *_not_collected(self.uncollected)]
        if never_ran and (session.shouldstop or session.shouldfail or was_interrupted):
            problems.append(
                f"the run was stopped early: {counted(len(never_ran), 'selected test')} never ran"
            )
        checked = {check.id.partition("#")[0] for check in self.checks.values()} | set(self.checks)
        return conclude.run_of(
            [self.checks[key] for key in sorted(self.checks)],
            self.baseline,
            self.settings,
            problems=tuple(problems),
            notes=(NATIVE_OFF,) if self.settings.native == "off" else (),
            selection=Selection(
                ran_unchecked=tuple(sorted(self.ran - checked)),
                never_ran=tuple(sorted(never_ran)),
                elsewhere=tuple(sorted(self.elsewhere - self.ran)),
            ),
        )

    @pytest.hookimpl(tryfirst=True, specname="pytest_terminal_summary")
    def pytest_leakguard_section(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The leakguard section."""
        self.muzzle.resume(terminalreporter)
        if self.conclusion is None:
            return
        terminalreporter.write_sep("=", "leakguard")
        lines = terminal.render(
            self.conclusion.verdict,
            self.policy,
            self.settings.root,
            self.config.get_verbosity(),
            conclude.door_of(terminal.PYTEST, self.settings.report),
            _pytest_internals.terminal_columns(terminalreporter),
            self.spent_s,
        )
        for line in lines:
            terminalreporter.write_line(line.text, **({line.colour: True} if line.colour else {}))
        for text in (*self.conclusion.messages, *self.conclusion.annotations):
            terminalreporter.write_line(text)


def _error_of(report: pytest.CollectReport) -> str:
    """``ModuleNotFoundError: No module named 'shop'``: the last line that says what went wrong."""
    lines = report.longreprtext.strip().splitlines()
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return one_line((errors or lines or ["no reason was given"])[-1])


def _not_collected(errors: Mapping[str, str]) -> Iterator[str]:
    """One problem for all of them, with the errors of the first."""
    if errors:
        told = [f"{name}: {error}" for name, error in list(errors.items())[:_MOST_ERRORS]]
        more = f" and {len(errors) - len(told)} more" if len(errors) > len(told) else ""
        yield f"{counted(len(errors), 'file')} could not be collected: {'; '.join(told)}{more}"


def runs_no_test(config: pytest.Config) -> bool:
    """Fixtures are set up or shown, and no test is run, so there is nothing to check.

    ``--pdb`` and ``--trace`` stop in a test's own run, and nowhere in later ones.
    """
    return any(config.getoption(name, False) for name in ("setuponly", "setupplan"))


def only_shows(config: pytest.Config) -> bool:
    """Tests or fixtures are listed, and nothing is run or written."""
    listing = ("collectonly", "showfixtures", "show_fixtures_per_test")
    return any(config.getoption(name, False) for name in listing)


def session_of(config: pytest.Config) -> Session:
    """The session of a run that is switched on."""
    session = config.pluginmanager.get_plugin("leakguard-session")
    assert isinstance(session, Session)
    return session


def _given(config: pytest.Config, option: Option) -> Any:
    """Command line before ini; ``None`` when neither says anything.

    Raises ``UsageProblem``.
    """
    value = config.getoption(option.ini, None)
    if value is not None:
        return value
    try:
        ini = _pytest_internals.ini_value(config, option.ini)
    except (pytest.UsageError, TypeError, ValueError) as problem:
        raise UsageProblem(f"{option.flag}: {problem}") from None
    return None if ini in ("", []) else ini


def _patterns(config: pytest.Config) -> Patterns:
    """What the project declares, and what other plugins ship."""
    declared = read_patterns(config.rootpath / "pyproject.toml")
    shipped: list[Rule] = []
    for entries in config.hook.pytest_leakguard_ignore(config=config):
        shipped.extend(patterns.read(entries, "pytest_leakguard_ignore"))
    return Patterns((*declared.ignore, *shipped), declared.only)


def _root(config: pytest.Config) -> Path:
    """The directory of the ini file, where the baseline lives.

    The root directory when there is none.
    """
    return config.inipath.parent if config.inipath else config.rootpath


def _marked(item: pytest.Item, settings: Settings) -> Settings:
    marker = item.get_closest_marker("leakguard")
    if marker is None:
        return settings
    known = {option.in_marker: option for option in OPTIONS if option.in_marker}
    changes: dict[str, Any] = {}
    for key, value in marker.kwargs.items():
        if key in ("skip", "iterations"):
            continue
        changes[_FIELDS[key]] = options.value_of(known[key], value)
    return replace(settings, **changes)


_FIELDS = {
    "tool": "tool",
    "budget": "budget_bytes",
    "kinds": "kinds",
    "errors": "errors",
    "timeout": "timeout_s",
    "confirm": "confirm_s",
}


def _properties(judged: Judged) -> Iterator[tuple[str, str]]:
    from pytest_leakguard.reporters import junit

    return junit.properties(judged)
