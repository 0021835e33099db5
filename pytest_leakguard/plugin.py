"""The door to pytest: declares options, marker and fixture.

Nothing else is imported until --leakguard is given, but for three small modules that keep the
functions of the library before anybody replaces them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.core import clock as _clock  # noqa: F401  # before anybody replaces clocks
from pytest_leakguard.core import collector as _collector  # noqa: F401  # and gc
from pytest_leakguard.core.options import OPTIONS
from pytest_leakguard.counters import originals as _originals  # noqa: F401  # and os

if TYPE_CHECKING:
    from pytest_leakguard.pytest_integration.fixture import Leakguard


def _marker() -> str:
    """The line that ``pytest --markers`` shows: every keyword, and what it takes."""
    known = [option for option in OPTIONS if option.in_marker]
    keywords = [f"{option.in_marker}={option.placeholder}" for option in known]
    meanings = [f"{option.in_marker}: {option.help}" for option in known]
    meanings += [
        "iterations: so many runs without growth are clean",
        "skip: do not screen this test, and why",
    ]
    head = f"leakguard({', '.join((*keywords, 'iterations=N', 'skip=REASON'))})"
    return f"{head}: tune or skip the leak check of one test. {'; '.join(meanings)}"


class Hooks:
    """Specifications of the hooks that other plugins may implement."""

    @staticmethod
    def pytest_leakguard_ignore(config: pytest.Config) -> list[str | dict[str, object]]:
        """Leaks that are none of the user's, as in ``ignore`` of ``[tool.leakguard]``.

        A framework ships its own:
        ``return [{"pattern": "module:acme.pool", "reason": "filled once"}]``.
        """
        raise NotImplementedError  # a specification is never called


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every option of the table, on the command line and as an ini value.

    Defaults stay with the table.
    """
    group = parser.getgroup("leakguard", "leak checks")
    for option in OPTIONS:
        text = f"{option.help} [{'|'.join(option.choices)}]" if option.choices else option.help
        if option.is_flag:
            group.addoption(
                option.flag,
                action="store_const",
                const=True,
                default=None,
                help=text,
                dest=option.ini,
            )
        else:
            group.addoption(
                option.flag,
                default=None,
                metavar=option.placeholder,
                help=option.help,
                dest=option.ini,
            )
        if option.is_flag:
            parser.addini(option.ini, text, type="bool", default=None)
        else:
            parser.addini(option.ini, text, default=None)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """What other plugins may tell us."""
    pluginmanager.add_hookspecs(Hooks)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, Any, Any]:
    """Leaves word of what ends pytest before we begin.

    That is a ``conftest.py`` that cannot be imported, or an option that nobody knows. Otherwise a
    gate would see an exit status, and could only guess.
    """
    try:
        result = yield
    except Exception as error:
        _leave_word(early_config, str(error))
        raise
    if unknown := _unknown_options(parser, args):
        _leave_word(early_config, f"it does not know {', '.join(unknown)}")
    return result


def _unknown_options(parser: pytest.Parser, args: list[str]) -> list[str]:
    """Those that pytest will refuse; every plugin has told its own by now.

    Empty where pytest cannot even read them: it will say so itself.
    """
    try:
        return parser.parse_known_and_unknown_args(args)[1]
    except pytest.UsageError:
        return []


