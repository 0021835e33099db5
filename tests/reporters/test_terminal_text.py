"""The section of a run at two widths and three verbosities, word for word, and what it folds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, Frame, LeakKind
from pytest_leakguard.core.text import counted, readable_name, short_path, size
from pytest_leakguard.reporters import calls_text, terminal
from pytest_leakguard.verdict import Policy, Run
from tests.e2e.test_golden_output import compare
from tests.reporters.example import clean_run, hostile_run, run

ROOT = Path("/project")
FLASK = "/usr/lib/python3/dist-packages/flask/app.py"
WERKZEUG = "/venv/lib/python3.12/site-packages/werkzeug/test.py"
STRING = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >"


def shown(one: Run, columns: int = 80, verbosity: int = 0) -> list[str]:
    lines = terminal.render(
        one.judge(), one.policy, one.root, verbosity, terminal.PYTEST, columns, spent_s=2.1
    )
    return [line.text for line in lines]


def leak_of(stack: tuple[Frame, ...], **changes: object) -> Finding:
    found = Finding("a" * 16, LeakKind.DEFINITELY_LOST, 64, 1, stack)
    return replace(found, **changes)  # type: ignore[arg-type]  # any field


def run_of(*findings: Finding, kind: str = "test") -> Run:
    checks = []
    for number, finding in enumerate(findings):
        name = f"test_it.py::test_{number}"
        command = f"pytest --leakguard {name}"
        checks.append(Check(name, kind, "tracker", (finding,), reproduce=command))
    return replace(clean_run(), checks=tuple(checks), root=ROOT)


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("verbosity", [-1, 0, 1, 2], ids=["q", "plain", "v", "vv"])
def test_the_section_says_what_it_always_said(columns: int, verbosity: int) -> None:
    name = {-1: "q", 0: "plain", 1: "v", 2: "vv"}[verbosity]
    compare(f"section_{name}_{columns}.txt", "\n".join(shown(run(), columns, verbosity)))


@pytest.mark.parametrize("columns", [80, 200])
def test_each_leak_is_explained_once_whatever_the_width(columns: int) -> None:
    text = "\n".join(shown(run(), columns))
    for finding in run().judge().failing:
        assert text.count(finding.fingerprint) == 1


def test_library_frames_are_folded_and_the_tests_own_line_is_shown() -> None:
    own = [Frame("Order", "/project/shop.py", 7), Frame("show", "/project/shop.py", 16)]
    theirs = [Frame(f"call_{number}", FLASK, number) for number in range(6)]
    theirs += [Frame(f"send_{number}", WERKZEUG, number) for number in range(3)]
    stack = (*own, *theirs, Frame("test_order", "/project/test_shop.py", 4))
    lines = shown(run_of(leak_of(stack)))
    at = lines.index("     show           shop.py:16")
    assert lines[at + 1] == "     … 9 frames in flask, werkzeug"
    assert lines[at + 2].split() == ["test_order", "test_shop.py:4"]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (["testing::Test::Run()", "testing::TestInfo::Run()"], "GoogleTest"),
        (
            ["Catch::TestInvokerAsFunction::invoke() const", "Catch::Session::run()"],
            "Catch2",
        ),
        (["doctest::Context::run()", "doctest::detail::x()"], "doctest"),
    ],
)
def test_frames_of_runners_are_folded(frames: list[str], words: str) -> None:
    runner = [Frame(name, "/src/runner.cc", 1) for name in frames]
    stack = (
        Frame("take", "/project/a.cc", 2),
        Frame("T::TestBody()", "/project/t.cc", 9),
        *runner,
    )
    assert f"     … 2 frames in {words}" in shown(run_of(leak_of(stack), kind="program"))


def test_a_deep_recursion_keeps_both_of_its_ends() -> None:
    deep = tuple(Frame(f"visit_{number}", "/project/a.c", number + 1) for number in range(200))
    calls = calls_text.callers(leak_of((Frame("take", "/project/a.c", 900), *deep)), ROOT)
    assert len(calls) == calls_text.MOST_CALLS
    assert calls[0].name == "visit_0" and calls[-1].name == "visit_199"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (f"void shop::add({STRING} const&)", "shop::add"),
        (f"shop::Cart<{STRING}>::put(int)", "shop::Cart<std::string>::put"),
        (
            f"std::map<int, {STRING}, std::less<int>, std::allocator<std::pair<int const, {STRING}"
            " > > >::at(int const&)",
            "std::map<int, std::string>::at",
        ),
        ("int* make<unsigned long>(int)", "make<unsigned long>"),
        ("operator<<(std::ostream&, int)", "operator<<(std::ostream&, int)"),
        ("main", "main"),
    ],
)
def test_names_read_as_their_author_wrote_them(name: str, read: str) -> None:
    assert readable_name(name) == read


def test_paths_are_relative_to_the_project_or_the_package() -> None:
    assert short_path("/project/src/a.c", ROOT) == "src/a.c"
    assert short_path(WERKZEUG, ROOT) == "werkzeug/test.py"
    assert short_path("/root/.pyenv/lib/python3.11/json/decoder.py", ROOT) == "json/decoder.py"
    assert short_path("/elsewhere/a.c", ROOT) == "/elsewhere/a.c"


def test_sizes_and_numbers_are_english() -> None:
    assert [size(384), size(1280), size(2_056_296)] == ["384 B", "1,280 B", "1.96 MiB"]
    assert counted(1, "leak") == "1 leak"
    assert counted(2, "child process") == "2 child processes"


def test_the_headline_counts_leaks_and_bytes() -> None:
    many = run_of(*(leak_of((Frame(f"f{n}", "/project/a.c", 1),)) for n in range(3)))
    named = tuple(
        replace(check, findings=(replace(check.findings[0], fingerprint=f"{n:016x}"),))
        for n, check in enumerate(many.checks)
    )
    last = shown(replace(many, checks=named))[-1]
    assert last == "FAIL leakguard: 3 new leaks (192 B per run) in 3 tests; +2.1 s"


def test_no_text_of_a_target_is_in_the_headline() -> None:
    assert "script" not in terminal.in_words(hostile_run().judge())


def test_a_source_line_is_read_in_the_project_only(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.c").write_text("one\n  two = 2;\n")
    (tmp_path / "secret.c").write_text("secret\n")
    (tmp_path / "project" / "link.c").symlink_to(tmp_path / "secret.c")
    root = tmp_path / "project"
    assert calls_text.source(leak_of((Frame("f", "a.c", 2),)), root) == "two = 2;"
    for file in (str(tmp_path / "secret.c"), "../secret.c", "link.c"):
        assert calls_text.source(leak_of((Frame("f", file, 1),)), root) == ""


SUITE = """
    KEEP = []
    def test_leaks(): KEEP.append(bytearray(200))
    def test_leaks_too(): KEEP.append(bytearray(200))
    def test_clean(): pass
