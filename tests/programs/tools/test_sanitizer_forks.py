"""Forked children of a sanitizer build: what they lose is found, and none vanishes without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.programs import Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.programs.tools import sanitizer_forks
from pytest_leakguard.verdict import Policy, judge_check

pytestmark = pytest.mark.programs
SOURCE = """
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
static void *volatile kept;
static void __attribute__((noinline)) child_loses(void) { kept = malloc(77); kept = 0; }
static void __attribute__((noinline)) scrub(void) {
    volatile char room[4096];
    for (int i = 0; i < 4096; i++) room[i] = 0;
}
int main(int count, char **words) {
    if (fork() == 0) {
        if (strstr(words[1], "lose")) child_loses();
        scrub();
        if (strstr(words[1], "_exit")) _exit(0);
        if (strstr(words[1], "kill")) raise(SIGKILL);
        if (strstr(words[1], "exec")) execlp("true", "true", (char *)0);
        exit(0);
    }
    wait(0);
    return 0;
}
"""


@pytest.fixture(params=["gcc-address", "gcc-leak", "clang-address"])
def program(request: pytest.FixtureRequest, compile_c: Callable[..., Path]) -> Path:
    compiler, _, kind = str(request.param).partition("-")
    return compile_c(SOURCE, f"-fsanitize={kind}", compiler=compiler)


def checked(program: Path, words: str, follows_children: bool = True) -> tuple[Check, Outcome]:
    target = Target((str(program), words), follows_children=follows_children)
    check = check_program(target, Settings(), "forks", "sanitizer")
    return check, judge_check(check, Policy()).outcome


CONSTRUCTED = """
#include <stdlib.h>
static void __attribute__((noinline)) lose(void) { void *volatile lost = malloc(201); lost = 0; }
static void __attribute__((constructor)) begin(void) { lose(); }
int main(void) {
    volatile char room[4096];
    for (int i = 0; i < 4096; i++) room[i] = 0;
    return 0;
}
"""


@pytest.mark.parametrize("build", ["gcc-address", "gcc-leak", "clang-address"])
def test_what_is_lost_before_main_is_found(build: str, compile_c: Callable[..., Path]) -> None:
    """What the loader calls for its own log would leave pointers to it on the stack."""
    compiler, _, kind = build.partition("-")
    program = compile_c(CONSTRUCTED, f"-fsanitize={kind}", compiler=compiler)
    check, outcome = checked(program, "")
    assert outcome is Outcome.LEAK
    assert [finding.size_bytes for finding in check.findings] == [201]


CLOSING = """
#include <dlfcn.h>
int main(int count, char **words) {
    void *plugin = dlopen(words[1], RTLD_NOW);
    if (plugin == 0) return 1;
    ((void (*)(void))dlsym(plugin, "lose_in_plugin"))();
    dlclose(plugin);
    return 0;
}
"""
PLUGIN = """
#include <stdlib.h>
void lose_in_plugin(void) { void *volatile lost = malloc(301); lost = 0; }
"""


@pytest.mark.parametrize("build", ["gcc-address", "clang-address"])
def test_what_a_closed_library_has_lost_has_its_name(
    build: str, compile_c: Callable[..., Path]
) -> None:
    compiler, _, kind = build.partition("-")
    plugin = compile_c(PLUGIN, "-shared", "-fPIC", name="plugin", compiler=compiler)
    program = compile_c(CLOSING, f"-fsanitize={kind}", "-ldl", compiler=compiler)
    check, outcome = checked(program, str(plugin))
    assert outcome is Outcome.LEAK
    (finding,) = check.findings
    assert "lose_in_plugin" in [frame.function for frame in finding.stack]


def test_what_a_child_loses_before_it_calls__exit_is_found(program: Path) -> None:
    check, outcome = checked(program, "lose,_exit")
    assert outcome is Outcome.LEAK
    assert [finding.size_bytes for finding in check.findings] == [77]
    assert "child_loses" in {frame.function for frame in check.findings[0].stack}


def test_a_child_that_a_signal_ends_is_no_clean_answer(program: Path) -> None:
    check, outcome = checked(program, "lose,kill")
    assert outcome is Outcome.INCONCLUSIVE
    assert "a forked child that left no proof" in " ".join(check.problems)
    assert checked(program, "lose,kill", follows_children=False)[1] is Outcome.CLEAN


@pytest.mark.parametrize("words", ["_exit", "exec", "exit"])
def test_children_that_lose_nothing_are_clean(program: Path, words: str) -> None:
    check, outcome = checked(program, words)
    assert outcome is Outcome.CLEAN, check.problems


def test_without_a_compiler_the_run_says_what_it_may_have_missed(
    compile_c: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_c(SOURCE, "-fsanitize=address")
    monkeypatch.setattr(sanitizer_forks, "library", lambda: None)
    check, _ = checked(program, "exit")
    assert sanitizer_forks.MISSED in check.notes
