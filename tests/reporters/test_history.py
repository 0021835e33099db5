"""``report --history``: since when each cause is there, how it has grown, and what is gone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.reporters import history
from pytest_leakguard.reporters import json as report_json
from pytest_leakguard.verdict import Run
from tests.reporters.example import clean_run, finding, run


def at(day: int, size: int, *others: str) -> Run:
    """A run of this day, in which leak a has this size; others are there as well."""
    found = [finding("a", size=size)] if size else []
    found += [finding(name, size=8) for name in others]
    check = replace(clean_run().checks[0], id="prog", kind="program", findings=tuple(found))
    environment = {"started": f"2026-11-{day:02} 08:00 UTC", "commit": f"{day:040x}"}
    return replace(clean_run(), checks=(check,), environment=environment)


def write(folder: Path, one: Run) -> None:
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report_json.render(one.judge(), one))


def test_a_cause_is_told_since_when_it_is_there_and_how_it_has_grown() -> None:
    earlier = history.in_order([at(3, 200), at(1, 0), at(2, 100)])
    assert [one.when[:10] for one in earlier] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    past = history.past_of(finding("a", size=400), earlier)
    assert past is not None
    assert past.summary == (
        "since 2026-11-02 08:00 UTC (0000000000), in 2 of 3 earlier runs; last 200 B, now 400 B"
    )
    assert past.heights() == (0.0, 0.25, 0.5, 1.0)


def test_a_new_cause_and_one_of_the_same_size_are_called_so() -> None:
    earlier = history.in_order([at(1, 100)])
    new = history.past_of(finding("b"), earlier)
    same = history.past_of(finding("a", size=100), earlier)
    assert (
        new is not None and new.summary == "new: not in the 1 earlier run given" and new.first == ""
    )
    assert same is not None and "the same size as last, now 100 B" in same.summary


def test_a_renamed_cause_is_found_under_its_former_name() -> None:
    earlier = history.in_order([at(1, 100)])
    past = history.past_of(replace(finding("b"), former=("a" * 16,)), earlier)
    assert past is not None and past.first == "2026-11-01 08:00 UTC"
    assert history.gone(earlier, [replace(finding("b"), former=("a" * 16,))]) == ()


def test_only_the_latest_runs_are_looked_at() -> None:
    runs = [at(day % 28 + 1, 100) for day in range(history.MOST_RUNS + 5)]
    assert len(history.in_order(runs)) == history.MOST_RUNS


def test_without_earlier_reports_nothing_is_said_of_them() -> None:
    assert history.past_of(finding("a"), ()) is None
    assert history.gone((), [finding("a")]) == ()


def test_the_page_shows_the_history_that_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "old/first", at(1, 100))
    write(tmp_path / "old/second", at(2, 200, "c"))
    (tmp_path / "old/broken").mkdir()
    (tmp_path / "old/broken/report.json").write_text('{"format": "leakguard-report"')
    write(tmp_path / "now", at(3, 400, "b"))
    before = json.loads((tmp_path / "now/report.json").read_text())
    assert main(["report", "now", "--history", "old", "-q"]) == 1
    assert "left out of the history: old/broken/report.json" in capsys.readouterr().err
    page = (tmp_path / "now/report.html").read_text()
    assert "Compared with 2 earlier runs, 2026-11-01 08:00 UTC to 2026-11-02 08:00 UTC." in page
    assert "in 2 of 2 earlier runs; last 200 B, now 400 B" in page
    assert "new: not in the 2 earlier runs given" in page
    gone = page.partition("Gone since the last of the earlier runs")[2].partition("</ul>")[0]
    assert "c" * 16 in gone and "a" * 16 not in gone
    assert json.loads((tmp_path / "now/report.json").read_text()) == before, "for the page alone"


def test_a_history_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "now", run())
    assert main(["report", "now", "--history", "absent"]) == 2
    assert "--history absent: no such directory" in capsys.readouterr().err


def test_the_report_itself_is_no_part_of_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "all/1", at(1, 100))
    write(tmp_path / "all/2", at(2, 100))
    main(["report", "all/2", "--history", "all", "-q"])
    assert "Compared with 1 earlier run," in (tmp_path / "all/2/report.html").read_text()
