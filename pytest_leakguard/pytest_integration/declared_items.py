"""Programs and services that ``pyproject.toml`` declares, as pytest items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_leakguard.core.checks import Outcome
from pytest_leakguard.core.errors import LeakguardError, UsageProblem
from pytest_leakguard.programs.declarations import DeclaredTarget, read_targets
from pytest_leakguard.programs.toml_table import read_table
from pytest_leakguard.pytest_integration.session import Session, session_of
from pytest_leakguard.reporters import terminal

if TYPE_CHECKING:
    from pytest_leakguard.services.declarations import DeclaredService


class DeclaredItems:
    """Registered beside the session; has pytest visit ``pyproject.toml`` on a run of everything."""

    def __init__(self, session: Session) -> None:
        self._session, self._config = session, session.config
        self._path = session.config.rootpath / "pyproject.toml"

    def add_to_arguments(self) -> None:
        """Arguments given by hand are left alone.

        Raises ``pytest.UsageError``, exit status 4, for a wrong table.
        """
        source = pytest.Config.ArgsSource
        is_of_everything = self._config.args_source in (source.INVOCATION_DIR, source.TESTPATHS)
        if self._session.is_worker or not is_of_everything:
            return
        try:
            if self._declares_any() and not self._is_visited():
                self._config.args.append(str(self._path))
        except (UsageProblem, OSError) as problem:
            raise pytest.UsageError(f"leakguard: {problem}") from None

    def _declares_any(self) -> bool:
        if not self._path.is_file():
            return False
        return bool(
            read_targets(self._path, self._session.settings.timeout_s)
            or read_table(self._path).get("services")
        )

    def _is_visited(self) -> bool:
        start = self._config.invocation_params.dir
        return any(
            (start / argument).resolve() == self._path.parent for argument in self._config.args
        )

    @pytest.hookimpl
    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """Declared programs become items of the file that declares them."""
        return TargetsFile.from_parent(parent, path=file_path) if file_path == self._path else None


class TargetsFile(pytest.File):
    """pyproject.toml as a collector of the programs it declares."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item per program; what is wrong with the table is an error of collection."""
        from pytest_leakguard.services.declarations import read_services

        session = session_of(self.config)
        try:
            declared = read_targets(self.path, session.settings.timeout_s)
            table = read_table(self.path)
            services = read_services(table, self.path)
        except UsageProblem as problem:
            raise self.CollectError(str(problem)) from None
        for target in declared:
            yield TargetItem.from_parent(self, name=target.name, declared=target)
        for service in services:
            yield ServiceItem.from_parent(self, name=service.name, declared=service)


class _DeclaredItem(pytest.Item):
    """What both kinds have in common."""

    kind = ""
    """In words."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Our own errors in one line, others as pytest shows them."""
        if isinstance(excinfo.value, LeakguardError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is declared."""
        return self.path, None, f"{self.kind} {self.name}"


class TargetItem(_DeclaredItem):
    """A declared program as a test."""

    kind = "target"

    def __init__(self, *, declared: DeclaredTarget, **rest: Any) -> None:
        super().__init__(**rest)
        self.declared = declared

    def runtest(self) -> None:
        """Runs the program under its tool; fails as ``leakguard.run`` does."""
        from pytest_leakguard.programs import check as pipeline

        session = session_of(self.config)
        declared = self.declared
        settings = replace(session.settings, kinds=declared.kinds or session.settings.kinds)
        check = pipeline.check_program(
            declared.target, settings, self.nodeid, declared.tool, declared.expected_exit
        )
        path, line, _ = self.location
        judged = session.record(self, replace(check, location=(path, (line or 0) + 1)))
        if judged.has_failed:
            text = terminal.failure_in_short(judged, session.policy, settings.root)
            pytest.fail(text, pytrace=False)
        if judged.outcome is Outcome.SKIPPED:
            pytest.skip("; ".join(judged.reasons))


class ServiceItem(_DeclaredItem):
    """A declared service as a test."""

    kind = "service"

    def __init__(self, *, declared: DeclaredService, **rest: Any) -> None:
        super().__init__(**rest)
        self.declared = declared

    def runtest(self) -> None:
        """Starts, drives and stops it; fails as ``leakguard.serve`` and ``service.loop`` do."""
        session, declared = session_of(self.config), self.declared
        with session.fixture_for(self).serving(declared.target, declared.tool) as served:
            served.loop(
                declared.work,
                declared.count,
                concurrency=declared.concurrency,
                rate=declared.rate_per_s,
                memory_limit_bytes=declared.production_limit_bytes,
                timeout_s=declared.timeout_s,
                budget_bytes=declared.budget_bytes,
                sending=declared.sending,
            )
