"""Every report of one run says the same: verdict, counts, fingerprints. Each is read by its own reader."""

from __future__ import annotations

import html as markup
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import pytest
from junitparser import Error, Failure, JUnitXml, Properties, Skipped

from pytest_leakguard.core.leaks import LeakKind
from pytest_leakguard.reporters import github, terminal, write
from pytest_leakguard.verdict import Policy, Run
from tests.reporters.example import clean_run, finding, hostile_run, run

OUTCOMES = {
    "clean": "clean",
    "inconclusive": "inconclusive",
    "skipped": "skipped",
    "not repeatable": "not_repeatable",
}
_CHECKS = r"(?:[\d,]+ (?:test|program|service)s?(?:, | and )?)+"
_NAME = re.compile(r"\b[0-9a-f]{16}\b")


@dataclass(frozen=True)
class Said:
    """What one report says; ``None`` where it has no place for it."""

    has_failed: bool
    counts: dict[str, int] | None
    failing: frozenset[str] | None
    """All fingerprints that fail."""
    causes: frozenset[str] | None
    """Without what was lost through others."""


def in_words(text: str) -> tuple[bool, dict[str, int]]:
    """The verdict's own sentence: ``FAIL leakguard: 1 new leak (384 B) in 2 tests; 1 test clean``."""
    match = re.search(r"\b(FAIL|ok) leakguard: ([^\n]*)", text)
    assert match, text
    counts = dict.fromkeys(("leak", *OUTCOMES.values()), 0)
    for segment in match[2].split("; "):
        if leaks := re.match(r"[\d,]+ (?:new|grown|expired) leak.*\) in (.*)", segment):
            counts["leak"] = checks_in(leaks[1])
        for adjective, outcome in OUTCOMES.items():
            if re.fullmatch(rf"(?:nothing was measured \()?{_CHECKS} {adjective}\)?", segment):
                counts[outcome] = checks_in(segment)
    return match[1] == "FAIL", counts


def checks_in(segment: str) -> int:
    """How many checks ``2 tests and 1 program`` are."""
    numbers = re.findall(r"([\d,]+) (?:test|program|service)", segment)
    return sum(int(number.replace(",", "")) for number in numbers)


def by_terminal(lines: list[str]) -> Said:
    has_failed, counts = in_words(next(line for line in reversed(lines) if " leakguard: " in line))
    causes = [line.split()[-1] for line in lines if re.match(r"\d+\. [A-Z]+ LEAK  ", line)]
    through = [_NAME.findall(line)[-1] for line in lines if line.startswith("     and through it ")]
    return Said(has_failed, counts, frozenset(causes + through), frozenset(causes))


def by_json(text: str, policy: Policy) -> Said:
    data = json.loads(text)
    failing = []
    for name, one in data["findings"].items():
        is_failing = {
            "new": one["gates"] and not policy.is_accepting,
            "grown": not policy.is_accepting,
            "expired": policy.is_strict and not policy.is_accepting,
            "known": False,
        }
        failing += [name] if is_failing[one["status"]] else []
    return Said(data["exit_status"] != 0, data["summary"], frozenset(failing), None)


def by_junit(text: str, gating: set[str]) -> Said:
    counts, failing = dict.fromkeys(("leak", *OUTCOMES.values()), 0), set()
    for suite in JUnitXml.fromstring(text.encode()):
        for case in suite:
            told = {one.name: one.value for one in case.child(Properties) or ()}
            counts[told["leakguard_outcome"]] += 1
            kinds = {type(result) for result in case.result}
            wanted = {"leak": {Failure}, "inconclusive": {Error}, "clean": set()}
            assert kinds == wanted.get(told["leakguard_outcome"], {Skipped})
            pairs = (pair.split(":") for pair in told["leakguard_findings"].split(",") if pair)
            failing |= {
                name for name, status in pairs if status in ("new", "grown") and name in gating
            }
        assert (suite.failures, suite.errors) == (counts["leak"], counts["inconclusive"])
    return Said(False, counts, frozenset(failing), None)


def by_sarif(text: str) -> Said:
    (log,) = json.loads(text)["runs"]
    (invocation,) = log["invocations"]
    errors = [
        one["partialFingerprints"]["leakguardStack/v1"]
        for one in log["results"]
        if one["level"] == "error"
    ]
    return Said(invocation["exitCode"] != 0, None, frozenset(errors), None)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.causes: list[str] = []
        self.counts: dict[str, int] = {}
        self.rows: list[str] = []
        self.verdict, self.text, self._in = "", "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self._in = told.get("class", "") if tag == "p" else tag
        if "data-fingerprint" in told:
            self.causes.append(told["data-fingerprint"])
        if "data-outcome" in told:
            self.counts[told["data-outcome"]] = int(told["data-count"])
        if "data-check-outcome" in told:
            self.rows.append(told["data-check-outcome"])
        if tag == "header":
            self.verdict = told["class"]

    def handle_data(self, data: str) -> None:
        if self._in == "through":
            self.text += data


def by_html(text: str) -> Said:
    page = _Page()
    page.feed(text)
    title = re.search("<title>(.*?)</title>", text)
    assert title
    has_failed, counts = in_words(markup.unescape(title[1]))
    assert counts == page.counts and has_failed == (page.verdict == "bad")
    assert {name: page.rows.count(name) for name in page.counts} == page.counts, (
        "the table of checks"
    )
    return Said(
        has_failed,
        counts,
        frozenset(page.causes + _NAME.findall(page.text)),
        frozenset(page.causes),
    )


