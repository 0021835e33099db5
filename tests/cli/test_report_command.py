"""``pytest-leakguard report``: converting, merging, and every way in which a merge must not be green."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.baseline.compare import AcceptedLeak, Baseline
from pytest_leakguard.cli.main import main
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.reporters.conclude import Wanted, conclude
from pytest_leakguard.verdict import Run, Selection
from tests.reporters.example import clean_run, finding, run

OTHER = Check("tests/test_other.py::test_it", "test", "counters")
EVERY = {
    "report.json",
    "report.html",
    "junit.xml",
    "report.sarif",
    "summary.md",
    "gl-code-quality.json",
    "stacks.collapsed",
    "stacks.speedscope.json",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shard(name: str, one: Run) -> str:
    conclude(one, Wanted(report=Path(name)))
    return name


def two_clean_shards() -> list[str]:
    return [shard("s/1", clean_run()), shard("s/2", replace(clean_run(), checks=(OTHER,)))]


def merged(output: str = "leakguard-report") -> dict[str, object]:
    return json.loads(Path(output, "report.json").read_text())  # type: ignore[no-any-return]  # JSON


def test_a_report_makes_all_others_again(folder: Path) -> None:
    shard("out", run())
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert set(before) == {*EVERY, ".gitignore"}
    for name in EVERY - {"report.json"}:
        Path("out", name).unlink()
    assert main(["report", "out"]) == 1
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_whole_clean_shards_are_clean(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *two_clean_shards(), "--expect-shards", "2"]) == 0
    assert "ok leakguard: 2 tests clean" in capsys.readouterr().out
    assert {path.name for path in Path("leakguard-report").iterdir()} == {*EVERY, ".gitignore"}
    assert main(["report", "s", "--expect-shards", "2", "--output", "s/all"]) == 0
    assert main(["report", "s", "--expect-shards", "2", "--output", "s/all"]) == 0, (
        "its own output is no shard"
    )


def test_shards_of_any_name_in_one_directory_are_found(folder: Path) -> None:
    """As a download that puts the artifacts of all jobs into one directory leaves them."""
    for number, name in enumerate(two_clean_shards(), 1):
        Path("all").mkdir(exist_ok=True)
        Path(name, "report.json").rename(f"all/shard-{number}.json")
        Path(name, "gl-code-quality.json").rename(f"all/gl-code-quality-{number}.json")
    assert main(["report", "all", "--expect-shards", "2"]) == 0
    assert main(["report", "all/shard-1.json", "all/shard-2.json", "--expect-shards", "2"]) == 0


def test_a_missing_shard_is_inconclusive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *two_clean_shards(), "--expect-shards", "3"]) == 3
    assert "FAIL leakguard: 2 tests clean; 1 of 3 shards are missing" in capsys.readouterr().out
    assert merged()["exit_status"] == 3
    assert main(["report", "leakguard-report"]) == 3, (
        "and stays so when the merged report is converted again"
    )
    assert main(["report", *two_clean_shards(), "--expect-shards", "1", "--output", "o"]) == 3


def test_a_shard_alone_is_not_whole_either(folder: Path) -> None:
    left = Selection(elsewhere=(OTHER.id,))
    only = shard("s/1", replace(clean_run(), selection=left))
    assert main(["report", only, "--expect-shards", "2"]) == 3


@pytest.mark.parametrize(
    "damage", ["absent", "empty directory", "cut off", "another format", "edited"]
)
def test_a_report_that_cannot_be_read_is_inconclusive(
    folder: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = two_clean_shards()
    path = Path(bad, "report.json")
    text = path.read_text()
    match damage:
        case "absent":
            bad = "s/3"
        case "empty directory":
            for file in Path(bad).iterdir():
                file.unlink()
        case "cut off":
            path.write_text(text[: len(text) // 2])
        case "another format":
            path.write_text('{"format": "other"}')
        case "edited":
            path.write_text(text.replace('"exit_status": 0', '"exit_status": 1'))
    assert main(["report", good, bad]) == 3
    assert f"{bad}: " in capsys.readouterr().out
    assert main(["report", bad, "--output", "alone"]) == 3
    assert "nothing was measured" in capsys.readouterr().out


def test_leaks_of_the_other_shards_outrank_a_damaged_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard("s/1", run())
    Path("s/2").mkdir()
    Path("s/2/report.json").write_text("{")
    assert main(["report", "s"]) == 1
    out = capsys.readouterr().out
    assert "NEW LEAK  480 B definitely lost (10 blocks)" in out and "s/2: not JSON" in out


def test_a_target_measured_twice_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard("s/1", clean_run())
    shard("s/2", replace(clean_run(), checks=(*clean_run().checks, OTHER)))
    assert main(["report", "s"]) == 3
    assert (
        "measured twice: tests/test_shop.py::test_price in s/1 and s/2" in capsys.readouterr().out
    )


def test_a_target_measured_never_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As when shards were split by different lists of durations."""
    lost = Selection(elsewhere=(OTHER.id, "tests/test_lost.py::test_it"))
    shard("s/1", replace(clean_run(), selection=lost))
    shard("s/2", replace(clean_run(), checks=(OTHER,), selection=lost))
    assert main(["report", "s"]) == 3
    assert "1 test measured by no shard: tests/test_lost.py::test_it" in capsys.readouterr().out


