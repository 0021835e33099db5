"""What every tool must do; a new one is tested by being in the registry."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.errors import MalformedReport, UnknownFormat
from pytest_leakguard.core.leaks import Leak
from pytest_leakguard.core.options import TOOLS
from pytest_leakguard.core.programs import RunStatus, Target
from pytest_leakguard.programs.binary import Binary
from pytest_leakguard.programs.canary import Canaries
from pytest_leakguard.programs.tools import BACKENDS, pick, recognise
from pytest_leakguard.programs.tools.base import Backend, merge
from tests.golden_files import golden


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memray":
        pytest.importorskip("memray")
    return BACKENDS[str(request.param)]


def test_backend_answers_to_its_name(backend: Backend) -> None:
    assert BACKENDS[backend.name] is backend
    assert backend.parse(golden(backend.name, "leaky")).tool == backend.name


def test_plan_leaves_the_workdir_empty_and_starts_nothing(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("plan started a process")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    target = Target(
        ("./prog", "an argument"), cwd=tmp_path / "elsewhere", env=(("A", "b"),), timeout_s=7.0
    )
    launch = backend.plan(target, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert launch == backend.plan(target, tmp_path)
    assert launch.argv[-2:] == target.argv
    assert (launch.cwd, launch.timeout_s) == (target.cwd, 7.0)
    assert dict(launch.env)["A"] == "b"


def test_plan_puts_every_report_into_the_workdir(backend: Backend, tmp_path: Path) -> None:
    launch = backend.plan(Target(("./prog",)), tmp_path)
    assert str(tmp_path) in " ".join((*launch.argv, *(value for _, value in launch.env)))


def test_parse_twice_is_equal(backend: Backend) -> None:
    path = golden(backend.name, "leaky")
    assert backend.parse(path) == backend.parse(path)


def test_clean_has_no_leaks(backend: Backend) -> None:
    report = backend.parse(golden(backend.name, "clean"))
    assert (report.leaks, report.problems) == ((), ())
    assert report.processes and all(process.is_complete for process in report.processes)


def test_leaky_has_some(backend: Backend) -> None:
    leaks = backend.parse(golden(backend.name, "leaky")).leaks
    assert leaks and all(leak.size_bytes > 0 and leak.blocks > 0 and leak.stack for leak in leaks)


def test_truncated_is_malformed_and_keeps_what_was_recovered(backend: Backend) -> None:
    path = golden(backend.name, "truncated")
    with pytest.raises(MalformedReport, match=path.name) as caught:
        backend.parse(path)
    assert caught.value.recovered is not None
    assert not all(process.is_complete for process in caught.value.recovered.processes)


@pytest.mark.parametrize("name", ["clean", "leaky", "truncated"])
def test_reports_are_recognised_by_content_alone(
    backend: Backend, name: str, tmp_path: Path
) -> None:
    misnamed = tmp_path / "report.json"
    misnamed.write_bytes(golden(backend.name, name).read_bytes())
    assert recognise(misnamed) is backend


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"hello\n", b"<html></html>", b'{"a": 1}', b"==1=="]
)
def test_what_is_no_report_is_of_unknown_format(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UnknownFormat, match="file: no report"):
        recognise(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 4096, b"garbage"])
def test_content_that_proves_nothing_is_never_clean(
    backend: Backend, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "report.1"
    path.write_bytes(content)
    with pytest.raises(MalformedReport, match=r"report\.1"):
        backend.parse(path)


def test_an_absent_report_is_a_reason(backend: Backend) -> None:
    assert backend.demand(merge(backend.name, ()), RunStatus(pid=7, exit_code=0))


def test_a_whole_report_of_the_started_process_satisfies(backend: Backend) -> None:
    report = backend.parse(golden(backend.name, "clean"))
    assert backend.demand(report, RunStatus(pid=report.processes[0].pid, exit_code=0)) == ()


def test_addresses_and_moved_lines_do_not_change_fingerprints(backend: Backend) -> None:
    leaks = backend.parse(golden(backend.name, "leaky")).leaks
    before = [finding.fingerprint for finding in fingerprint.group(leaks)]
    after = [finding.fingerprint for finding in fingerprint.group(map(_moved, leaks))]
    assert before == after


def test_an_absent_tool_says_how_to_get_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pytest_leakguard.programs.tools.memray.find_spec", lambda name: None)
    if not backend.is_present():
        assert backend.name in backend.how_to_get and "install" in backend.how_to_get


def test_auto_has_a_reason_for_each_program_it_picks_the_tool_for(backend: Backend) -> None:
    programs = [
        Binary(Path("/bin/prog"), is_elf=True),
        Binary(Path("/bin/prog"), is_elf=True, sanitizer="leak"),
        Binary(Path("/prog.py"), is_python=True),
    ]
    for program in programs:
        chosen, why = pick(program)
        assert chosen is not backend or why == backend.suits(program)


def test_auto_takes_the_most_special_tool_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Binary(Path("/prog.py"), is_python=True)
    monkeypatch.setattr(type(BACKENDS["memray"]), "is_present", lambda self: False)
    chosen, why = pick(script)
    assert (chosen.name, why) == ("valgrind", "a Python program, and memray is not installed")
    monkeypatch.setattr(type(BACKENDS["memray"]), "is_present", lambda self: True)
    assert pick(script) == (BACKENDS["memray"], "a Python program")
    instrumented = replace(script, sanitizer="address")
    assert pick(instrumented) == (BACKENDS["sanitizer"], "built with -fsanitize=address")


def test_the_option_offers_every_tool_of_the_registry() -> None:
    assert ("auto", *BACKENDS) == TOOLS


def test_trials_say_what_to_do_where_nothing_can_be_run(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for trial in backend.trials(Canaries(tmp_path)):
        assert trial.argv or (trial.why and trial.fix)


def test_reports_of_two_threads_are_those_of_one(backend: Backend) -> None:
    paths = [golden(backend.name, name) for name in ("leaky", "clean")] * 4
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(backend.parse, paths)) == [backend.parse(path) for path in paths]


def _moved(leak: Leak) -> Leak:
    """40 lines inserted above, another checkout, other load addresses (whole pages apart)."""
    return replace(
        leak,
        stack=tuple(
            replace(
                frame,
                line=frame.line + 40 if frame.line else None,
                address=frame.address + 0x7F0000 if frame.address else 0,
                module=frame.module and "/elsewhere/" + frame.module.rpartition("/")[2],
            )
            for frame in leak.stack
        ),
    )
