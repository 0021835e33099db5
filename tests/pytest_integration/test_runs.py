"""What a user of the plugin sees: failing tests, sections, exit statuses, reports, on one process and on several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parent.parent.parent
LEAKY = """#include <stdlib.h>
__attribute__((noinline)) void *take(int n) { return malloc(n); }
__attribute__((noinline)) void lose(int n) { volatile char *p = take(n); p[0] = 1; }
__attribute__((noinline)) void scrub(void) { volatile char room[8192]; for (int i = 0; i < 8192; i++) room[i] = 0; }
int main(int n, char **v) { lose(100); if (n > 1) lose(50); scrub(); return 0; }
"""
CLEAN = "int main(void) { return 0; }\n"


@pytest.fixture
def programs(pytester: pytest.Pytester, compile_c: Callable[..., Path]) -> pytest.Pytester:
    """A project with one leaky and one clean program, built with LeakSanitizer since that is quick."""
    compile_c(LEAKY, "-fsanitize=leak", name="leaky", folder=pytester.path)
    compile_c(CLEAN, "-fsanitize=leak", name="clean", folder=pytester.path)
    pytester.makeini("[pytest]\n")
    return pytester


def suite(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_programs="""
        def test_leaky(leakguard):
            leakguard.run(["./leaky"])
        def test_leaks_too(leakguard):
            leakguard.run(["./leaky"])
        def test_clean(leakguard):
            leakguard.run(["./clean"])
        """
    )


def test_without_the_option_nothing_happens(programs: pytest.Pytester) -> None:
    suite(programs)
    result = programs.runpytest("-rs")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*leak checks are off; switch them on with --leakguard*"])
    assert "leakguard: " not in result.stdout.str()


def test_a_leak_fails_the_test_and_is_told_with_line_and_size(programs: pytest.Pytester) -> None:
    suite(programs)
    result = programs.runpytest("--leakguard")
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "new leak: 100 B definitely lost at leaky.c:2 in take [[]*[]]",
            "*= leakguard =*",
            "1. NEW LEAK  100 B definitely lost (1 block)  ????????????????",
            "     at leaky.c:2 in take",
            "     __attribute__((noinline)) void [*]take(int n) { return malloc(n); }",
            "     lose           leaky.c:3",
            "     main           leaky.c:5",
            "     in             test_programs.py::test_leaks_too, test_programs.py::test_leaky",
            "     reproduce      pytest-leakguard run --tool sanitizer -- ./leaky",
            "FAIL leakguard: 1 new leak (100 B) in 2 programs; 1 program clean; * s",
        ]
    )
    assert result.ret == 1
    assert result.stdout.str().count("NEW LEAK  ") == 1, "one leak in two tests is one finding"


def test_the_letter_of_a_leak_is_its_own(programs: pytest.Pytester) -> None:
    suite(programs)
    programs.runpytest("--leakguard").stdout.fnmatch_lines(["test_programs.py LL.*"])
    programs.runpytest("--leakguard", "-v").stdout.fnmatch_lines(["*test_leaky LEAK*"])


def report_of(pytester: pytest.Pytester, *arguments: str) -> dict[str, dict[str, object]]:
    pytester.runpytest("--leakguard", "--leakguard-report=out", *arguments)
    data = json.loads((pytester.path / "out" / "report.json").read_text())
    for check in data["checks"]:
        for volatile in ("duration_s", "processes"):
            del check[volatile]
    return data  # type: ignore[no-any-return]  # JSON


def test_on_two_workers_the_findings_are_the_same_and_once_each(programs: pytest.Pytester) -> None:
    suite(programs)
    assert report_of(programs) == report_of(programs, "-n", "2")


def test_the_report_follows_its_schema(programs: pytest.Pytester) -> None:
    suite(programs)
    programs.runpytest("--leakguard", "--leakguard-report=out")
    schema = json.loads((ROOT / "pytest_leakguard" / "schemas" / "report.schema.json").read_text())
    report = json.loads((programs.path / "out" / "report.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report)
    assert report["summary"] == {
        "clean": 1,
        "leak": 2,
        "inconclusive": 0,
        "skipped": 0,
        "not_repeatable": 0,
    }
    (finding,) = report["findings"].values()
    assert finding["checks"] == ["test_programs.py::test_leaks_too", "test_programs.py::test_leaky"]
    assert finding["size_bytes"] == 100
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**report, "summary": {"clean": "one"}})


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_pytests_own_junit_xml_carries_the_leaks(
    programs: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    suite(programs)
    programs.runpytest("--leakguard", "--junitxml=junit.xml", *workers)
    cases = {
        case.get("name"): case
        for case in ElementTree.parse(programs.path / "junit.xml").iter("testcase")
    }
    told = {
        entry.get("name"): entry.get("value", "") for entry in cases["test_leaky"].iter("property")
    }
    assert told["leakguard_outcome"] == "leak"
    assert told["leakguard_definitely_lost_bytes"] == "100"
    assert told["leakguard_findings"].endswith(":new")
    clean = {
        entry.get("name"): entry.get("value") for entry in cases["test_clean"].iter("property")
    }
    assert clean["leakguard_outcome"] == "clean"


def test_accepting_needs_a_reason_and_makes_the_next_run_pass(programs: pytest.Pytester) -> None:
    suite(programs)
    refused = programs.runpytest("--leakguard", "--leakguard-accept= ")
    assert refused.ret == 4
    accepted = programs.runpytest("--leakguard", "--leakguard-accept=one-time init")
    accepted.stdout.fnmatch_lines(
        ["accepted 1 leak into leakguard-baseline.toml; review and commit the file"]
    )
    assert accepted.ret == 0
    text = (programs.path / "leakguard-baseline.toml").read_text()
    assert 'reason = "one-time init"' in text
    assert str(programs.path) not in text
    again = programs.runpytest("--leakguard")
    again.stdout.fnmatch_lines(
        ["accepted: 1 known leak (100 B)", "ok leakguard: 3 programs clean; *"]
    )
    assert again.ret == 0


def test_a_leak_that_grew_fails(programs: pytest.Pytester) -> None:
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./leaky"])\n')
    programs.runpytest("--leakguard", "--leakguard-accept=known")
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./leaky", "more"])\n')
    result = programs.runpytest("--leakguard")
    result.stdout.fnmatch_lines(
        ["1. GROWN LEAK  150 B definitely lost*", "*grown  * 150 bytes, accepted were 100*"]
    )
    assert result.ret == 1


def test_two_small_leaks_of_one_name_do_not_pass_an_accepted_one(programs: pytest.Pytester) -> None:
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./leaky", "more"])\n')
    programs.runpytest("--leakguard", "--leakguard-accept=known")
    baseline = programs.path / "leakguard-baseline.toml"
    baseline.write_text(baseline.read_text().replace("max_bytes = 150", "max_bytes = 100"))
    assert programs.runpytest("--leakguard").ret == 1


def test_a_fixed_leak_is_told_and_pruned_and_fails_only_when_strict(
    programs: pytest.Pytester,
) -> None:
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./leaky"])\n')
    programs.runpytest("--leakguard", "--leakguard-accept=known")
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./clean"])\n')
    told = programs.runpytest("--leakguard")
    told.stdout.fnmatch_lines(
        [
            "fixed: 1 accepted leak (*); to remove from the baseline: pytest --leakguard --leakguard-prune"
        ]
    )
    assert told.ret == 0
    strict = programs.runpytest("--leakguard", "--leakguard-strict")
    strict.stdout.fnmatch_lines(
        ["FAIL leakguard: 1 program clean; *; 1 accepted leak is fixed: prune the baseline"]
    )
    assert strict.ret == 1
    pruned = programs.runpytest("--leakguard", "--leakguard-prune")
    pruned.stdout.fnmatch_lines(["pruned 1 fixed leak from leakguard-baseline.toml"])
    assert "[leak." not in (programs.path / "leakguard-baseline.toml").read_text()


def test_a_program_that_fails_early_does_not_make_its_leak_fixed(
    programs: pytest.Pytester, compile_c: Callable[..., Path]
) -> None:
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./leaky"])\n')
    programs.runpytest("--leakguard", "--leakguard-accept=known")
    compile_c(
        "int main(void) { return 1; }\n", "-fsanitize=leak", name="leaky", folder=programs.path
    )
    result = programs.runpytest("--leakguard", "--leakguard-prune")
    result.stdout.fnmatch_lines(["not checked: 1 accepted leak of*", "pruned 0 fixed leaks*"])
    assert "[leak." in (programs.path / "leakguard-baseline.toml").read_text()


def test_entries_of_tests_that_did_not_run_are_not_called_fixed(programs: pytest.Pytester) -> None:
    suite(programs)
    programs.runpytest("--leakguard", "--leakguard-accept=known")
    result = programs.runpytest("--leakguard", "-k", "clean")
    result.stdout.fnmatch_lines(["not checked: 1 accepted leak of*"])
    assert "no longer leak" not in result.stdout.str()


@pytest.mark.parametrize("option", ["--leakguard-accept=why", "--leakguard-prune"])
@pytest.mark.parametrize("variable", ["CI", "BUILD_NUMBER"])
def test_ci_never_writes_the_baseline(
    programs: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, option: str, variable: str
) -> None:
    suite(programs)
    monkeypatch.setenv(variable, "true")
    result = programs.runpytest("--leakguard", option)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*CI must not do*"])
    assert not (programs.path / "leakguard-baseline.toml").exists()


def test_a_damaged_baseline_is_a_usage_error_with_its_line(programs: pytest.Pytester) -> None:
    suite(programs)
    (programs.path / "leakguard-baseline.toml").write_text('version = 1\n[leak."12"]\nkind = "x"\n')
    result = programs.runpytest("--leakguard")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*leakguard-baseline.toml:2:*no fingerprint*"])


def test_declared_targets_are_tests(programs: pytest.Pytester) -> None:
    programs.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        [tool.leakguard.targets.first]
        command = ["./leaky"]
        [tool.leakguard.targets.second]
        command = ["./clean"]
        """
    )
    (programs.path / "tox.ini").unlink()
    result = programs.runpytest("--leakguard", "-v")
    result.stdout.fnmatch_lines(["pyproject.toml::first LEAK*", "pyproject.toml::second PASSED*"])
    assert result.ret == 1
    assert programs.runpytest().ret == 5, "without --leakguard there is nothing to collect"
    one = programs.runpytest("--leakguard", "pyproject.toml::second")
    one.assert_outcomes(passed=1)
    both = programs.runpytest("--leakguard", "-n", "2")
    both.assert_outcomes(passed=1, failed=1)


