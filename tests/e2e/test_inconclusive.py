"""An inconclusive check never passes: each way a tool, a program or a report can fail, with real tools and real programs."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.baseline.compare import Baseline, compare
from pytest_leakguard.core.checks import Check, Outcome
from pytest_leakguard.core.errors import UsageProblem
from pytest_leakguard.core.programs import Launch, Report, RunStatus, Target
from pytest_leakguard.core.settings import Settings
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs.check import check_program
from pytest_leakguard.programs.existing_reports import check_files
from pytest_leakguard.programs.tools import BACKENDS
from pytest_leakguard.verdict import INCONCLUSIVE, Judged, Policy, judge

pytestmark = pytest.mark.programs
Compile = Callable[..., Path]

LEAK = "__attribute__((noinline)) void lose(int n) { volatile char *p = malloc(n); p[0] = 1; }\n"
HEAD = f"#include <stdlib.h>\n#include <stdio.h>\n#include <signal.h>\n#include <unistd.h>\n#include <string.h>\n{LEAK}"
ENDS = {
    "SIGKILL": "kill(getpid(), SIGKILL);",
    "SIGSEGV": "*(volatile int *)0 = 1;",
    "abort": "abort();",
    "_exit": "_exit(0);",
    "timeout": "for (;;) pause();",
}


def judged(check: Check) -> Judged:
    return judge(compare((check,), Baseline(), dt.date(2026, 1, 1)), Policy()).checks[0]


def run(program: Path, tool: str, *arguments: str, **how: object) -> Check:
    target = replace(Target((str(program), *arguments), timeout_s=20.0), **how)  # type: ignore[arg-type]  # keywords of Target
    return check_program(target, Settings(), "program", tool)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "flags", [(), ("-fsanitize=address",), ("-fsanitize=leak",)], ids=["valgrind", "asan", "lsan"]
)
@pytest.mark.parametrize("leaks", [False, True], ids=["leakless", "leaky"])
def test_a_program_that_is_cut_short_is_never_clean(
    compile_c: Compile, flags: tuple[str, ...], end: str, leaks: bool
) -> None:
    program = compile_c(
        f"{HEAD}int main(void) {{ {'lose(33);' if leaks else ''} {ENDS[end]} return 0; }}", *flags
    )
    tool = "sanitizer" if flags else "valgrind"
    answer = judged(run(program, tool, timeout_s=4.0 if end == "timeout" else 20.0))
    if end == "_exit" and tool == "valgrind":  # valgrind makes its check all the same
        assert answer.outcome is (Outcome.LEAK if leaks else Outcome.CLEAN)
        return
    assert answer.outcome in (Outcome.LEAK, Outcome.INCONCLUSIVE)
    assert answer.reasons
    if end == "timeout":
        assert answer.check.exit.timed_out
    if tool == "valgrind" and leaks:
        assert [finding.size_bytes for finding in answer.check.findings] == [33], (
            "leaks seen before the end are kept"
        )
    if not leaks or tool == "sanitizer":
        assert answer.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("end", ["SIGKILL", "SIGSEGV", "abort"])
def test_the_programs_own_signal_is_reported(compile_c: Compile, end: str) -> None:
    number = {"SIGKILL": 9, "SIGSEGV": 11, "abort": 6}[end]
    for flags in ((), ("-fsanitize=address",)):
        program = compile_c(f"{HEAD}int main(void) {{ {ENDS[end]} return 0; }}", *flags)
        check = run(program, "sanitizer" if flags else "valgrind")
        assert (check.exit.signal, check.exit.code) == (number, None)


def test_the_programs_own_exit_status_is_reported_beside_its_leaks(compile_c: Compile) -> None:
    for flags in ((), ("-fsanitize=address",), ("-fsanitize=leak",)):
        program = compile_c(f"{HEAD}int main(void) {{ lose(33); lose(1); return 5; }}", *flags)
        check = run(program, "sanitizer" if flags else "valgrind")
        assert check.exit.code == 5
        assert sum(finding.size_bytes for finding in check.findings) == 34
        assert judged(check).outcome is Outcome.LEAK
        assert "exit status 5, expected was 0" in judged(check).reasons[0]


def test_a_failing_program_without_leaks_fails_unless_its_status_is_expected(
    compile_c: Compile,
) -> None:
    program = compile_c(f"{HEAD}int main(void) {{ return 5; }}")
    assert judged(run(program, "valgrind")).outcome is Outcome.INCONCLUSIVE
    expected = check_program(Target((str(program),)), Settings(), "program", "valgrind", 5)
    assert judged(expected).outcome is Outcome.CLEAN
    anything = check_program(Target((str(program),)), Settings(), "program", "valgrind", None)
    assert judged(anything).outcome is Outcome.CLEAN


def test_a_killed_child_is_a_missing_report(compile_c: Compile) -> None:
    source = f"""{HEAD}#include <sys/wait.h>
