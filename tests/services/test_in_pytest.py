"""What a user of the plugin sees of services: failing tests, the baseline, the report, declared services, trend."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from pytest_leakguard.cli import main as cli
from pytest_leakguard.programs.tools.memray import Memray
from pytest_leakguard.pytest_integration import progress
from pytest_leakguard.services import measure

STUB = Path(__file__).with_name("stub.py")
SCHEMA = Path(cli.__file__).parents[1] / "schemas" / "report.schema.json"
TEST = f"""
import sys, os
def test_orders(leakguard):
    with leakguard.serve([sys.executable, {str(STUB)!r}, "{{port}}", os.environ["MODE"]],
                         ready="http://127.0.0.1:{{port}}/") as service:
        service.loop(["GET /orders/7", "POST /orders/8 {{}}"], requests=300, rate=40, memory_limit="512 MiB")
"""
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="services are measured through /proc"
)


@linux_only
def test_growth_fails_is_reported_accepted_and_then_fixed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\n")
    pytester.makepyfile(test_api=TEST)
    arguments = ("--leakguard", "--leakguard-scope=marked")
    monkeypatch.setenv("MODE", "leak")
    result = pytester.runpytest(*arguments, "--leakguard-report=out")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*new leak: 20*KiB per request*",
            "*why leak: *",
            "*85% after*",
            "*next: fix the line that the finding names*",
            "*kept alive by *KEPT (list, +1 item per request) -> bytes*",
        ]
    )
    report = json.loads((pytester.path / "out" / "report.json").read_text())
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    (check,) = report["checks"]
    assert (check["kind"], check["outcome"]) == ("service", "leak")
    assert check["growth"][0]["shape"] == "leak"
    assert report["findings"][check["findings"][0]]["kind"] == "growth"

    pytester.runpytest(*arguments, "--leakguard-accept=known since 2025").assert_outcomes(
        failed=0, passed=1
    )
    baseline = (pytester.path / "leakguard-baseline.toml").read_text()
    assert '[growth."test_api.py::test_orders[heap_bytes]"]' in baseline
    assert 'unit = "bytes/request"' in baseline
    pytester.runpytest(*arguments).assert_outcomes(passed=1)

    (pytester.path / "leakguard-baseline.toml").write_text(
        baseline.replace("allowed = 2", "allowed = 0.2 # 2")
    )
    result = pytester.runpytest(*arguments)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*grown  *grows by at least*accepted were 0.2*"])

    monkeypatch.setenv("MODE", "clean")
    result = pytester.runpytest(*arguments, "--leakguard-prune")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "fixed: 1 accepted leak (test_api.py::test_orders[[]heap_bytes]*",
            "service test_api.py::test_orders: *",
            "*no leak in * requests (smallest detectable: *",
        ]
    )
    assert "heap_bytes" not in (pytester.path / "leakguard-baseline.toml").read_text()


@linux_only
def test_a_declared_service_is_a_test(pytester: pytest.Pytester) -> None:
    def declare(mode: str, more: str = "") -> None:
        pytester.makepyprojecttoml(
            f"""
            [tool.pytest.ini_options]
            [tool.leakguard.services.shop]
            command = [{sys.executable!r}, {str(STUB)!r}, "{{port}}", "{mode}"]
            ready = "http://127.0.0.1:{{port}}/"
            requests = ["GET /orders/7"]
            count = 300
            {more}
            """
        )

    declare("fds")
    result = pytester.runpytest("--leakguard", "-v")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pyproject.toml::shop*", "*1 descriptor per request (fds)*"])
    declare("clean")
    pytester.runpytest("--leakguard").assert_outcomes(passed=1)
    declare("clean", "coutn = 3")
    result = pytester.runpytest("--leakguard")
    assert result.ret != 0
    assert "unknown key 'coutn'" in result.stdout.str() + result.stderr.str()


def _recording(path: Path, slope: float, samples: int = 60) -> Path:
    requests = [50 * i for i in range(samples)]
    path.write_text(
        json.dumps(
            {
                "requests": requests,
                "rss": [10e6 + slope * x for x in requests],
                "fds": [5] * samples,
            }
        )
    )
    return path


def test_trend_judges_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leak = _recording(tmp_path / "leak.json", 1000)
    assert cli.main(["trend", str(leak), "--rate", "40", "--memory-limit", "512MiB"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("LEAK  rss grows by 1,000 B per request")
    assert "85% after 440,000 requests: 3.1 hours at 40 requests/s" in told
    assert cli.main(["trend", str(leak), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["shape"] == "leak"
    assert {one["metric"]: one["shape"] for one in answer["growth"]} == {
        "rss": "leak",
        "fds": "stable",
    }
    assert answer["growth"][0]["per_iteration"] == pytest.approx(1000)
    assert (
        cli.main(["trend", str(_recording(tmp_path / "flat.json", 0)), "--memory-limit", "512MiB"])
        == 0
    )
    assert "limit is not reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "arguments", "status"),
    [
        ('{"requests": [1, 2], "rss": [1, 2]}', [], 3),
        ("nonsense", [], 3),
        ("", [], 3),
        (b"\xff\xfe\x00", [], 3),
        (None, [], 3),
        ('{"requests": [1, 2], "rss": [1, 2]}', ["--rate", "fast"], 2),
        ('{"requests": [1, 2], "rss": [1, 2]}', ["--memory-limit", "much"], 2),
    ],
)
def test_trend_without_an_answer(
    tmp_path: Path, content: str | bytes | None, arguments: list[str], status: int
) -> None:
    path = tmp_path / "series"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    assert cli.main(["trend", str(path), *arguments]) == status


def test_trend_counts_seconds_where_no_requests_were_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rss.csv"
    path.write_text("time,rss\n" + "".join(f"{i},{10_000_000 + 50_000 * i}\n" for i in range(60)))
    assert cli.main(["trend", str(path), "--memory-limit", "64MiB"]) == 1
    told = capsys.readouterr().out
    assert "per second" in told
    assert "85% after 15 minutes" in told or "85% after 14 minutes" in told


def test_a_jvm_is_not_judged_by_its_resident_memory(tmp_path: Path) -> None:
    path = _recording(tmp_path / "jvm.json", 28_000)
    assert cli.main(["trend", str(path)]) == 1
    assert cli.main(["trend", str(path), "--runtime", "jvm"]) == 3
    recorded = json.loads(path.read_text()) | {"language": "java", "controls": []}
    path.write_text(json.dumps(recorded))
    assert cli.main(["trend", str(path)]) == 3


@linux_only
@pytest.mark.parametrize(("policy", "outcome"), [("skip", "skipped"), ("fail", "failed")])
def test_a_tool_that_is_missing_follows_the_policy(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, policy: str, outcome: str
) -> None:
    monkeypatch.setattr(Memray, "is_present", lambda self: False)
    monkeypatch.setenv("MODE", "leak")
    pytester.makepyfile(test_api=TEST.replace("ready=", "tool='memray', ready="))
    result = pytester.runpytest(
        "--leakguard", "--leakguard-scope=marked", f"--leakguard-missing-tool={policy}", "-rs"
    )
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines(["*memray is not installed*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*ToolMissing*")


PROGRESS = "*leakguard: * requests, */s, * needs up to * more requests*"


@linux_only
@pytest.mark.parametrize(("arguments", "is_shown"), [((), True), (("-q",), False)])
def test_a_long_loop_tells_how_far_it_is_unless_quiet(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    is_shown: bool,
) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    monkeypatch.setattr(measure, "PROGRESS_EVERY_S", 0.0)
    monkeypatch.setenv("MODE", "clean")
    pytester.makepyfile(test_api=TEST)
    result = pytester.runpytest("--leakguard", "--leakguard-scope=marked", *arguments)
    result.assert_outcomes(passed=1)
    if is_shown:
        result.stdout.fnmatch_lines([PROGRESS])
    else:
        result.stdout.no_fnmatch_line("*requests, */s*")
