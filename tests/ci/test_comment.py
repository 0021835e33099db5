"""The comment on a pull request: from GitHub's own event and a report that nobody trusts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.ci.pull_request_comment import MARKER, MOST_CHARACTERS
from pytest_leakguard.cli.main import main
from tests.ci.github_stub import GitHub, serving
from tests.cli.test_cli import LEAK_XML

COMMIT = "5f2c" * 10


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """A pull request 7 from a fork, whose run has failed."""
    event = {
        "conclusion": "failure",
        "head_sha": COMMIT,
        "head_branch": "fix/a&b#?",
        "head_repository": {"owner": {"login": "forker"}},
        "html_url": "https://example.test/runs/1",
    }
    (tmp_path / "event.json").write_text(json.dumps({"workflow_run": event}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/shop")
    monkeypatch.setenv("GITHUB_TOKEN", "a-token")
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        server.pulls = [
            {"number": 6, "label": "forker:fix/a&b#?", "head": {"sha": "0" * 40}},
            {"number": 7, "label": "forker:fix/a&b#?", "head": {"sha": COMMIT}},
        ]
        yield server


def report(folder: Path, name: str = "push", size: int = 100) -> Path:
    """A report that the console script has written, of a leak at ``name``."""
    (folder / "vg.xml").write_text(LEAK_XML.replace("NAME", name).replace("SIZE", str(size)))
    main(["check", "-q", "--report", str(folder / "report"), str(folder / "vg.xml")])
    return folder / "report"


def the_comment(github: GitHub) -> str:
    (one,) = [
        comment["body"] for comment in github.comments.values() if comment["user"]["type"] == "Bot"
    ]
    assert len(one) <= MOST_CHARACTERS
    return str(one)


def test_it_says_how_the_run_ended_and_what_leaks(github: GitHub, tmp_path: Path) -> None:
    assert main(["ci", "comment", str(report(tmp_path))]) == 0
    assert {comment["on"] for comment in github.comments.values()} == {7}
    told = the_comment(github)
    assert told.startswith(
        f"{MARKER}\n[The run](https://example.test/runs/1) for <code>{COMMIT[:12]}</code> ❌ failed."
    )
    assert "1 new leak (" in told and "push" in told and "100 B definitely lost" in told


def test_the_next_run_renews_it_and_leaves_other_comments_alone(
    github: GitHub, tmp_path: Path
) -> None:
    for number in range(150):
        github.comment(7, f"word {number}", "User")
    github.comment(7, f"{MARKER}\nwritten by a person", "User")
    main(["ci", "comment", str(report(tmp_path))])
    main(["ci", "comment", str(report(tmp_path, "pull"))])
    assert "pull" in the_comment(github) and "push" not in the_comment(github)
    assert len(github.comments) == 152 and github.comments[151]["body"].endswith(
        "written by a person"
    )


def test_a_newer_push_has_a_run_of_its_own(
    github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    github.pulls[1]["head"]["sha"] = "1" * 40
    assert main(["ci", "comment", str(report(tmp_path))]) == 0
    assert github.comments == {}
    assert "no open pull request has 5f2c5f2c5f2c as its head" in capsys.readouterr().out


HOSTILE = "@everyone [click](https://evil.test) <img src=x> ![](https://evil.test/x.png) #1 <!-- pytest-leakguard -->\n# Big"


def test_words_of_the_report_are_inert(github: GitHub, tmp_path: Path) -> None:
    folder = report(tmp_path, "push&#10;&lt;script&gt; @everyone [x](https://evil.test)")
    told_in = json.loads((folder / "report.json").read_text())
    check = told_in["checks"][0]
    check["id"] = check["reproduce"] = check["output"] = HOSTILE
    for finding in told_in["findings"].values():
        finding["checks"] = [HOSTILE]
    (folder / "report.json").write_text(json.dumps(told_in))
    assert main(["ci", "comment", str(folder)]) == 0
    told = the_comment(github).removeprefix(MARKER)
    outside = _outside_code(told)
    for word in ("@everyone", "](https://evil", "<img", "<script", MARKER, "\n# Big"):
        assert word not in outside, outside
    assert "<img" not in told and "<script" not in told


def _outside_code(text: str) -> str:
    """Without what stands in ``<pre>``: GitHub makes no mention and no link of that."""
    kept, rest = "", text
    while "<pre>" in rest:
        before, _, rest = rest.partition("<pre>")
        inside, end, rest = rest.partition("</pre>")
        assert end and "<" not in inside and "\n\n" not in inside
        kept += before
    return kept + rest


def _cut(folder: Path) -> None:
    text = (folder / "report.json").read_text()
    (folder / "report.json").write_text(text[: len(text) // 2])


def _green(folder: Path) -> None:
    told = json.loads((folder / "report.json").read_text())
    told["checks"][0]["outcome"], told["exit_status"] = "clean", 0
    (folder / "report.json").write_text(json.dumps(told))


def _huge(folder: Path) -> None:
    with (folder / "report.json").open("wb") as file:
        file.truncate((64 << 20) + 1)


def _link(folder: Path) -> None:
    (folder / "report.json").unlink()
    (folder / "report.json").symlink_to("/etc/passwd")


def _deep(folder: Path) -> None:
    (folder / "report.json").write_text("[" * 200_000)


def _absent(folder: Path) -> None:
    (folder / "report.json").unlink()


@pytest.mark.parametrize("damage", [_cut, _green, _huge, _link, _deep, _absent])
def test_a_damaged_report_is_told_as_inconclusive(
    github: GitHub, tmp_path: Path, damage: Any
) -> None:
    folder = report(tmp_path)
    damage(folder)
    assert main(["ci", "comment", str(folder)]) == 0
    told = the_comment(github)
    assert (
        "❌ failed." in told
        and "leakguard: inconclusive" in told
        and "nothing was measured" in told
    )
    assert "root:" not in told and str(tmp_path) not in told


def test_ten_thousand_leaks_fit_and_the_cut_is_said(github: GitHub, tmp_path: Path) -> None:
    folder = report(tmp_path)
    told = json.loads((folder / "report.json").read_text())
    ((key, finding),) = told["findings"].items()
    names = [f"{number:016x}" for number in range(10_000)]
    told["findings"] = {
        name: {**finding, "stack": [{**finding["stack"][-1], "function": "f" * 300}]}
        for name in names
    }
    check = told["checks"][0]
    measured = check["measured"].pop(key)
    check["findings"], check["measured"] = names, dict.fromkeys(names, measured)
    (folder / "report.json").write_text(json.dumps(told))
    assert main(["ci", "comment", str(folder)]) == 0
    assert "more leaks" in the_comment(github) or "Cut off here" in the_comment(github)


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "Resource not accessible by integration"), (302, "moved"), (500, "\x1b[31mbroken")],
)
def test_a_refusal_is_an_error_in_githubs_own_words(
    github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, words: str
) -> None:
    github.refuse = (status, words)
    assert main(["ci", "comment", str(report(tmp_path))]) == 3
    assert len(github.asked) == 1, "the token goes nowhere else"
    told = capsys.readouterr().err
    assert (
        f"{status} " in told
        and words.lstrip("\x1b") in told.replace("\\u001b", "")
        and "\x1b" not in told
    )


def test_outside_of_a_workflow_run_it_is_a_usage_error(
    github: GitHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "event.json").write_text('{"pull_request": {"number": 7}}')
    assert main(["ci", "comment", str(tmp_path)]) == 2
    assert "from a workflow that starts on workflow_run" in capsys.readouterr().err
    monkeypatch.setitem(os.environ, "GITHUB_TOKEN", "")
    assert github.asked == []
