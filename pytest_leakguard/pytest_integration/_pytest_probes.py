"""Probes for what is private to pytest: a small session is run, and looked at while it runs."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.core.probes import Probe, expect
from pytest_leakguard.pytest_integration import _pytest_internals as internals

_TESTS = """\
import logging, sys, unittest, pytest

@pytest.fixture(scope="module")
def local():
    yield 7

@pytest.mark.parametrize("number", [7])
def test_function(number, local, tmp_path, capsys):
    print("probe")
    logging.getLogger("leakguard").warning("probe")

class TestInClass:
    def test_method(self):
        print("probe", flush=True)

class TestOfUnittest(unittest.TestCase):
    def test_method(self):
        pass
"""
_NOT_REACHED = "the session that probes it did not come so far"


def probes() -> tuple[Probe, ...]:
    """One for each private name of pytest.

    Runs the session, which takes some tenths of a second.
    """
    session = _Session()
    session.run()
    found = []
    for name in _NAMES:
        found.append(Probe(name, _answer(session.answers.get(name, session.failure))))
    return tuple(found)


def _answer(problem: str) -> Callable[[], str]:
    return lambda: problem


class _Session:
    """Registered as a plugin of the session that it runs."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.failure = _NOT_REACHED

    def run(self) -> None:
        """Fills ``answers``; a probe that raises has its exception for an answer."""
        output = io.StringIO()
        with tempfile.TemporaryDirectory(prefix="leakguard-probe-") as name:
            root = Path(name)
            file, junit = root / "test_probe.py", root / "junit.xml"
            file.write_text(_TESTS, encoding="utf-8")
            (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
            options = ["--disable-plugin-autoload", "-p", "no:cacheprovider", "--capture=fd"]
            places = [f"--rootdir={root}", f"--basetemp={root / 'tmp'}", f"--junitxml={junit}"]
            arguments = [*options, *places, "-c", str(root / "pytest.ini"), str(file)]
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                status = pytest.main([*arguments, "--import-mode=importlib"], plugins=[self])
        if status != pytest.ExitCode.OK:
            self.failure = f"{_NOT_REACHED}: pytest ended with {status!r}"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """What needs no test."""
        self._ask(_OF_SESSION, session)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """After each test."""
        result = yield
        self._ask(_AFTER.get(item.nodeid.partition("::")[2], {}), item)
        return result

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """While each test runs: last, so within the capturing of others."""
        result = yield
        self._ask(_DURING.get(item.nodeid.partition("::")[2], {}), item)
        return result

    def _ask(self, questions: dict[str, Callable[[Any], str]], subject: object) -> None:
        for name, look in questions.items():
            try:
                self.answers[name] = look(subject)
            except Exception as error:
                self.answers[name] = f"{type(error).__name__}: {error}"


# Of the session.


def _rewriting(session: pytest.Session) -> str:
    name = "leakguard_probe"
    hook: Any = session.config.pluginmanager.rewrite_hook
    hook.mark_rewrite(name)
    is_marked = name in hook._must_rewrite
    internals.spare_rewriting(session.config, name)
    return expect(is_marked and name not in hook._must_rewrite, "it does not say what to rewrite")


def _rewrite_cache(session: pytest.Session) -> str:
    return expect(internals.rewrite_caches(), "no hook for imports has such a dictionary")


def _hook_implementations(session: pytest.Session) -> str:
    caller = session.config.hook.pytest_runtest_logreport
    before = caller.get_hookimpls()
    with internals.hook_without(session.config, "pytest_runtest_logreport", lambda _: True):
        during = caller.get_hookimpls()
    is_as_before = caller.get_hookimpls() == before
    return expect(before and not during and is_as_before, "emptying it leaves the hook as it is")


def _columns(session: pytest.Session) -> str:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    return expect(internals.terminal_columns(reporter) > 0, "the terminal has no width")


def _properties(session: pytest.Session) -> str:
    return expect(internals.suite_properties(session.config), "nobody has such a list")


def _call_and_report(session: pytest.Session) -> str:
    names = list(inspect.signature(internals.call_and_report).parameters)[:3]
    return expect(names == ["item", "when", "log"], f"it takes {', '.join(names)}")


# While a test runs.


def _set_up(item: pytest.Item) -> str:
    nodes = internals.set_up_nodes(item.session)
    is_complete = nodes == item.listchain()
    can_tear_down = callable(getattr(item.session._setupstate, "teardown_exact", None))
    return expect(is_complete and can_tear_down, "it does not hold the collectors of the test")


def _function(item: Any) -> str:
    return expect(internals.function_object(item) is item.obj, "it is not the test's function")


def _instance(item: Any) -> str:
    first, function = item.instance, item.obj
    internals.forget_instance(item, function)
    has_new = item.instance is not first and item.obj is not function
    return expect(has_new, "without it the class is not instantiated anew")


def _unittest(item: pytest.Item) -> str:
    return expect(internals.is_of_unittest(item), "a test of unittest is of another class")


def _passed(item: pytest.Item) -> str:
    noted = item.stash.get(internals.tmppath_result_key, {})
    return expect(noted == {"setup": True}, f"after the set-up it holds {noted!r}")


def _plugin_fixtures(item: pytest.Item) -> str:
    names = internals.fixture_names_of_plugins(item)
    is_right = {"tmp_path", "capsys"} <= names and not names & {"local", "number"}
    return expect(is_right, f"fixtures of plugins seem to be {', '.join(sorted(names))}")


def _parameters(item: pytest.Item) -> str:
    parameters = dict(internals.parameters_of(item))
    return expect(parameters == {"number": 7}, f"the parameters seem to be {parameters!r}")


def _finalizers(item: Any) -> str:
    lists = internals.finalizers(item.session)
    definitions = item._fixtureinfo.name2fixturedefs["local"]
    is_found = any(definitions[-1]._finalizers is entries for entries in lists)
    return expect(is_found and definitions[-1]._finalizers, "a fixture of the module is not found")


def _log_handlers(item: pytest.Item) -> str:
    handlers = internals.log_handlers(item.config)
    messages = [[record.getMessage() for record in handler.records] for handler in handlers]
    return expect(messages == [["probe"], ["probe"]], f"they hold {messages!r}")


def _captured(item: pytest.Item) -> str:
    """Those of pytest, and those of ``capsys``, which has what the test has written."""
    files = internals.captured_files(item.config)
    is_written = any(file.tell() > 0 for file in files[2:])
    return expect(len(files) == 4 and is_written, f"{len(files)} files, or nothing in them")


def _uncaptured(item: pytest.Item) -> str:
    before = sys.stdout
    with internals.uncaptured(item.config):
        during = sys.stdout
    is_back = sys.stdout is before
    return expect(during is not before and is_back, "it does not end capturing and begin it again")


def _temporary(item: Any) -> str:
    directories = internals.temporary_directories(item.config)
    is_below = str(item.funcargs["tmp_path"]).startswith(directories)
    return expect(directories and is_below, "tmp_path is not below it")


def _retention(item: Any) -> str:
    factory = item.config._tmp_path_factory
    with internals.removed_when_passed(item.config):
        during = factory._retention_policy
    is_right = (during, factory._retention_policy) == ("failed", "all")
    return expect(is_right, "it is not what decides when tmp_path is removed")


# After a test.


def _sections(item: pytest.Item) -> str:
    sections = internals.report_sections(item)
    return expect(("call", "stdout", "probe\n") in sections, f"it holds {sections!r}")


def _request(item: Any) -> str:
    if not internals.has_request(item) or item._request:
        return "the end of a run leaves it"
    internals.renew_request(item)
    has_new = bool(item._request) and item.funcargs == {}
    internals.end_request(item)
    return expect(has_new and item._request is False, "_initrequest makes no new one")


_OF_SESSION: dict[str, Callable[[Any], str]] = {
    "AssertionRewritingHook._must_rewrite": _rewriting,
    "AssertionRewritingHook._marked_for_rewrite_cache": _rewrite_cache,
    "HookCaller._hookimpls (pluggy)": _hook_implementations,
    "TerminalReporter._tw.fullwidth": _columns,
    "LogXML.global_properties": _properties,
    "_pytest.runner.call_and_report": _call_and_report,
}
_DURING: dict[str, dict[str, Callable[[Any], str]]] = {
    "test_function[7]": {
        "Session._setupstate": _set_up,
        "Function._obj": _function,
        "_pytest.tmpdir.tmppath_result_key": _passed,
        "Function._fixtureinfo": _plugin_fixtures,
        "Function.callspec": _parameters,
        "FixtureManager._arg2node2fixturedefs and FixtureDef._finalizers": _finalizers,
        "caplog_handler and report_handler of the logging plugin": _log_handlers,
        "CaptureManager._global_capturing and _capture_fixture": _captured,
        "CaptureManager.global_and_fixture_disabled": _uncaptured,
        "Config._tmp_path_factory": _temporary,
        "TempPathFactory._retention_policy": _retention,
    },
    "TestInClass::test_method": {"Function._instance": _instance},
    "TestOfUnittest::test_method": {"_pytest.unittest.TestCaseFunction": _unittest},
}
_AFTER: dict[str, dict[str, Callable[[Any], str]]] = {
    "TestInClass::test_method": {
        "Item._report_sections": _sections,
        "Function._request and _initrequest": _request,
    },
}


def _names() -> tuple[str, ...]:
    names = list(_OF_SESSION)
    for questions in (*_DURING.values(), *_AFTER.values()):
        names.extend(questions)
    return tuple(names)


_NAMES = _names()