int main(void) {{ pid_t child = fork(); if (!child) for (;;) pause(); sleep(1); kill(child, SIGKILL); wait(0); return 0; }}"""
    answer = judged(run(compile_c(source), "valgrind"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "made no leak check" in answer.reasons[0]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_an_instrumented_child_that_leaves_no_log_is_a_missing_report(
    compiler: str, compile_c: Compile
) -> None:
    """The runtime of gcc is a library, that of clang is in the program."""
    source = f"""{HEAD}#include <sys/wait.h>
int main(int n, char **v) {{ if (n > 1) _exit(0); if (!fork()) {{ execl(v[0], v[0], "x", (char *)0); }} wait(0); return 0; }}"""
    program = compile_c(source, "-fsanitize=address", compiler=compiler)
    answer = judged(run(program, "sanitizer"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "left no proof of a leak check" in answer.reasons[0]


def test_a_broken_suppression_file_is_inconclusive(compile_c: Compile, tmp_path: Path) -> None:
    broken = tmp_path / "broken.supp"
    broken.write_text("{\n   name\n   Memcheck:Leak\n")
    answer = judged(
        run(compile_c(f"{HEAD}int main(void) {{ return 0; }}"), "valgrind", suppressions=(broken,))
    )
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "suppression" in " ".join((*answer.reasons, answer.check.output))


def test_a_tool_that_crashes_is_inconclusive(
    compile_c: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_c(f"{HEAD}int main(void) {{ return 0; }}")
    fake = tmp_path / "bin" / "valgrind"
    fake.parent.mkdir()
    for script in (
        "#!/bin/sh\nexit 0\n",
        "#!/bin/sh\nkill -SEGV $$\n",
        "#!/bin/sh\nexec sleep 0 # says nothing\n",
    ):
        fake.write_text(script)
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        answer = judged(run(program, "valgrind"))
        assert answer.outcome is Outcome.INCONCLUSIVE
        assert "left no valgrind report" in answer.reasons[0]


@pytest.mark.parametrize(
    ("policy", "outcome"), [("skip", Outcome.SKIPPED), ("fail", Outcome.INCONCLUSIVE)]
)
def test_a_missing_tool_is_skipped_or_fails_but_never_clean(
    compile_c: Compile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    outcome: Outcome,
) -> None:
    program = compile_c(f"{HEAD}int main(void) {{ return 0; }}")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    check = check_program(
        Target((str(program),)), Settings(missing_tool=policy), "program", "valgrind"
    )
    verdict = judge(compare((check,), Baseline(), dt.date(2026, 1, 1)), Policy())
    assert verdict.checks[0].outcome is outcome
    assert "apt-get install valgrind" in verdict.checks[0].reasons[0]
    assert verdict.exit_status == INCONCLUSIVE, "a run in which nothing was measured is not green"


def test_a_static_program_is_inconclusive(compile_c: Compile) -> None:
    program = compile_c(f"{HEAD}int main(void) {{ lose(33); return 0; }}", "-static")
    answer = judged(run(program, "valgrind"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "statically linked" in answer.reasons[0]


def test_a_static_child_is_inconclusive(compile_c: Compile, tmp_path: Path) -> None:
    child = compile_c(f"{HEAD}int main(void) {{ lose(33); return 0; }}", "-static", name="child")
    source = f"""{HEAD}#include <sys/wait.h>
