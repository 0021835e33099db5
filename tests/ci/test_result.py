"""``pytest-leakguard ci result``: pass, fail or error of a report directory; damage of any kind is an error."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_leakguard.ci.gate import read_result
from pytest_leakguard.cli.main import main
from pytest_leakguard.reporters.write import begin
from tests.ci.runner import read_values
from tests.cli.test_cli import LEAK_XML, clean, leaky


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def report(folder: Path, kind: Callable[[Path], str], name: str = "report") -> str:
    main(["check", "-q", "--report", name, kind(folder)])
    return name


def test_clean_passes_and_leaks_fail(outputs: Path, tmp_path: Path) -> None:
    assert main(["ci", "result", report(tmp_path, clean), "--pytest-exit", "0"]) == 0
    assert read_values(outputs)["result"] == "pass"
    assert main(["ci", "result", report(tmp_path, leaky), "--pytest-exit", "1"]) == 1
    told = read_values(outputs)
    assert (told["result"], told["new-leaks"], told["inconclusive"]) == ("fail", "1", "0")
    assert told["report-json"] == str(tmp_path / "report" / "report.json")


@pytest.mark.parametrize("pytest_exit", [2, 3, 4, 5, 6, -9, 137])
def test_a_pytest_that_did_not_end_well_is_an_error_whatever_the_report_says(
    outputs: Path, tmp_path: Path, pytest_exit: int
) -> None:
    assert main(["ci", "result", report(tmp_path, clean), f"--pytest-exit={pytest_exit}"]) == 3
    assert read_values(outputs)["result"] == "error"


def test_a_leak_outranks_the_way_pytest_ended(outputs: Path, tmp_path: Path) -> None:
    assert main(["ci", "result", report(tmp_path, leaky), "--pytest-exit=2"]) == 1


def cut(text: str) -> str:
    return text[: len(text) * 2 // 3]


def without_checks(text: str) -> str:
    return json.dumps({**json.loads(text), "checks": [], "findings": {}})


def green(text: str) -> str:
    data = json.loads(text)
    data["exit_status"], data["checks"][0]["outcome"] = 0, "clean"
    return json.dumps(data)


def newer(text: str) -> str:
    return json.dumps({**json.loads(text), "version": 2})


def foreign(text: str) -> str:
    return "{}"


def empty(text: str) -> str:
    return ""


@pytest.mark.parametrize("damage", [cut, without_checks, green, newer, foreign, empty])
def test_a_damaged_report_is_an_error(
    outputs: Path, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    path = tmp_path / report(tmp_path, leaky) / "report.json"
    path.write_text(damage(path.read_text()))
    assert main(["ci", "result", "report", "--pytest-exit", "0"]) == 3
    assert read_values(outputs)["result"] == "error"


def test_no_directory_is_an_error(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ci", "result", "absent"]) == 3
    assert read_values(outputs) | {
        "result": "error",
        "report": "",
        "report-json": "",
    } == read_values(outputs)
    assert "there is no report.json in " in capsys.readouterr().out


def test_a_report_of_another_commit_is_an_error(
    outputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    head = tmp_path / ".git" / "HEAD"
    head.parent.mkdir()
    head.write_text("a" * 40)
    report(tmp_path, clean)
    assert main(["ci", "result", "report", "--pytest-exit", "0"]) == 0
    head.write_text("b" * 40)
    assert main(["ci", "result", "report", "--pytest-exit", "0"]) == 3
    told = f"the report is of another commit ({'a' * 12}, and {'b' * 12} is checked out)"
    assert told in capsys.readouterr().out
    monkeypatch.setenv("GITHUB_SHA", "a" * 40)  # which is the merge that the run was of
    assert main(["ci", "result", "report", "--pytest-exit", "0"]) == 0


def test_what_an_earlier_run_has_left_cannot_answer_after_clear(
    outputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / report(tmp_path, clean)
    begin(folder)
    (folder / "notes.txt").write_text("mine")
    assert main(["ci", "clear", "report"]) == 0
    left = {path.name for path in folder.iterdir()} - {".gitignore"}
    assert left == {"notes.txt"}
    assert main(["ci", "result", "report", "--pytest-exit", "0"]) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON, but empty; it was cut off or edited"),
        ('{"format":\n"leak', "not JSON from line 2 on; it was cut off or edited"),
        ("{}", 'no leakguard-report: its "format" is another, or it has none'),
    ],
    ids=["empty", "cut off", "foreign"],
)
def test_a_damaged_report_is_told_in_plain_words(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "report.json").write_text(text)
    assert read_result(tmp_path, 0).why == f"{tmp_path}/report.json: {told}"


def test_a_plugin_that_the_environment_keeps_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD is set" in read_result(tmp_path, 4).why


def test_a_name_cannot_write_an_output_of_its_own(outputs: Path, tmp_path: Path) -> None:
    name = "x\nresult=pass\nresult<<y\npass\ny\n"
    report(tmp_path, leaky, name)
    main(["ci", "result", name])
    told = read_values(outputs)
    assert told["result"] == "fail"
    assert told["report"] == f"{tmp_path}/{name}"


def test_words_of_a_report_cannot_command_github(
    outputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    name = "x\n::set-output name=result::pass\n\x1b[31m<img src=y>"
    assert main(["ci", "result", name]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("::")] == [
        line for line in lines if line.startswith("::error ")
    ]
    assert "\x1b" not in "".join(lines)
    assert (
        "<img" not in (tmp_path / "summary").read_text()
        and "inconclusive" in (tmp_path / "summary").read_text()
    )


def test_the_golden_report_is_one_of_valgrind() -> None:
    """Guards the tests above: what they check is a leak."""
    assert "definitely lost" in " ".join(LEAK_XML.split())


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=9),
    st.just([]),
    st.just({}),
    st.just([{}]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    if isinstance(value, dict):
        return {**value, path[0]: changed(value[path[0]], path[1:], odd)}
    return [*value[: path[0]], changed(value[path[0]], path[1:], odd), *value[path[0] + 1 :]]


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a leak."""
    folder = tmp_path_factory.mktemp("leaking")
    leaky(folder)
    main(["check", "-q", "--report", str(folder), str(folder / "leaky.xml")])
    return folder


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_an_odd_value_anywhere_in_a_report_of_a_leak_is_never_a_pass(
    leaking: Path, data: st.DataObject
) -> None:
    whole = json.loads((leaking / "report.json").read_text())
    place = data.draw(st.sampled_from(places(whole)))
    odd = changed(whole, place, data.draw(ODD))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "report.json").write_text(json.dumps(odd))
        assert read_result(Path(name), 1).result in ("fail", "error")
        assert read_result(Path(name), 0).result in ("fail", "error")