def test_an_unknown_key_of_a_target_is_named(programs: pytest.Pytester) -> None:
    programs.makepyprojecttoml(
        '[tool.pytest.ini_options]\n[tool.leakguard.targets.x]\ncommand = ["./clean"]\ntoool = 1\n'
    )
    (programs.path / "tox.ini").unlink()
    result = programs.runpytest("--leakguard")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["*pyproject.toml: [[]tool.leakguard.targets.x[]]: unknown key 'toool'*"]
    )


def test_a_missing_tool_skips_here_and_fails_in_ci(
    programs: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    programs.makepyfile(
        'def test_it(leakguard):\n    leakguard.run(["./clean"], tool="valgrind")\n'
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    here = programs.runpytest("--leakguard", "-rs")
    here.stdout.fnmatch_lines(
        ["*valgrind is not installed*", "FAIL leakguard: nothing was measured*"]
    )
    assert here.ret != 0, "a gate that skips everything is not green"
    monkeypatch.setenv("CI", "true")
    there = programs.runpytest("--leakguard")
    there.assert_outcomes(failed=1)
    assert there.ret == 1


def test_the_test_itself_still_fails_for_its_own_reasons(programs: pytest.Pytester) -> None:
    programs.makepyfile(
        'def test_it(leakguard):\n    leakguard.run(["./clean"])\n    assert 0, "mine"\n'
    )
    result = programs.runpytest("--leakguard")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: mine*", "ok leakguard: 1 program clean; *"])
    assert result.ret == 1


def test_two_runs_in_one_test_are_two_checks(programs: pytest.Pytester) -> None:
    programs.makepyfile(
        'def test_it(leakguard):\n    for _ in range(2):\n        leakguard.run(["./clean"])\n'
    )
    assert [check["id"] for check in report_of(programs)["checks"]] == [  # type: ignore[index]  # JSON
        "test_two_runs_in_one_test_are_two_checks.py::test_it",
        "test_two_runs_in_one_test_are_two_checks.py::test_it#2",
    ]


def test_a_string_for_a_command_is_refused(programs: pytest.Pytester) -> None:
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run("./clean")\n')
    programs.runpytest("--leakguard").stdout.fnmatch_lines(["*argv must be a list*no shell*"])


def test_the_marker_tunes_one_test(programs: pytest.Pytester) -> None:
    programs.makepyfile(
        """
        import pytest
        @pytest.mark.leakguard(kinds="still_reachable")
        def test_it(leakguard):
            leakguard.run(["./leaky"])
        """
    )
    result = programs.runpytest("--leakguard")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["not failing: 100 B definitely lost at 1 place"])


def test_output_of_the_target_cannot_reach_the_terminal_raw(
    programs: pytest.Pytester, compile_c: Callable[..., Path]
) -> None:
    source = '#include <stdio.h>\nint main(void) { fputs("\\033[31mred\\007\\n::error::x\\n", stderr); return 3; }\n'
    compile_c(source, "-fsanitize=leak", name="rude", folder=programs.path)
    programs.makepyfile('def test_it(leakguard):\n    leakguard.run(["./rude"])\n')
    text = programs.runpytest("--leakguard", "--color=no").stdout.str()
    assert "\x1b" not in text and "\x07" not in text
    assert "\\x1b[31mred\\x07" in text
    assert not any(line.startswith("::error") for line in text.splitlines())


def test_no_empty_line_follows_the_title_of_the_section(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_subprocess("--leakguard")
    result.stdout.fnmatch_lines(["*= leakguard =*", "ok leakguard: *"], consecutive=True)
