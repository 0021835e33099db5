"""Results, artefacts and findings beside the most used plugins are what they are without us."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.plugins.suites import SUITES, Suite

RECORDER = """
import json, os
SEEN = {}
def pytest_runtest_logreport(report):
    SEEN.setdefault(report.nodeid, []).append([report.when, report.outcome])
def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workerinput"): return
    with open(os.environ["LEAKGUARD_SEEN"], "w") as file: json.dump([SEEN, int(exitstatus)], file)
"""
NOT_THEIRS = ("__pycache__", ".pytest_cache", "out", "seen.json", "constants")
NUMBER = re.compile(rb"\d+\.\d+(e-?\d+)?|\d{4}-\d\d-\d\d[T ][\d:.+]*")
"""Times and durations."""


def _parameters() -> Sequence[object]:
    found = []
    for suite in SUITES:
        marks = [] if suite.is_quick else [pytest.mark.slow]
        found.append(pytest.param(suite, id=suite.package, marks=marks))
    return found


class Place:
    """A directory in which one suite runs again and again, under the same name."""

    def __init__(self, pytester: pytest.Pytester, suite: Suite) -> None:
        self._pytester, self._suite = pytester, suite
        self.path = pytester.path / "suite"

    def run(self, test_file: str, text: str, *options: str) -> tuple[object, dict[str, bytes]]:
        """Outcomes by phase with the exit status, and all files that are there afterwards."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        files = {
            "pytest.ini": f"[pytest]\n{self._suite.settings}\n",
            "conftest.py": RECORDER,
            test_file: text,
            **self._suite.files,
        }
        for name, content in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(content)
        plugins = []
        for name in self._suite.plugins.split():
            plugins += ["-p", name]
        here = Path.cwd()
        os.chdir(self.path)
        try:
            self.result = self._pytester.runpytest_subprocess(
                *plugins, *self._suite.options.split(), *options, test_file, timeout=300
            )
        finally:
            os.chdir(here)
        seen = json.loads((self.path / "seen.json").read_text())
        return seen, self._artefacts()

    def _artefacts(self) -> dict[str, bytes]:
        found = {}
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            if path.is_dir() or not set(Path(name).parts).isdisjoint(NOT_THEIRS):
                continue
            is_opaque = any(fnmatch.fnmatch(name, pattern) for pattern in self._suite.opaque)
            is_opaque = is_opaque or any(path.match(pattern) for pattern in self._suite.opaque)
            found[name] = b"" if is_opaque else path.read_bytes()
        return self._settled(found)

    def _settled(self, artefacts: dict[str, bytes]) -> dict[str, bytes]:
        """Without what differs between two runs anyway; names that are drawn are numbered by content."""
        found: dict[str, list[bytes]] = {}
        for name, content in artefacts.items():
            found.setdefault(self._plain(name.encode()).decode(), []).append(self._plain(content))
        return {name: b"\n".join(sorted(contents)) for name, contents in found.items()}

    def _plain(self, content: bytes) -> bytes:
        if self._suite.unsettled:
            content = re.sub(self._suite.unsettled.encode(), b"", content)
        return NUMBER.sub(b"", content)


@pytest.mark.parametrize("suite", _parameters())
def test_nothing_is_other_than_without_us_but_the_leak(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        importlib.metadata.version(suite.package)
    except importlib.metadata.PackageNotFoundError:
        if os.environ.get("LEAKGUARD_REQUIRE_PLUGINS"):
            pytest.fail(f"{suite.package} is not installed")
        pytest.skip(f"{suite.package} is not installed")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    place = Place(pytester, suite)
    monkeypatch.setenv("LEAKGUARD_SEEN", str(place.path / "seen.json"))
    on = ("-p", "pytest_leakguard.plugin", "--leakguard", "--leakguard-report=out")
    plain_seen, plain_artefacts = place.run("test_suite.py", suite.clean)
    seen, artefacts = place.run("test_suite.py", suite.clean, *on)
    assert seen == plain_seen
    report = json.loads((place.path / "out/report.json").read_text())
    outcomes = {check["id"]: check["outcome"] for check in report["checks"]}
    allowed = {"clean", "not_repeatable"} if suite.not_checked else {"clean"}
    assert set(outcomes.values()) <= allowed, report["checks"]
    assert sorted(artefacts) == sorted(plain_artefacts)
    for name, content in artefacts.items():
        assert content == plain_artefacts[name], name
    if suite.not_checked:
        return
    assert outcomes, "no test was checked"
    place.run("test_planted.py", suite.leaky, *on)
    report = json.loads((place.path / "out/report.json").read_text())
    leaking = [check["id"] for check in report["checks"] if check["outcome"] == "leak"]
    assert leaking, report["checks"]
    assert all("test_leaky" in name for name in leaking)


def test_every_plugin_that_is_tried_is_in_the_documentation_and_is_installed_for_it() -> None:
    root = Path(__file__).parent.parent.parent
    documented = (root / "docs" / "plugins.md").read_text()
    installed = (root / "pyproject.toml").read_text().partition("plugins = [")[2]
    for suite in SUITES:
        assert f"{suite.package}" in documented.replace("**", "")
        assert f'"{suite.package}"' in installed