"""


def test_a_session_says_what_is_on_what_leaks_and_what_it_cost(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(SUITE)
    options = ("--leakguard", "--leakguard-confirm=1", "--leakguard-report=out")
    result = pytester.runpytest_subprocess(*options)
    result.stdout.fnmatch_lines(
        [
            "leakguard: all tests; no baseline; reports in out",
            "new leak: * B per run at * in test_leaks [[]????????????????[]]",
            "1. NEW LEAK  * B per run (* blocks)*",
            "     def test_leaks(): KEEP.append(bytearray(200))",
            "     reproduce      pytest --leakguard *::test_leaks",
            'To accept: pytest --leakguard --leakguard-accept "reason"',
            "FAIL leakguard: 2 new leaks (* B per run) in 2 tests; 1 test clean; +* s",
        ]
    )
    assert "\x1b[" not in result.stdout.str(), "colour is for terminals"


def test_a_quiet_session_is_a_line_for_each_leak(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("--leakguard", "--leakguard-confirm=1", "-q")
    text = result.stdout.str()
    assert "kept alive by" not in text and "leakguard: all tests" not in text
    assert text.count(" NEW LEAK  ") == 2


def test_colour_is_pytests_own_decision(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("--leakguard", "--leakguard-confirm=1", "--color=yes")
    assert "\x1b[31m1. NEW LEAK" in result.stdout.str()


def test_the_script_that_starts_a_library_is_folded_with_it() -> None:
    own = Frame("order", "/project/shop.py", 28)
    inside = (
        Frame("handle", "/venv/lib/python3.12/site-packages/gunicorn/sync.py", 134),
        Frame("run", "/venv/lib/python3.12/site-packages/gunicorn/base.py", 71),
        Frame("<module>", "/venv/bin/gunicorn", 8),
    )
    lines = calls_text.callers(leak_of((Frame("leak", "/project/shop.py", 44), own, *inside)), ROOT)
    assert [line.name for line in lines] == ["order", "… 3 frames in gunicorn"]


def test_what_was_lost_through_a_block_is_no_leak_of_its_own_in_a_failing_test() -> None:
    main = Frame("main", "/project/a.cc", 9)
    lost = leak_of((Frame("decode", "/project/a.cc", 3), main))
    fill = (Frame("fill", "/project/a.cc", 5), main)
    inside = leak_of(fill, fingerprint="b" * 16, kind=LeakKind.INDIRECTLY_LOST)
    check = Check("test_it.py::test_it", "program", "valgrind", (inside, lost))
    (judged,) = Run((check,)).judge().checks
    told = terminal.failure_in_short(judged, Policy(), ROOT)
    assert len(told.splitlines()) == 1 and "in decode" in told
