"""The action performed for real: never green when nothing was measured, and inputs are nothing but inputs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from pytest_leakguard.cli.main import main
from tests.ci.conftest import ACTION, Gate

pytestmark = (
    pytest.mark.programs
)  # bash, pip and pytest inside pytest: once is enough, whatever the interpreter

# Checks of single callables: as real as screened tests (test_four_commits has one of those), and quick.
CLEAN = "def test_clean(leakguard):\n    leakguard.loop(int, iterations=20)\n"
PLAIN = "def test_plain():\n    assert sum(range(9)) == 36\n"
BROKEN = "def test_wrong():\n    assert 0\n"
LEAKY = "KEPT = []\n\n\ndef test_leaky(leakguard):\n    leakguard.loop(lambda: KEPT.append(bytearray(99)), iterations=20)\n"


def write(gate: Gate, **files: str) -> None:
    for name, text in files.items():
        (gate.workspace / f"{name}.py").write_text(text)
    (gate.workspace / "pytest.ini").write_text("[pytest]\n")


def test_a_clean_suite_passes_and_says_what_it_measured(gate: Gate) -> None:
    write(gate, test_it=CLEAN)
    result = gate.run()
    assert (result.status, result.outputs["result"]) == ("success", "pass")
    assert "leakguard gate: pass: 1 test clean" in result.log
    report = json.loads(Path(result.outputs["report-json"]).read_text())
    assert report["summary"]["clean"] == 1
    (kept,) = gate.uploads
    assert kept.inputs["name"] == "leakguard-leaks-0"
    assert "(https://example.test/artifacts/1)" in result.summary


def test_a_leak_fails_the_step_and_still_gives_outputs_and_reports(gate: Gate) -> None:
    write(gate, test_it=LEAKY)
    result = gate.run()
    assert (result.status, result.outputs["result"], result.outputs["new-leaks"]) == (
        "failure",
        "fail",
        "1",
    )
    assert len(gate.uploads) == 1


def test_failing_tests_are_not_green_although_nothing_leaks(gate: Gate) -> None:
    write(gate, test_it=f"{CLEAN}\n\n{BROKEN}")
    result = gate.run()
    assert (result.status, result.outputs["result"]) == ("failure", "fail")
    assert "tests failed; the leak checks that were made: 1 test clean" in result.log


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"args": "-k nothing_has_this_name"}, "pytest ran no test: none was collected, or all"),
        ({"args": "no_such_file.py"}, "file or directory not found: no_such_file.py"),
        ({"args": "-p no:leakguard"}, "pytest-leakguard was not active"),
        ({"args": "--collect-only"}, "there is no report.json in "),
        ({"args": "--leakguard-report=elsewhere"}, "there is no report.json in "),
        (
            {"args": "--leakguard-scope=marked"},
            "1 test ran, and none was screened: all of them failed or",
        ),
        ({"args": "--leakguard-accept=ok"}, "could not start: --leakguard-accept writes the base"),
        ({"args": "--no-such-option"}, "pytest could not start: it does not know --no-such-option"),
        ({"args": "--leakguard-baseline=absent.toml"}, "absent.toml: no such baseline"),
        ({"args": "'"}, "No closing quotation"),
        ({"python": "no-such-python"}, "input python names no program"),
        ({"python": "false"}, "pytest-leakguard is not installed"),
        ({"python": "echo"}, "the gate ended before it had an answer"),
        ({"working-directory": "absent"}, "input working-directory is no directory"),
        ({"baseline": "absent.toml"}, "input baseline names no file"),
        ({"strict": "maybe"}, "input strict must be true or false"),
        ({"valgrind": "sometimes"}, "input valgrind must be auto, always or never"),
        ({"install": "--index-url evil"}, "takes requirements, no options of pip"),
    ],
    ids=str,
)
def test_without_a_measurement_the_result_is_error_and_the_step_fails(
    gate: Gate, inputs: dict[str, str], why: str
) -> None:
    write(gate, test_it=PLAIN if "marked" in str(inputs) else CLEAN)
    result = gate.run(**inputs)
    assert (result.status, result.outputs["result"]) == ("failure", "error"), result.log
    told = [
        text
        for level, one, text in result.annotations
        if (level, one.get("title")) == ("error", "leakguard gate")
    ]
    assert len(told) == 1 and told[0].startswith("inconclusive: ")
    assert why in (result.log if why.startswith("No closing") else told[0]), told


def test_an_interpreter_without_the_plugin_is_an_error(gate: Gate, tmp_path: Path) -> None:
    write(gate, test_it=CLEAN)
    empty = tmp_path / "python-without-it"
    empty.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec "{sys.executable}" -I -S "$@"\n')
    empty.chmod(0o755)
    result = gate.run(python=str(empty))
    assert (result.status, result.outputs["result"]) == ("failure", "error")
    assert "pytest-leakguard is not installed in this interpreter" in result.log


def test_plugins_switched_off_in_the_environment_are_an_error(gate: Gate) -> None:
    write(gate, test_it=CLEAN)
    gate.environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    result = gate.run()
    assert (result.status, result.outputs["result"]) == ("failure", "error")


def test_a_pytest_that_dies_is_an_error(gate: Gate) -> None:
    write(gate, test_it="import os\n\n\ndef test_it():\n    os._exit(0)\n")
    result = gate.run()
    assert (result.status, result.outputs["result"]) == ("failure", "error"), (
        "exit status 0, and no report"
    )
    assert "pytest ended before the run was judged" in result.log


def test_a_report_of_an_earlier_run_does_not_answer_for_this_one(gate: Gate) -> None:
    write(gate, test_it=CLEAN)
    assert gate.run().outputs["result"] == "pass"
    write(gate, test_it="import os\n\n\ndef test_it():\n    os._exit(0)\n")
    result = gate.run()
    assert (result.status, result.outputs["result"], result.outputs["report-json"]) == (
        "failure",
        "error",
        "",
    )


def test_a_program_under_test_cannot_write_the_outputs_of_the_step(gate: Gate) -> None:
    names = "('GITHUB_OUTPUT', 'GITHUB_ENV', 'GITHUB_PATH', 'GITHUB_STATE')"
    code = f"import os\n\n\ndef test_it(leakguard):\n    leakguard.loop(int, iterations=20)\n    assert not [name for name in {names} if name in os.environ]\n"
    write(gate, test_it=code)
    assert gate.run().outputs["result"] == "pass"


HOSTILE = (
    '"; touch {mark}; echo "$(touch {mark})`touch {mark}`${{{{ github.token }}}}\n'
    + "'; touch {mark} #\ntouch {mark}\n",
    "x\nresult=pass\n--\nend-0\nresult<<end-1\npass",
)
INPUTS = (
    "args",
    "working-directory",
    "python",
    "install",
    "valgrind",
    "baseline",
    "strict",
    "report",
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in INPUTS for text in HOSTILE),
        ("args", "$(touch {mark}) `touch {mark}` ; touch {mark}"),
    ],
)
def test_an_input_does_nothing_but_be_an_input(
    gate: Gate, tmp_path: Path, name: str, text: str
) -> None:
    write(gate, test_it=BROKEN)
    mark = tmp_path / "mark"
    if name == "install":
        gate.environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    result = gate.run(**{name: text.format(mark=mark)})
    assert not mark.exists()
    assert result.status == "failure" and result.outputs["result"] in ("fail", "error")


def test_the_words_of_a_text_are_found_as_a_shell_does_and_run_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEXT", "-k 'a b' \"$(c)\" `d` ; e\\ f $G * # \n--h=\"i 'j'\"")
    assert main(["ci", "words", "TEXT"]) == 0
    found = capsys.readouterr().out.split("\0")[:-1]
    assert found == ["-k", "a b", "$(c)", "`d`", ";", "e f", "$G", "*", "#", "--h=i 'j'"]


def test_arguments_reach_pytest_word_by_word(gate: Gate) -> None:
    write(gate, test_it=CLEAN, test_other="def test_bad():\n    assert 0\n")
    result = gate.run(args="-k 'clean or bad'\n-v\n--deselect 'test_other.py::test_bad'")
    assert result.outputs["result"] == "pass", result.log


def test_the_working_directory_may_hold_blanks_and_lie_below_the_root_of_pytest(gate: Gate) -> None:
    write(gate, test_it="")
    folder = gate.workspace / "a project's $HOME"
    folder.mkdir()
    (folder / "test_it.py").write_text(CLEAN)
    result = gate.run(working_directory=folder.name)
    assert result.outputs["result"] == "pass", result.log
    assert Path(result.outputs["report-json"]) == folder / "leakguard-report" / "report.json"


def test_code_scanning_is_asked_only_when_wanted(gate: Gate) -> None:
    write(gate, test_it=CLEAN)
    gate.run()
    assert gate.sent == []
    gate.run(artifact="none", sarif="true")
    assert len(gate.uploads) == 1
    assert [step.inputs["category"] for step in gate.sent] == ["leakguard/leaks"]
    gate.event = {"pull_request": {"head": {"repo": {"fork": True}}}}
    assert gate.run(sarif="true").status == "success"
    assert len(gate.sent) == 1, "forks may not write to code scanning"


@pytest.fixture
def machine(gate: Gate, tmp_path: Path) -> Path:
    """A PATH without valgrind, with an apt-get that notes what it is asked for and puts a valgrind there."""
    tools = tmp_path / "bin"
    tools.mkdir()
    needed = (
        "bash",
        "env",
        "mktemp",
        "rm",
        "grep",
        "cat",
        "id",
        "sh",
        "chmod",
        "echo",
        "dirname",
        "uname",
    )
    for folder in os.environ["PATH"].split(os.pathsep):
        for name in needed:
            if (Path(folder) / name).exists() and not (tools / name).exists():
                (tools / name).symlink_to(Path(folder) / name)
    (tools / "apt-get").write_text(
        f'#!/bin/bash\necho "$*" >> "{tmp_path}/asked"\n'
        f'case " $* " in *" valgrind "*) printf "#!/bin/sh\\nexit 1\\n" > "{tools}/valgrind"; chmod +x "{tools}/valgrind" ;; esac\n'
    )
    (tools / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    for name in ("apt-get", "sudo"):
        (tools / name).chmod(0o755)
    gate.environment["PATH"] = str(tools)
    return tmp_path / "asked"


@pytest.mark.parametrize(
    ("files", "asks"),
    [
        ({"test_it.py": PLAIN}, False),
        (
            {
                "test_it.py": PLAIN,
                "pyproject.toml": '[tool.leakguard.targets.a]\ncommand = ["/bin/true"]\n',
            },
            True,
        ),
        (
            {
                "test_it.py": PLAIN,
                "pyproject.toml": f'[tool.leakguard.targets.a]\ncommand = ["{sys.executable}", "-V"]\ntool = "memray"\n',
            },
            False,
        ),
        ({"test_it.py": "def test_it(leakguard):\n    leakguard.run(['/bin/true'])\n"}, True),
        ({"test_it.py": "def test_it(leakguard):\n    leakguard.loop(int, iterations=5)\n"}, False),
        (
            {
                "pyproject.toml": '[tool.leakguard.services.a]\ncommand = ["a"]\ncount = 3\nrequests = ["GET /"]\ntool = "valgrind"\n'
            },
            True,
        ),
    ],
    ids=["screening only", "declared", "memray", "run", "loop", "service"],
)
def test_valgrind_is_installed_only_when_something_needs_it(
    gate: Gate, machine: Path, files: dict[str, str], asks: bool
) -> None:
    for name, text in files.items():
        (gate.workspace / name).write_text(text)
    result = gate.run(args="-k nothing_has_this_name")
    asked = machine.read_text() if machine.exists() else ""
    assert ("valgrind libc6-dbg" in asked) == asks, result.log


def test_valgrind_is_never_installed_when_forbidden_and_its_absence_is_an_error(
    gate: Gate, machine: Path
) -> None:
    (gate.workspace / "test_it.py").write_text(
        "def test_it(leakguard):\n    leakguard.run(['/bin/true'], tool='valgrind')\n"
    )
    result = gate.run(valgrind="never")
    assert not machine.exists()
    assert (result.status, result.outputs["result"], result.outputs["inconclusive"]) == (
        "failure",
        "error",
        "1",
    ), result.log


def test_the_action_keeps_to_its_form() -> None:
    """At most ten inputs, all strings; every value goes through the environment."""
    import yaml

    action = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
    assert len(action["inputs"]) <= 10
    assert all(isinstance(one["default"], str) for one in action["inputs"].values())
    assert all("${{" not in step.get("run", "") for step in action["runs"]["steps"])
    pinned = [step["uses"] for step in action["runs"]["steps"] if "uses" in step]
    assert pinned and all(len(one.rpartition("@")[2]) == 40 for one in pinned)


def test_the_published_action_is_the_one_for_copying() -> None:
    """Only the way to the script differs, and what the first lines say of it."""
    texts = []
    for path in (ACTION / "action.yml", ACTION.parents[1] / "action.yml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        texts.append("\n".join(line for line in lines if not line.startswith("#")))
    assert texts[1] == texts[0].replace("PATH/gate.sh", "PATH/ci/github-action/gate.sh")
    assert texts[1] != texts[0]


INJECTING = """import os

import pytest

COMMAND = "::error file=a.c,line=1::planted"


def test_message():
    pytest.fail("first" + chr(10) + COMMAND, pytrace=False)


def test_output():
    print(COMMAND)
    os.write(1, (chr(10) + COMMAND + chr(10)).encode())
    raise AssertionError("x" + chr(10) + COMMAND)


def test_checked(leakguard):
    os.write(1, (COMMAND + chr(10)).encode())
    leakguard.loop(int, iterations=20)
"""


@pytest.mark.parametrize("args", ["", "-q", "-rA", "-s", "--capture=sys", "-n 2 -q"])
def test_nothing_that_tests_print_is_a_command(gate: Gate, args: str) -> None:
    write(gate, test_it=INJECTING)
    result = gate.run(args=args)
    assert "planted" in result.log
    assert [told for told in result.annotations if "planted" in str(told)] == []
    open_ends = set(re.findall(r"^::stop-commands::(.+)$", result.log, re.MULTILINE))
    assert open_ends and all(f"\n::{end}::\n" in result.log for end in open_ends), (
        "GitHub obeys again at the end"
    )