def _leave_word(config: pytest.Config, why: str) -> None:
    given = config.known_args_namespace  # the options themselves are not read yet
    directory = getattr(given, "leakguard_report", None) or config.getini("leakguard_report")
    if directory and (getattr(given, "leakguard", None) or _is_on(config)):
        from pytest_leakguard.reporters import write

        root = config.inipath.parent if config.inipath else config.rootpath
        write.clear(root / directory)
        write.begin(root / directory, f"{write.NOT_STARTED}{why}")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and the rest of the plugin only when it is switched on."""
    config.addinivalue_line("markers", _marker())
    try:
        _switch_on(config)
    except pytest.UsageError as error:
        _leave_word(config, str(error).removeprefix("leakguard: "))
        raise


def _switch_on(config: pytest.Config) -> None:
    _refuse_misspelt_names(config)
    if not _is_on(config):
        _refuse_options_alone(config)
        return
    _import_as_compiled(config)
    from pytest_leakguard.pytest_integration.arming import Arming
    from pytest_leakguard.pytest_integration.declared_items import DeclaredItems
    from pytest_leakguard.pytest_integration.markers import Markers
    from pytest_leakguard.pytest_integration.screening import Screening
    from pytest_leakguard.pytest_integration.sentinel import Sentinel
    from pytest_leakguard.pytest_integration.session import Session, only_shows
    from pytest_leakguard.pytest_integration.unmeasured import Unmeasured

    session = Session.of(config)
    declared = DeclaredItems(session)
    declared.add_to_arguments()
    directory = session.settings.report
    if directory is not None and not session.is_worker and not only_shows(config):
        config.pluginmanager.register(Sentinel(directory), "leakguard-sentinel")
    config.pluginmanager.register(Markers(config), "leakguard-markers")
    config.pluginmanager.register(Unmeasured(), "leakguard-unmeasured")
    config.pluginmanager.register(session, "leakguard-session")
    config.pluginmanager.register(session.muzzle, "leakguard-muzzle")
    config.pluginmanager.register(declared, "leakguard-declared")
    arming = Arming()
    config.pluginmanager.register(arming, "leakguard-arming")
    config.pluginmanager.register(Screening(session, arming), "leakguard-screening")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Notes what was asked for, after -k and -m and before pytest-split.

    That plugin registers later and so comes later.
    """
    session = config.pluginmanager.get_plugin("leakguard-session")
    if session is not None:
        session.wanted = [item.nodeid for item in items]


def _import_as_compiled(config: pytest.Config) -> None:
    """Spares the rest of the plugin pytest's rewriting of assertions.

    That takes half a second where nothing is cached yet. pytest rewrites every module of a plugin's
    distribution; ours assert nothing that a user would want explained.
    """
    from pytest_leakguard.pytest_integration._pytest_internals import spare_rewriting

    spare_rewriting(config, "pytest_leakguard")


def _refuse_options_alone(config: pytest.Config) -> None:
    """An option without the switch would do nothing and say nothing.

    Where an ini file has switched it on, ``-o leakguard=false`` and its like leave the others be.
    """
    overridden = config.getoption("override_ini", None) or ()
    if any(str(setting).startswith("leakguard=") for setting in overridden):
        return
    for option in OPTIONS:
        if option.name and config.getoption(option.ini, None) is not None:
            raise pytest.UsageError(
                f"leakguard: {option.flag} does nothing without --leakguard "
                "(or leakguard = true in the ini file)"
            )


def _refuse_misspelt_names(config: pytest.Config) -> None:
    """A switch or an option with another name would do nothing, and pytest only warns of it.

    Where nothing looks like ours nothing more is imported.
    """
    given = [str(setting) for setting in config.getoption("override_ini", None) or ()]
    if config.inipath is not None:
        given.append(config.inipath.read_text("utf-8", "replace"))
    if not any(word in text.lower() for text in given for word in ("leak", "guard")):
        return
    from pytest_leakguard.pytest_integration.misspelt import refuse_ini_names

    refuse_ini_names(config)


def _is_on(config: pytest.Config) -> bool:
    """A switch in the ini file that is neither on nor off ends the run with exit status 4."""
    try:
        ini = config.getini("leakguard")
    except (pytest.UsageError, TypeError, ValueError) as problem:
        where = config.inipath or "-o"
        message = f"leakguard: {where}: leakguard must be true or false ({problem})"
        raise pytest.UsageError(message) from None
    given = config.getoption("leakguard", None)
    return bool(ini if given is None else given)


@pytest.fixture
def leakguard(request: pytest.FixtureRequest) -> Iterator[Leakguard]:
    """Checks programs, callables, blocks and services; each call fails the test on a new leak.
    run([program, ...], tool=...): one program under valgrind, a sanitizer or memray.
    loop(callable, iterations=...): one callable, called again and again.
    with watch(): one block, to the byte.
    with serve([command, ...], ready=...) as service: service.loop(["GET /"], requests=...):
    a service, whose growth per request is judged; attach(pid) for one that already runs.
    """  # noqa: D205 - ``pytest --fixtures`` shows the first paragraph, which has to be all of it
    session = request.config.pluginmanager.get_plugin("leakguard-session")
    if session is None:
        pytest.skip("leak checks are off; switch them on with --leakguard")
    yield session.fixture_for(request.node)
    from pytest_leakguard.pytest_integration.unmeasured import demand_measurement

    demand_measurement(session, request.node)
