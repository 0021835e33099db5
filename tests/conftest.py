"""Shared by all tests: real tools, required where the environment says so, and a clean environment."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis  # here, or every run inside a test imports it afresh, which takes longer than the run
import pytest

# Loaded before pytester takes its snapshot of modules, so that no class exists twice.
import pytest_leakguard.cli.main
import pytest_leakguard.pytest_integration.session  # noqa: F401

pytest_plugins = ["pytester"]
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # in the background of a shell; what is started here inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile(  # how long an example takes says more of the machine than of us
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")
ROOT = Path(__file__).parent.parent
APPS = ROOT / "sample_apps"
RUNNERS = (
    "GITHUB_ACTIONS",
    "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKSPACE",
    "CI_PROJECT_DIR",
    "WORKSPACE",
)
"""What CI runners set and the reporters look at."""


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests decide themselves whether they are in CI."""
    for name in ("CI", "BUILD_NUMBER", "ASAN_OPTIONS", "LSAN_OPTIONS", "VALGRIND_OPTS", *RUNNERS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def written_order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside tests are in the order that is written, with pytest-randomly installed as well."""
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # it deletes the variable
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly")


@pytest.fixture
def tool() -> Callable[[str], str]:
    """Path of a real tool; where LEAKGUARD_REQUIRE_TOOLS is set its absence fails instead of skipping."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
                pytest.fail(f"{name} is not installed; ci/install-tools test installs it")
            pytest.skip(f"{name} is not installed")
        return found

    return find


@pytest.fixture(scope="session")
def apps() -> Path:
    """The built sample programs."""
    build = APPS / "build"
    if not (build / "plain" / "definite" / "leaky").is_file():
        if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
            pytest.fail("the sample programs are not built: make -C sample_apps")
        pytest.skip("the sample programs are not built: make -C sample_apps")
    return build


@pytest.fixture
def compile_c(tmp_path: Path, tool: Callable[[str], str]) -> Callable[..., Path]:
    """Builds a C source text; returns the program."""
    from pytest_leakguard.processes.supervisor import capture

    def build(
        source: str,
        *flags: str,
        name: str = "program",
        folder: Path | None = None,
        compiler: str = "gcc",
    ) -> Path:
        place = folder or tmp_path
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.c").write_text(source)
        output = place / name
        argv = [tool(compiler), "-g", "-O0", "-o", str(output), str(place / f"{name}.c"), *flags]
        code, _, errors = capture(argv, 60)
        assert code == 0, errors.decode()
        return output

    return build
