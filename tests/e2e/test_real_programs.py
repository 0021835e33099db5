"""On programs nobody wrote for us, our totals are the tools' own, byte for byte."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.core.forks import totals
from pytest_leakguard.core.programs import Launch, Report, Target
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs.tools.sanitizer import Sanitizer
from pytest_leakguard.programs.tools.valgrind import Valgrind

pytestmark = pytest.mark.programs

NGINX = """daemon off; master_process on; worker_processes 2; pid {0}/pid; error_log {0}/error; events {{}}
http {{ access_log off; server {{ listen unix:{0}/socket; location / {{ return 200 ok; }} }}
client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; }}
"""
PROGRAMS = {
    "perl": ["-e", 'my %h; $h{$_} = [1, 2, $_] for 1..50; print scalar keys %h, "\n"'],
    "bash": ["-c", 'x=(1 2 3); for i in "${x[@]}"; do y="$y $i"; done; echo $y'],
    "git": ["help", "-a"],
    "gawk": ["BEGIN { for (i = 0; i < 50; i++) a[i] = i * i; print length(a) }"],
    "python3": ["-c", "import json; print(json.dumps([1]))"],
    "redis-server": [
        "--port",
        "0",
        "--no-such-directive",
        "1",
    ],  # sets itself up, then ends at the same place each time
    "nginx": ["-c", "{0}/nginx.conf", "-e", "{0}/error"],
}
REDIS = ("--port", "0", "--save", "", "--appendonly", "no")
CALM = (("PERL_HASH_SEED", "0"), ("PYTHONHASHSEED", "0"), ("LC_ALL", "C"))
_SUMMARY = re.compile(
    r"(definitely|indirectly|possibly) lost: ([\d,]+) bytes in ([\d,]+)|still reachable: ([\d,]+) bytes in ([\d,]+)"
)
Totals = dict[str, tuple[int, int]]


def command(name: str, tool: Callable[[str], str], folder: Path) -> tuple[str, ...]:
    if name == "python3" and Path("/usr/bin/python3").exists():
        program = "/usr/bin/python3"  # not one that a version manager starts through a script
    else:
        program = tool(name)
    if name == "nginx":
        (folder / "nginx.conf").write_text(NGINX.format(folder))
    return (program, *(argument.replace("{0}", str(folder)) for argument in PROGRAMS[name]))


def ours(launch: Launch, workdir: Path) -> list[Totals]:
    supervisor.run(launch)
    reports = [Valgrind().parse(path) for path in by_pid(workdir, "vg.*.xml")]
    return [
        {kind.value: (one.size_bytes, one.blocks) for kind, one in totals(report.leaks)}
        for report in reports
    ]


def valgrinds_own(launch: Launch, workdir: Path) -> list[Totals]:
    """The same run as it stands in valgrind's LEAK SUMMARY instead of its XML."""
    argv = tuple(one for one in launch.argv if not one.startswith("--xml"))
    supervisor.run(replace(launch, argv=(argv[0], f"--log-file={workdir}/log.%p", *argv[1:])))
    found = []
    for path in by_pid(workdir, "log.*"):
        summary = path.read_text(errors="replace").rpartition("LEAK SUMMARY")[2]
        lines = [match.groups() for match in _SUMMARY.finditer(summary)]
        stated = {
            f"{kind}_lost" if kind else "still_reachable": (
                number(lost or held),
                number(blocks or held_blocks),
            )
            for kind, lost, blocks, held, held_blocks in lines
        }
        found.append({kind: figure for kind, figure in stated.items() if figure != (0, 0)})
    return found


def number(text: str) -> int:
    return int(text.replace(",", ""))


def by_pid(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda path: int(re.findall(r"\d+", path.name)[-1]))


@pytest.mark.parametrize("name", PROGRAMS)
def test_totals_per_kind_are_valgrinds_own(
    name: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    target = Target(
        command(name, tool, tmp_path), env=CALM, timeout_s=8.0 if name == "nginx" else 120.0
    )
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        mine = ours(Valgrind().plan(target, Path(first)), Path(first))
        theirs = valgrinds_own(Valgrind().plan(target, Path(second)), Path(second))
    if name != "git":
        assert any(mine), f"{name} holds memory at its end, so there is something to compare"
    if (
        name == "redis-server"
    ):  # what it still holds differs a little from run to run; see the next test
        for found in (*mine, *theirs):
            del found["still_reachable"]
    assert mine == theirs


def test_a_server_that_is_stopped_has_the_totals_of_its_own_log(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    """Two runs of a live server differ by a timer's blocks, so this compares the records of one log with its summary."""
    target = Target((tool("redis-server"), *REDIS), env=CALM, timeout_s=8.0)
    (theirs,) = valgrinds_own(Valgrind().plan(target, tmp_path), tmp_path)
    (log,) = by_pid(tmp_path, "log.*")
    report = Valgrind().parse(log)
    mine = {kind.value: (one.size_bytes, one.blocks) for kind, one in totals(report.leaks)}
    assert mine == theirs and mine["still_reachable"][1] > 1000


INIT = "void __lsan_init(void);\n__attribute__((constructor)) static void begin(void) { __lsan_init(); }\n"


@pytest.mark.parametrize("name", ["perl", "bash", "gawk", "git", "python3"])
def test_the_total_is_that_of_leaksanitizers_summary_line(
    name: str, tool: Callable[[str], str], tmp_path: Path, compile_c: Callable[..., Path]
) -> None:
    (tmp_path / "build").mkdir()
    shim = compile_c(INIT, "-shared", "-fPIC", name="init.so", folder=tmp_path / "build")
    code, out, _ = supervisor.capture([tool("gcc"), "-print-file-name=liblsan.so"], 20)
    runtime = Path(out.decode().strip()).resolve()
    assert code == 0 and runtime.is_file()
    env = (*CALM, ("LD_PRELOAD", f"{runtime}:{shim}"), ("PYTHONMALLOC", "malloc"))
    supervisor.run(
        Sanitizer().plan(Target(command(name, tool, tmp_path), env=env, timeout_s=120.0), tmp_path)
    )
    logs = by_pid(tmp_path, "san.*")
    assert logs, "every run leaves the proof of its check"
    for log in logs:
        report: Report = Sanitizer().parse(log)
        said = re.findall(
            r"SUMMARY: \w+: (\d+) byte\(s\) leaked in (\d+) allocation",
            log.read_text(errors="replace"),
        )
        mine = (
            sum(leak.size_bytes for leak in report.leaks),
            sum(leak.blocks for leak in report.leaks),
        )
        assert mine == (tuple(int(one) for one in said[-1]) if said else (0, 0))
