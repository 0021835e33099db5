"""What GitHub Actions is told: places, limits, and nothing that a target may smuggle in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.core.checks import Check
from pytest_leakguard.reporters import conclude, github, html, markdown
from pytest_leakguard.reporters.locations import in_repository
from tests.reporters.example import HOSTILE, checks, clean_run, finding, hostile_run, run

_COMMAND = re.compile(r"::(?P<level>error|warning) (?P<properties>[^:]*)::(?P<message>.*)")
LEAKY = """
    KEEP = []
    def test_leaks():
        print("::error::smuggled in")
        KEEP.append({"a": object()})
    def test_fails():
        print("::set-output name=x::smuggled in")
        assert 0
"""


def parsed(lines: list[str]) -> Iterator[tuple[str, dict[str, str], str]]:
    """Level, properties and message as GitHub's runner reads them."""
    for line in lines:
        match = _COMMAND.fullmatch(line)
        assert match, line
        told = dict(pair.split("=", 1) for pair in match["properties"].split(","))
        yield (
            match["level"],
            {name: unescaped(value) for name, value in told.items()},
            unescaped(match["message"]),
        )


def unescaped(text: str) -> str:
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text


def test_root_causes_come_first_and_stand_at_the_innermost_line_in_the_repository() -> None:
    errors = [
        one for one in parsed(github.workflow_commands(run().judge(), run())) if one[0] == "error"
    ]
    places = [(told.get("file"), told.get("line")) for _, told, _ in errors]
    assert places == [
        ("tests/test_api.py", "7"),  # growth has no stack: the test that measured it
        ("src/server.c", "42"),
        ("shop.py", "5"),
        ("tests/test_c.py", "15"),  # inconclusive
    ]
    leak = errors[1][2]
    assert "NEW LEAK  480 B definitely lost (10 blocks) at " in leak
    assert "and through it 960 B indirectly lost (10 blocks)  bbbbbbbbbbbbbbbb" in leak
    assert "reproduce      pytest-leakguard run --tool valgrind -- ./build/server --once" in leak
    assert "accept         pytest-leakguard baseline accept aaaaaaaaaaaaaaaa" in leak


def test_fixed_and_expired_entries_warn_at_the_baseline() -> None:
    warnings = [
        one for one in parsed(github.workflow_commands(run().judge(), run())) if one[0] == "warning"
    ]
    assert [told["file"] for _, told, _ in warnings] == ["leakguard-baseline.toml"] * 2
    assert "3" * 16 in warnings[0][2] and "1" * 16 in warnings[1][2]


@pytest.mark.parametrize(
    ("leaks", "shown", "last"),
    [(10, 10, "NEW LEAK"), (11, 10, "and 2 more"), (500, 10, "and 491 more")],
)
def test_no_more_errors_than_github_shows(leaks: int, shown: int, last: str) -> None:
    found = tuple(replace(finding("a"), fingerprint=f"{number:016x}") for number in range(leaks))
    many = replace(clean_run(), checks=(Check("t", "program", "valgrind", found),))
    lines = github.workflow_commands(many.judge(), many)
    assert len(lines) == shown and last in lines[-1]


def test_hostile_text_is_one_command_per_line_and_means_nothing_else() -> None:
    lines = github.workflow_commands(hostile_run().judge(), hostile_run())
    assert not any(char in line for line in lines for char in "\r\n\x1b\u202e")
    told = list(parsed(lines))
    assert all(set(properties) <= {"file", "line", "title"} for _, properties, _ in told)
    assert any(
        properties.get("file") == "src/a b'\"<img src=x onerror=alert(2)>&,:%.c"
        for _, properties, _ in told
    )


def test_nothing_measured_is_an_error() -> None:
    nothing = replace(clean_run(), checks=())
    ((level, _, message),) = parsed(github.workflow_commands(nothing.judge(), nothing))
    assert level == "error" and "nothing was measured" in message


def test_a_clean_run_says_nothing() -> None:
    assert github.workflow_commands(clean_run().judge(), clean_run()) == []