int main(void) {{ if (!fork()) execl("{child}", "{child}", (char *)0); wait(0); return 0; }}"""
    answer = judged(run(compile_c(source), "valgrind"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "child" in answer.reasons[0] and "statically linked" in answer.reasons[0]


def test_a_program_without_a_sanitizer_inside_is_inconclusive(compile_c: Compile) -> None:
    answer = judged(run(compile_c(f"{HEAD}int main(void) {{ lose(33); return 0; }}"), "sanitizer"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "-fsanitize=address" in answer.reasons[0]


def test_a_sanitizer_that_is_told_to_exit_with_zero_is_still_heard(
    compile_c: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSAN_OPTIONS", "exitcode=0")
    monkeypatch.setenv("ASAN_OPTIONS", "exitcode=0")
    program = compile_c(
        f"{HEAD}int main(void) {{ lose(33); lose(1); return 0; }}", "-fsanitize=address"
    )
    assert judged(run(program, "sanitizer")).outcome is Outcome.LEAK


def test_leak_detection_switched_off_by_the_caller_is_switched_on_again(
    compile_c: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0:leak_check_at_exit=0")
    program = compile_c(
        f"{HEAD}int main(void) {{ lose(33); lose(1); return 0; }}", "-fsanitize=address"
    )
    assert judged(run(program, "sanitizer")).outcome is Outcome.LEAK


@pytest.mark.parametrize("flag", ["address", "leak"])
def test_leak_detection_switched_off_by_the_program_is_switched_on_again(
    compile_c: Compile, flag: str
) -> None:
    off = "".join(
        f'const char *__{runtime}_default_options(void) {{ return "detect_leaks=0"; }}'
        for runtime in ("asan", "lsan")
    )
    program = compile_c(
        f"{HEAD}{off} int main(void) {{ lose(33); lose(1); return 0; }}", f"-fsanitize={flag}"
    )
    assert judged(run(program, "sanitizer")).outcome is Outcome.LEAK


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("is_leaking", [True, False])
def test_undefined_behaviour_looked_for_beside_leaks_changes_no_answer(
    compile_c: Compile, is_leaking: bool, compiler: str
) -> None:
    body = "lose(33); lose(1);" if is_leaking else ""
    source = f"{HEAD}int main(int c, char **v) {{ {body} volatile int k = 0x7fffffff; k += c; return 0; }}"
    program = compile_c(source, "-fsanitize=undefined,address", compiler=compiler)
    expected = Outcome.LEAK if is_leaking else Outcome.CLEAN
    assert judged(run(program, "sanitizer")).outcome is expected


def test_debug_information_that_valgrind_cannot_read_is_called_that() -> None:
    report, status = Report("valgrind"), RunStatus(7, 1, stderr=UNREADABLE)
    assert any("debug information" in why for why in BACKENDS["valgrind"].demand(report, status))


UNREADABLE = b"""\
==7== Valgrind: debuginfo reader: ensure_valid failed:
==7== Valgrind: debuginfo reader: Possibly corrupted debuginfo file.
==7== Valgrind: I can't recover.  Giving up.  Sorry.
"""
"""What valgrind 3.19 writes for a program that gcc has built with -gsplit-dwarf."""

NO_PTRACE = r"""
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int n, char **v) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 99;
    execv(v[1], v + 1);
    return 98;
}
"""


@pytest.mark.parametrize("flag", ["-fsanitize=address", "-fsanitize=leak"])
def test_ptrace_denied_is_inconclusive(
    compile_c: Compile, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = compile_c(NO_PTRACE, name="no_ptrace")
    program = compile_c(f"{HEAD}int main(void) {{ lose(33); return 0; }}", flag)
    # The wrapper itself has no sanitizer inside.
    monkeypatch.setattr(BACKENDS["sanitizer"], "refuses", lambda target: "")
    answer = judged(run(wrapper, "sanitizer", str(program)))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "ptrace is denied" in " ".join(answer.reasons)


def test_an_absent_report_is_inconclusive(tmp_path: Path) -> None:
    (check,) = check_files([tmp_path / "absent.xml"], Settings())
    assert judged(check).outcome is Outcome.INCONCLUSIVE
    assert "No such file" in judged(check).reasons[0]


def test_an_empty_report_is_inconclusive(tmp_path: Path) -> None:
    (tmp_path / "empty.xml").touch()
    (check,) = check_files([tmp_path / "empty.xml"], Settings())
    assert judged(check).outcome is Outcome.INCONCLUSIVE


def test_a_deleted_report_of_a_finished_run_is_inconclusive(
    compile_c: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = supervisor.run

    def lose_reports(launch: Launch) -> object:
        status = real(launch)
        folder = next(part for part in launch.argv if part.startswith("--xml-file=")).partition(
            "="
        )[2]
        for report in Path(folder).parent.glob("vg.*"):
            report.unlink()
        return status

    monkeypatch.setattr(supervisor, "run", lose_reports)
    answer = judged(run(compile_c(f"{HEAD}int main(void) {{ return 0; }}"), "valgrind"))
    assert answer.outcome is Outcome.INCONCLUSIVE


def test_a_python_program_that_skips_its_end_is_inconclusive(tmp_path: Path) -> None:
    script = tmp_path / "leaves.py"
    for end in (
        "import os; os._exit(0)",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    ):
        script.write_text(f"x = [object() for _ in range(1000)]\n{end}\n")
        check = check_program(
            Target((sys.executable, str(script))), Settings(), "program", "memray"
        )
        assert judged(check).outcome is Outcome.INCONCLUSIVE, judged(check)


def test_a_memory_limit_that_is_hit_is_said(compile_c: Compile) -> None:
    source = f"{HEAD}int main(void) {{ for (;;) {{ char *p = malloc(1 << 20); memset(p, 1, 1 << 20); usleep(2000); }} }}"
    answer = judged(
        run(compile_c(source, "-fsanitize=leak"), "sanitizer", memory_limit_bytes=64 << 20)
    )
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "killed for memory" in " ".join(answer.reasons)


def test_an_unknown_program_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="no such program"):
        run(tmp_path / "absent", "valgrind")


def test_every_backend_demands_the_report_of_the_started_process() -> None:
    for backend in BACKENDS.values():
        assert backend.demand(Report(backend.name), RunStatus(pid=4711, exit_code=0)), backend.name


def test_valgrind_is_used_as_installed(tool: Callable[[str], str]) -> None:
    assert shutil.which("valgrind") == tool("valgrind")


OWN_ALLOCATOR = """
#include <stddef.h>
#include <string.h>
SCOPE void *malloc(size_t n) { static char pool[1 << 20]; static size_t at; void *p = pool + at;
    at += (n + 31) & ~(size_t)15; return p; }
