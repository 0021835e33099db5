"""Suppression files of valgrind and LSan become ``ignore``; baselines become both."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from pytest_leakguard.core import patterns
from pytest_leakguard.core.leaks import Frame
from pytest_leakguard.programs.toml_table import read_patterns

VALGRIND = """# of our own
{
   openssl once
   Memcheck:Leak
   match-leak-kinds: definite
   fun:malloc
   ...
   fun:OPENSSL_init_ssl
   obj:/usr/lib/*/libssl.so*
}
{
   something else
   Memcheck:Cond
   fun:foo
}
"""
LSAN = "leak:libfoo\nleak:^init$\n"
LEAKY = """
#include <stdlib.h>
__attribute__((noinline)) void lose(int n) { volatile char *p = malloc(n); p[0] = 1; }
int main(void) { lose(33); return 0; }
"""
BASELINE = """version = 1
[leak."0123456789abcdef"]
kind = "definitely_lost"
targets = ["shop"]
max_bytes = 8
max_blocks = 1
stack = ["OPENSSL_init_ssl (libssl.so.3)", "shop::Server::start(int) (server.cpp)", "??? (libx.so)"]
reason = "one-time"
"""


def test_suppression_files_become_rules_that_pyproject_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.supp").write_text(VALGRIND)
    (tmp_path / "l.supp").write_text(LSAN)
    assert main(["baseline", "import", str(tmp_path / "v.supp"), str(tmp_path / "l.supp")]) == 0
    (tmp_path / "pyproject.toml").write_text(capsys.readouterr().out)
    read = read_patterns(tmp_path / "pyproject.toml")
    assert [rule.name for rule in read.ignore] == [
        "fun:malloc < ... < fun:OPENSSL_init_ssl < module:/usr/lib/*/libssl.so*",
        "any:*libfoo*",
        "any:init",
    ]
    assert read.ignore[0].matches(
        (
            Frame("malloc"),
            Frame("CRYPTO_malloc"),
            Frame("OPENSSL_init_ssl"),
            Frame("start", module="/usr/lib/x86_64-linux-gnu/libssl.so.3"),
        )
    )


def test_what_is_no_suppression_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.supp").write_text("int main(void);\n")
    assert main(["baseline", "import", str(tmp_path / "x.supp")]) == 3
    assert main(["baseline", "import", str(tmp_path / "none.supp")]) == 2


def test_accepted_leaks_are_written_for_both_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "baseline.toml"
    path.write_text(BASELINE)
    assert main(["baseline", "export", "valgrind", "--baseline", str(path)]) == 0
    text = capsys.readouterr().out
    assert "match-leak-kinds: definite" in text
    calls = [
        line.strip() for line in text.splitlines() if line.strip().startswith(("fun:", "obj:"))
    ]
    assert calls == ["fun:OPENSSL_init_ssl", "fun:*5start*", "obj:*libx.so*"]
    assert main(["baseline", "export", "sanitizer", "--baseline", str(path)]) == 0
    assert "leak:OPENSSL_init_ssl\n" in capsys.readouterr().out


@pytest.mark.programs
def test_valgrind_takes_what_was_written_for_it(
    tmp_path: Path,
    compile_c: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    program = str(compile_c(LEAKY))
    tool = ["--tool", "valgrind"]
    assert main(["run", *tool, "--accept", "known", "--", program]) == 0
    capsys.readouterr()
    assert main(["baseline", "export", "valgrind"]) == 0
    (tmp_path / "made.supp").write_text(capsys.readouterr().out)
    (tmp_path / "leakguard-baseline.toml").unlink()
    assert main(["run", *tool, "--", program]) == 1
    assert main(["run", *tool, "--suppressions", "made.supp", "--", program]) == 0


@pytest.mark.programs
def test_a_rule_of_pyproject_lets_a_program_pass_and_says_so(
    tmp_path: Path,
    compile_c: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    program = str(compile_c(LEAKY))
    rules = [{"pattern": "fun:lose", "reason": "a fixture of ours"}]
    (tmp_path / "pyproject.toml").write_text(
        "[tool.leakguard]\nignore = [{ pattern = 'fun:lose', reason = 'a fixture of ours' },"
        " 'module:ssl']\n"
    )
    assert main(["run", "--tool", "valgrind", "--", program]) == 0
    out = capsys.readouterr().out
    assert "ignored by fun:lose: a fixture of ours (1 leak, 33 B)" in out
    assert "ignore: module:ssl matched nothing in this run" in out
    assert patterns.read(rules, "ignore")[0].name == "fun:lose"
    assert tomllib.loads((tmp_path / "pyproject.toml").read_text())


def test_a_plugin_may_ship_rules_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        def pytest_leakguard_ignore(config):
            return [{"pattern": "file:test_it.py", "reason": "ours"}, "module:unused"]
        """
    )
    pytester.makepyfile(
        test_it="""
        KEPT = []
        def test_it():
            KEPT.append(bytearray(1000))
        """
    )
    result = pytester.runpytest_subprocess("--leakguard")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["ignored by file:test_it.py: ours*", "ignore: module:unused matched nothing in this run"]
    )


def test_another_runs_report_is_a_baseline(pytester: pytest.Pytester) -> None:
    old = """
        KEPT = []
        def test_it():
            KEPT.append(bytearray(1000))
        """
    pytester.makepyfile(test_it=old)
    assert pytester.runpytest_subprocess("--leakguard", "--leakguard-report=base").ret == 1
    compared = ("--leakguard", "--leakguard-baseline=base/report.json")
    assert pytester.runpytest_subprocess(*compared).ret == 0
    pytester.makepyfile(
        test_it=old
        + """
        MORE = []
        def test_more():
            MORE.append(bytearray(2000))
        """
    )
    result = pytester.runpytest_subprocess(*compared)
    result.assert_outcomes(passed=1, failed=1)
    refused = pytester.runpytest_subprocess(*compared, "--leakguard-accept=x")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
