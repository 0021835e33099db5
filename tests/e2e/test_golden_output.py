"""The terminal text and report.json, word for word; what depends on the machine is masked.

A change of wording is a commit of its own: ``LEAKGUARD_UPDATE_GOLDEN=1 pytest tests/e2e/test_golden_output.py``
writes the files below ``tests/golden/output`` anew, and their diff is what users will see change.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_leakguard.reporters.provenance import KEYS

ROOT = Path(__file__).parents[2]
APPS = ROOT / "sample_apps"
OUTPUT = ROOT / "tests" / "golden" / "output"
LONGEST_RUN_S = 120
COLUMNS = "300"
"""Wide enough for pytest to cut no line of its summary, which would depend on the length of a number."""
MACHINE_KEYS = frozenset(
    {
        "duration_s",
        "judged_on",
        "leakguard",
        "memray",
        "output",
        "pid",
        "platform",
        "ppid",
        "python",
    }
    | {"tool_version", "valgrind"}
)
"""Keys of report.json whose values say when and where it ran; ``output`` is what valgrind says itself."""
FIGURE_KEYS = frozenset(
    {"blocks", "detectable_per_iteration", "high", "iterations", "low", "per_iteration", "rise"}
    | {"bytes", "samples", "size_bytes"}
)
"""Keys whose values depend on the interpreter and on how long a leak was watched."""
RULES = ((re.compile(r"([=_])\1{3,}"), r"\1\1\1"), (re.compile(r" {9,}"), "  "))
"""pytest fills lines up to the width of the terminal, so their length depends on the time they tell."""
TIME = re.compile(r"\b\d+\.\d+s\b(?: \(\d+:\d\d:\d\d\))?|(?<=; )\+?\d+\.\d s\b")
FIGURES = (  # what a test leaves behind per run differs between interpreters; the words around it do not
    (
        re.compile(r"\b[\d,]+ B((?: of native memory)? per run) \([\d,]+ blocks?\)"),
        r"N B\1 (N blocks)",
    ),
    (re.compile(r"\b[\d,.]+ (?:B|KiB|MiB)\b"), "N B"),
    (re.compile(r"\([\d,]+ blocks?\)"), "(N blocks)"),
    (re.compile(r"[\d,]+ bytes in [\d,]+ blocks?"), "N bytes in N blocks"),
    (re.compile(r"\+[\d.,e+]+ (\w+) per run over [\d,]+ runs"), r"+N \1 per run over N runs"),
    (
        re.compile(r"[\d.,e+]+ (\w+) per run, measured over [\d,]+ runs"),
        r"N \1 per run, measured over N runs",
    ),
    (re.compile(r"\b\d+ in \d+ runs: "), "N in N runs: "),
)

Patterns = tuple[tuple[re.Pattern[str], str], ...]
Program = tuple[str, list[str], int]
NATIVE: dict[str, Program] = {
    "definite": ("definite", [], 1),
    "indirect": ("indirect", [], 1),
    "template_leak": ("template_leak", [], 1),
    "recursion": ("recursion", ["6"], 1),
    "crash": ("crash", [], 1),
    "accepted": ("argument", ["--legacy"], 0),
}
"""Name of the golden files: the sample program, its arguments, the exit status of the console script."""
GIVEN: dict[str, tuple[str, int]] = {
    "report_without_leaks": ("valgrind/clean.xml", 0),
    "report_that_was_cut": ("valgrind/truncated.xml", 3),
    "report_of_a_sanitizer": ("sanitizer/indirect.6128", 1),
}


def test_a_leaking_suite_says_what_it_always_said(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", COLUMNS)
    pytester.makepyfile(shop=SHOP, test_shop=SUITE)
    options = ["--leakguard", "--leakguard-report=out", "--leakguard-confirm=1"]
    result = pytester.runpytest_subprocess(
        *options, "-p", "no:cacheprovider", "-p", "no:hypothesispytest"
    )
    text = "\n".join(result.outlines)
    started = text.index("collected 4 items")  # before it pytest lists versions and plugins
    report = read(pytester.path / "out" / "report.json")
    for check in report["checks"]:
        check["growth"] = decisive(check["growth"])
    hide = masker(pytester.path)
    compare("suite.txt", changed(RULES, changed(FIGURES, hide(text[started:]))))
    compare(
        "suite.json", changed(FIGURES, as_text(masked(report, hide, MACHINE_KEYS | FIGURE_KEYS)))
    )


@pytest.mark.programs
@pytest.mark.parametrize("name", NATIVE)
def test_a_sample_program_gives_the_text_it_always_gave(
    name: str, apps: Path, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("valgrind")
    app, arguments, status = NATIVE[name]
    program = (apps / "plain" / app / "leaky").relative_to(APPS)
    compare_run(
        name, ["run", "--tool", "valgrind", "--", str(program), *arguments], status, tmp_path
    )


@pytest.mark.programs
def test_a_fixed_program_gives_the_text_it_always_gave(
    apps: Path, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("valgrind")
    program = (apps / "plain" / "definite" / "fixed").relative_to(APPS)
    compare_run("fixed", ["run", "--tool", "valgrind", "--", str(program)], 0, tmp_path)


@pytest.mark.programs
def test_a_python_program_gives_the_text_it_always_gave(tmp_path: Path) -> None:
    pytest.importorskip("memray")
    command = [sys.executable, "python/cache_leak/leaky.py", "500"]
    arguments = ["run", "--tool", "memray", "--name", "images", "--", *command]
    compare_run("python_program", arguments, 1, tmp_path, FIGURES, FIGURE_KEYS)


@pytest.mark.parametrize("name", GIVEN)
def test_a_report_that_is_there_gives_the_text_it_always_gave(name: str, tmp_path: Path) -> None:
    file, status = GIVEN[name]
    compare_run(name, ["check", f"../tests/golden/{file}"], status, tmp_path)


def compare_run(
    name: str,
    arguments: list[str],
    status: int,
    folder: Path,
    figures: Patterns = (),
    keys: frozenset[str] = frozenset(),
) -> None:
    """Runs the console script beside the sample programs; compares what it prints and the report it writes."""
    report = folder / "report.json"
    command = [
        sys.executable,
        "-m",
        "pytest_leakguard",
        arguments[0],
        "--json",
        str(report),
        *arguments[1:],
    ]
    ended = subprocess.run(
        command, cwd=APPS, capture_output=True, text=True, timeout=LONGEST_RUN_S, check=False
    )
    assert ended.returncode == status, ended.stderr
    hide = masker(folder)
    compare(f"{name}.txt", changed(figures, hide(ended.stdout)))
    written = masked(read(report), hide, MACHINE_KEYS | keys)
    compare(f"{name}.json", as_text(written))


def read(report: Path) -> Any:
    """The report without what it says of this checkout: commit and branch, where there is one."""
    data = json.loads(report.read_text(encoding="utf-8"))
    assert data["environment"]["started"]
    for key in KEYS:
        data["environment"].pop(key, None)
    return data


def compare(name: str, text: str) -> None:
    """Asserts that the golden file has this text; writes it where that is asked for."""
    path = OUTPUT / name
    if os.environ.get("LEAKGUARD_UPDATE_GOLDEN"):
        path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    assert text.splitlines() == path.read_text(encoding="utf-8").splitlines()


def masker(folder: Path) -> Callable[[str], str]:
    """Takes the interpreter, the checkout, the folder of the run and times out of a text."""

    def hide(text: str) -> str:
        for path, word in (
            (sys.executable, "python"),
            (str(folder), "<folder>"),
            (str(ROOT), "<checkout>"),
        ):
            text = text.replace(path, word)
        return TIME.sub("<time>", text)

    return hide


def changed(patterns: Patterns, text: str) -> str:
    """The text with what each pattern finds replaced by its words."""
    for pattern, words in patterns:
        text = pattern.sub(words, text)
    return text


def decisive(growth: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the counters that leaked: which others moved a little is chance, and pages follow the heap."""
    return [
        entry for entry in growth if entry["shape"] == "leak" and entry["metric"] != "private_bytes"
    ]


def masked(value: Any, hide: Callable[[str], str], keys: frozenset[str], key: str = "") -> Any:
    """The same value with its strings hidden; under these keys a word stands for whatever is not empty."""
    if key in keys and value and not isinstance(value, dict):
        return f"<{key}>"
    if isinstance(value, dict):
        return {name: masked(inner, hide, keys, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, hide, keys) for inner in value]
    return hide(value) if isinstance(value, str) else value


def as_text(report: Any) -> str:
    """The report as it is written to disk."""
    return json.dumps(report, indent=2, ensure_ascii=False)


# One line of each kind: where a line and its caller each keep a block, interpreters disagree which is the leak's.
SHOP = """
    import ctypes
    import os

    LIBC = ctypes.CDLL(None)
    LIBC.malloc.restype = ctypes.c_void_p
    SEEN = []

    def price():
        SEEN.append(bytearray(200))
        return len(SEEN[-1])

    def pack():
        return LIBC.malloc(4000)

    def open_log():
        return os.open(os.devnull, os.O_RDONLY)
"""
SUITE = """
    import shop

    def test_price(): assert shop.price() == 200

    def test_total(): assert sum(range(10)) == 45

    def test_pack(): assert shop.pack()

    def test_log(): assert shop.open_log() > 2
"""