def by_markdown(text: str) -> Said:
    has_failed, counts = in_words(text.splitlines()[0])
    assert text.startswith("## ❌" if has_failed else "## ✅")
    causes = re.findall(r"<summary><code>[A-Z]+ LEAK .*<code>([0-9a-f]{16})</code></summary>", text)
    through = re.findall(r"and through it .*  ([0-9a-f]{16})", text)
    return Said(has_failed, counts, frozenset(causes + through), frozenset(causes))


def by_annotations(lines: list[str]) -> Said:
    errors = [line for line in lines if line.startswith("::error ")]
    causes = [_NAME.findall(line)[0] for line in errors if " leak%3A " in line]
    through = [
        name for line in errors for name in re.findall(r"and through it .*?  ([0-9a-f]{16})", line)
    ]
    return Said(bool(errors), None, frozenset(causes + through), frozenset(causes))


def by_code_quality(text: str) -> Said:
    critical = [one["fingerprint"] for one in json.loads(text) if one["severity"] == "critical"]
    return Said(False, None, frozenset(critical), None)


def all_said(
    one: Run, texts: dict[str, str], lines: list[str], commands: list[str]
) -> Iterator[tuple[str, Said]]:
    gating = {
        name for name, told in json.loads(texts["report.json"])["findings"].items() if told["gates"]
    }
    yield "report.json", by_json(texts["report.json"], one.policy)
    yield "terminal", by_terminal(lines)
    yield "report.html", by_html(texts["report.html"])
    yield "summary.md", by_markdown(texts["summary.md"])
    yield "report.sarif", by_sarif(texts["report.sarif"])
    yield "annotations", by_annotations(commands)
    yield "junit.xml", by_junit(texts["junit.xml"], gating)
    yield "gl-code-quality.json", by_code_quality(texts["gl-code-quality.json"])


def assert_all_agree(said: dict[str, Said], policy: Policy) -> None:
    reference, roots = said["report.json"], said["terminal"]
    for name, told in said.items():
        if name not in ("junit.xml", "gl-code-quality.json"):  # they say it by their cases
            assert told.has_failed == reference.has_failed, name
        if told.counts is not None:
            assert told.counts == reference.counts, name
        if name == "junit.xml" and policy != Policy():
            continue  # says each finding's status, not what an option makes of it
        assert told.failing == reference.failing, name
        if told.causes is not None:
            assert told.causes == roots.causes, name


def nine_leaks() -> Run:
    program = replace(run().checks[2], findings=tuple(finding(name) for name in "12345678"))
    return replace(clean_run(), checks=(*clean_run().checks, program))


RUNS: dict[str, Callable[[], Run]] = {
    "example": run,
    "hostile": hostile_run,
    "clean": clean_run,
    "nothing": lambda: replace(clean_run(), checks=()),
    "strict": lambda: replace(run(), policy=Policy(is_strict=True)),
    "accepting": lambda: replace(run(), policy=Policy(is_accepting=True)),
    "crashed": lambda: replace(clean_run(), problems=("worker gw0 crashed",)),
    "many": nine_leaks,
    "indirect only": lambda: replace(
        clean_run(),
        checks=(replace(run().checks[2], findings=(finding("b", LeakKind.INDIRECTLY_LOST),)),),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_all_reports_of_a_run_say_the_same(name: str) -> None:
    one = RUNS[name]()
    verdict = one.judge()
    lines = [line.text for line in terminal.render(verdict, one.policy, one.root)]
    said = dict(
        all_said(
            one, dict(write.render_all(verdict, one)), lines, github.workflow_commands(verdict, one)
        )
    )
    assert len(said) == 8
    assert_all_agree(said, one.policy)


def test_all_reports_of_a_real_run_say_the_same(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import pytest
        KEEP, DROP = [], []
        def test_leaks(): KEEP.append({"a": object()})
        def test_leaks_too(): DROP.append([object()])
        def test_clean(): pass
        @pytest.mark.leakguard(skip="on purpose")
        def test_skipped(): pass
        def test_program(leakguard): leakguard.run(["/bin/true"], tool="sanitizer")
        """
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest_subprocess(
        "-p", "no:hypothesispytest", "--leakguard", "--leakguard-report=out"
    )
    assert result.ret == 1
    section = result.outlines[
        next(n for n, line in enumerate(result.outlines) if re.match("=+ leakguard =+", line)) :
    ]
    commands = [line for line in section if line.startswith("::")]
    texts = {path.name: path.read_text() for path in (pytester.path / "out").iterdir()}
    end = next(number for number, line in enumerate(section) if " leakguard: " in line)
    said = dict(all_said(clean_run(), texts, section[: end + 1], commands))
    assert_all_agree(said, Policy())
    assert said["report.json"].counts == {
        "clean": 1,
        "leak": 2,
        "inconclusive": 1,
        "skipped": 1,
        "not_repeatable": 0,
    }
    assert len(said["report.json"].failing or ()) == 2


def test_hostile_text_reaches_no_terminal_raw() -> None:
    one = hostile_run()
    lines = [line.text for line in terminal.render(one.judge(), one.policy, one.root, 2)]
    texts = [terminal.failure_text(judged, one.policy, one.root) for judged in one.judge().checks]
    for judged in one.judge().checks:
        texts.append(terminal.failure_in_short(judged, one.policy, one.root))
    assert not any(char in line for line in lines for char in "\n\r\x1b\u202e")
    assert not any(char in text for text in texts for char in "\r\x1b\u202e")
    assert not any(line.startswith("::") for text in (*lines, *texts) for line in text.splitlines())