def test_places_outside_the_repository_are_none() -> None:
    part = replace(run(), root=Path("/repo/service"), repository=Path("/repo"))
    inside = {
        "/repo/service/a.c": "service/a.c",
        "/repo/lib/b.c": "lib/b.c",
        "a.c": "service/a.c",
        "../c.c": "c.c",
    }
    assert {file: in_repository(file, part) for file in inside} == inside
    for file in (
        "/usr/include/x.h",
        "../../x.c",
        "<frozen os>",
        ".venv/lib/a.py",
        "/repo/x/site-packages/y.py",
        "/repo",
    ):
        assert in_repository(file, part) == ""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_in_a_run_commands_stand_on_lines_of_their_own_and_others_are_stopped(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(LEAKY)
    summary = pytester.path / "summary.md"
    summary.write_text("what was there before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "--leakguard", *workers)
    assert result.ret == 1
    obeyed, token = [], ""
    for line in result.outlines:
        if token:
            token = "" if line == f"::{token}::" else token
        elif line.startswith("::stop-commands::"):
            token = line.removeprefix("::stop-commands::")
            assert re.fullmatch("[0-9a-f]{32}", token)
        elif line.startswith("::"):
            obeyed.append(line)
    assert not token, "commands of later steps would be ignored"
    ((level, told, message),) = parsed(obeyed)
    assert (level, told["line"]) == ("error", "4")
    assert told["file"].endswith(".py") and "NEW LEAK  " in message
    text = summary.read_text()
    assert text.startswith("what was there before\n") and "FAIL leakguard: 1 new leak (" in text


def test_a_declared_target_is_annotated_where_it_is_declared(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyprojecttoml(
        '[tool.pytest.ini_options]\n[tool.leakguard.targets.x]\ncommand = ["/bin/true"]\ntool = "sanitizer"\n'
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "--leakguard")
    commands = [line for line in result.outlines if line.startswith("::error ")]
    ((_, told, message),) = parsed(commands)
    assert told["file"] == "pyproject.toml" and "no sanitizer inside" in message


def test_without_github_nothing_of_it_is_written(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LEAKY)
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "--leakguard")
    assert not any(line.startswith("::") and "smuggled" not in line for line in result.outlines)


def test_the_console_script_annotates_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    golden = Path(__file__).parents[1] / "golden" / "valgrind" / "leaky.xml"
    (tmp_path / "leaky.xml").write_bytes(golden.read_bytes())
    assert main(["check", "leaky.xml"]) == 1
    assert "\n::error " in capsys.readouterr().out
    assert "FAIL leakguard: 1 new leak (" in (tmp_path / "summary.md").read_text()
    assert main(["check", "leaky.xml", "--json", "-"]) == 1
    told = capsys.readouterr()
    assert "::error" not in told.out and told.err.startswith("::error ")


def test_the_summary_stays_below_its_limit_and_says_so() -> None:
    found = tuple(replace(finding("a"), fingerprint=f"{number:016x}") for number in range(2000))
    many = replace(clean_run(), checks=(Check("t", "program", "valgrind", found),))
    text = markdown.render(many.judge(), many, 8_000)
    assert len(text.encode()) <= 8_000
    assert "**Cut off here**" in text and text.startswith("## ❌ FAIL leakguard: 2,000 new leaks (")
    assert "**Cut off here**" not in markdown.render(many.judge(), many)


def test_one_endless_text_does_not_take_the_room_of_the_others() -> None:
    endless = tuple(
        replace(check, id=f"{check.id}[{'x' * 500_000}]", notes=("y" * 500_000,))
        for check in run().checks
    )
    long = replace(run(), checks=endless)
    text = markdown.render(long.judge(), long)
    assert (
        "NEW LEAK  480 B definitely lost &#40;10 blocks&#41; at " in text
        and "--leakguard-accept=" in text
    )
    assert "**Cut off here**" not in text and len(text) < 50_000
    assert len(html.render(long.judge(), long)) < 1_000_000
    assert all(len(line) < 20_000 for line in github.workflow_commands(long.judge(), long))


def test_a_summary_that_is_nearly_full_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("x" * (markdown.MOST_BYTES - 100))
    conclude.add_job_summary(
        run().judge(), run(), {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}
    )
    assert path.stat().st_size == markdown.MOST_BYTES - 100


def test_the_summary_has_verdict_table_leaks_and_what_to_type() -> None:
    text = markdown.render(run().judge(), run())
    assert text.startswith(
        "## ❌ FAIL leakguard: 2 new leaks, 1 grown leak (1,440 B, 256 B per run, 640 B per request)"
        " in 1 test, 2 programs and 1 service; 1 program inconclusive; 1 test and 1 service clean;"
        " 1 test skipped; 1 test not repeatable\n"
    )
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| <code>tests/")]
    orders = next(row for row in rows if "test&#95;orders" in row[0])
    assert [re.sub("<.?code>", "", cell) for cell in orders[1:4]] == [
        "❌ leak",
        "640 B per request &#91;630 B, 650 B&#93;",
        "96 B",
    ]
    assert re.fullmatch("[▁-█]{40} \\|", orders[4])
    for told in (
        "reproduce      pytest-leakguard run",
        "--leakguard-accept=",
        "1 known leak (2,048 B",
        "kept alive by  module",
    ):
        assert told in text


def test_hostile_text_makes_no_markdown() -> None:
    text = markdown.render(hostile_run().judge(), hostile_run())
    assert (
        "<script" not in text and "<img" not in text and "\x1b" not in text and "\u202e" not in text
    )
    assert "![x]" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    assert text.count("<pre>") == text.count("</pre>") and text.count("<details") == text.count(
        "</details>"
    )
    inline = re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", text, flags=re.DOTALL)
    for sign in ("@team", "http", "alert"):
        assert sign not in inline
    for cell in re.findall(r"<code>(.*?)</code>", text):
        assert not re.search(r"[`|@\[\]<>\n]", cell)


def test_the_hostile_example_is_hostile_everywhere() -> None:
    """Guards the tests above against an example that has become harmless."""
    spoilt = hostile_run()
    assert len(spoilt.checks) == len(checks()) and all(
        HOSTILE in check.id for check in spoilt.checks
    )
    assert spoilt.judge().summary == replace(spoilt, checks=checks()).judge().summary