def accepting(*letters: str, targets: tuple[str, ...] = ("prog",)) -> Baseline:
    lost = LeakKind.DEFINITELY_LOST
    return Baseline(
        {one * 16: AcceptedLeak(one * 16, lost, targets, 480, 10, "known") for one in letters}
    )


def test_different_baselines_are_told_and_only_what_all_accept_is_accepted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Check("prog", "program", "valgrind", (finding("a"),))
    shard("s/1", replace(clean_run(), checks=(program,), baseline=accepting("a", "b")))
    shard("s/2", replace(clean_run(), baseline=accepting("b")))
    assert main(["report", "s"]) == 1
    assert f"the baselines of s/1 and s/2 differ in {'a' * 16}" in capsys.readouterr().out


def test_an_entry_is_fixed_only_when_no_shard_saw_its_leak(folder: Path) -> None:
    both = accepting("a", targets=("prog", "other"))
    shard(
        "s/1",
        replace(
            clean_run(),
            checks=(Check("prog", "program", "valgrind", (finding("a"),)),),
            baseline=both,
        ),
    )
    shard(
        "s/2", replace(clean_run(), checks=(Check("other", "program", "valgrind"),), baseline=both)
    )
    assert json.loads(Path("s/2/report.json").read_text())["baseline"]["fixed"] == ["a" * 16]
    assert main(["report", "s"]) == 0
    assert merged()["baseline"] == {"fixed": [], "expired": [], "not_checked": []}


def test_other_versions_and_other_options_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = two_clean_shards()
    other = replace(clean_run(), checks=(OTHER,), environment={"leakguard": "9.9"})
    assert main(["report", first, shard(second, other)]) == 3
    assert "made by different versions: 0.1.0 and 9.9" in capsys.readouterr().out


def test_one_leak_in_two_checkouts_is_one_leak(folder: Path) -> None:
    def at(root: str, check_id: str) -> Run:
        stack = tuple(
            replace(frame, file=frame.file and frame.file.replace("/project", root))
            for frame in finding("a").stack
        )
        check = Check(check_id, "program", "valgrind", (finding("a", stack=stack),))
        return replace(clean_run(), checks=(check,), root=Path(root), repository=Path(root))

    shard("s/1", at("/runner/one/project", "first"))
    shard("s/2", at("/runner/two/project", "second"))
    assert main(["report", "s"]) == 1
    (result,) = json.loads(Path("leakguard-report/report.sarif").read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "src/server.c"
    text = Path("leakguard-report/report.json").read_text()
    assert "/runner/one/project/src/server.c" in text and "/runner/two" not in text


def test_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard("leakguard-report", clean_run())
    shard("other", replace(clean_run(), checks=(OTHER,)))
    assert main(["report", "leakguard-report", "other"]) == 2
    assert "name another place with --output" in capsys.readouterr().err
    assert main(["report", "other", "--expect-shards", "0"]) == 2
    with pytest.raises(SystemExit) as ended:
        main(["report"])
    assert ended.value.code == 2


def test_an_output_that_cannot_be_written_is_inconclusive(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard("s/1", clean_run())
    Path("file").write_text("")
    assert main(["report", "s", "--output", "file"]) == 3
    assert "could not write file: File exists" in capsys.readouterr().out


def test_on_github_the_merge_annotates_only_what_it_found_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary"))
    shard("s/1", run())
    assert main(["report", "s", "--expect-shards", "2"]) == 1
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    assert commands == [
        "::error title=leakguard::1 of 2 shards are missing: what they were to measure is not known",
    ]
    assert "LEAK" not in commands[0] and "definitely lost" in (folder / "summary").read_text()