SCOPE void free(void *p) { (void)p; }
SCOPE void *calloc(size_t n, size_t size) { return memset(malloc(n * size), 0, n * size); }
SCOPE void *realloc(void *p, size_t n) { void *q = malloc(n); return p ? memcpy(q, p, n) : q; }
__attribute__((noinline)) void lose(int n) { volatile char *p = malloc(n); p[0] = 1; }
int main(void) { lose(33); return 0; }
"""
HIDDEN = '-DSCOPE=__attribute__((visibility("hidden")))'


@pytest.mark.parametrize("scope", ["-DSCOPE=", HIDDEN], ids=["public", "hidden"])
@pytest.mark.parametrize("flag", ["-fsanitize=address", "-fsanitize=leak"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_sanitizer_build_with_an_allocator_of_its_own_is_refused(
    compile_c: Compile, compiler: str, flag: str, scope: str
) -> None:
    program = compile_c(OWN_ALLOCATOR, flag, scope, compiler=compiler)
    answer = judged(run(program, "sanitizer"))
    assert answer.outcome is Outcome.INCONCLUSIVE
    assert "build it without that allocator" in answer.reasons[0]


def test_an_allocator_that_valgrind_finds_is_not_refused(compile_c: Compile) -> None:
    answer = judged(run(compile_c(OWN_ALLOCATOR, "-DSCOPE="), "valgrind"))
    assert [finding.size_bytes for finding in answer.check.findings] == [33]


def test_an_allocator_that_is_hidden_from_valgrind_is_refused_with_the_option_that_helps(
    compile_c: Compile,
) -> None:
    program = compile_c(OWN_ALLOCATOR, HIDDEN)
    refused = judged(run(program, "valgrind"))
    assert refused.outcome is Outcome.INCONCLUSIVE
    option = "--soname-synonyms=somalloc=NONE"
    assert f"--tool-arg={option}" in refused.reasons[0]
    answer = judged(run(program, "valgrind", tool_args=(option,)))
    assert [finding.size_bytes for finding in answer.check.findings] == [33]


def test_a_musl_program_is_refused_with_the_option_that_helps(
    compile_c: Compile, tool: Callable[[str], str]
) -> None:
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-gcc is not installed")
    program = compile_c(f"{HEAD}int main(void) {{ lose(33); return 0; }}", compiler="musl-gcc")
    refused = judged(run(program, "valgrind"))
    assert refused.outcome is Outcome.INCONCLUSIVE
    option = "--soname-synonyms=somalloc=NONE"
    assert f"--tool-arg={option}" in refused.reasons[0]
    answer = judged(run(program, "valgrind", tool_args=(option,)))
    assert [finding.size_bytes for finding in answer.check.findings] == [33]


def test_a_run_that_left_no_room_for_its_reports_is_never_clean(
    compile_c: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile_c(f"{HEAD}int main(void) {{ return 0; }}", "-fsanitize=leak")
    assert run(program, "sanitizer").problems == ()
    full = shutil.disk_usage("/")._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    (problem,) = run(program, "sanitizer").problems
    assert "no space is left in" in problem and "TMPDIR" in problem
