"""The small runner reads expressions, annotations and files as GitHub does; what it does not know is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ci.expressions import Status, UnknownExpression, evaluate, fill, is_true
from tests.ci.runner import Runner, read_annotations, read_values

CONTEXTS = {
    "inputs": {"name": "", "sarif": "true"},
    "github": {"job": "leaks", "event": {}},
    "strategy": {"job-index": 2},
    "steps": {"gate": {"outputs": {"result": "fail"}, "outcome": "failure"}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "inputs.name || format('leakguard-{0}-{1}', github.job, strategy.job-index)",
            "leakguard-leaks-2",
        ),
        ("!cancelled() && inputs.sarif == 'true' && steps.gate.outputs.result != ''", True),
        ("github.event.pull_request.head.repo.fork != true", True),
        ("steps.absent.outputs.x", None),
        ("'it''s' == 'IT''S'", True),
        ("(false || 3) && null", None),
        ("always()", True),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    assert evaluate(text, CONTEXTS, Status("success")) == value


@pytest.mark.parametrize(
    "text", ["secrets.token", "toJSON(github)", "github.job github.job", "a ~ b"]
)
def test_an_unknown_expression_is_an_error(text: str) -> None:
    with pytest.raises(UnknownExpression):
        evaluate(text, CONTEXTS, Status("success"))


def test_a_step_without_a_status_function_waits_for_success() -> None:
    failed = Status("failure")
    assert not is_true(None, CONTEXTS, failed)
    assert not is_true("inputs.sarif == 'true'", CONTEXTS, failed)
    assert is_true("${{ !cancelled() }}", CONTEXTS, failed)
    assert is_true("failure()", CONTEXTS, failed)
    assert fill("a-${{ github.job }}-${{ true }}", CONTEXTS, failed) == "a-leaks-true"


def test_annotations_are_obeyed_only_where_github_does() -> None:
    log = "::error file=a%2Cb.c,line=7,title=Leak%3A x::one%0Atwo\n.::error::no\n::stop-commands::t\n::error::no\n::t::\n::warning::w"
    assert read_annotations(log) == [
        ("error", {"file": "a,b.c", "line": "7", "title": "Leak: x"}, "one\ntwo"),
        ("warning", {}, "w"),
    ]


def test_values_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a=1\nb<<end\nx\na=2\nend\na=3\n")
    assert read_values(tmp_path / "outputs") == {"a": "3", "b": "x\na=2"}


def test_steps_share_files_and_a_failure_stops_the_rest(tmp_path: Path) -> None:
    (tmp_path / "action.yml").write_text(
        """
inputs: {}
outputs: {said: {value: "${{ steps.two.outputs.said }}"}}
runs:
  using: composite
  steps:
    - {shell: bash, run: 'echo NAME=ann >> "$GITHUB_ENV"; echo "$PWD/bin" >> "$GITHUB_PATH"; echo "# hi" >> "$GITHUB_STEP_SUMMARY"'}
    - {id: two, shell: bash, run: 'echo "said=$NAME ${PATH%%:*}" >> "$GITHUB_OUTPUT"'}
    - {shell: bash, run: 'false | true'}
    - {name: passed over, shell: bash, run: 'touch wrong'}
    - {shell: bash, if: always(), run: 'echo end'}
"""
    )
    result = Runner(tmp_path, tmp_path / "scratch", {"PATH": "/usr/bin:/bin"}).run_action(
        tmp_path, {}
    )
    assert result.outputs == {"said": f"ann {tmp_path}/bin"}
    assert [step.outcome for step in result.steps] == [
        "success",
        "success",
        "failure",
        "skipped",
        "success",
    ]
    assert (result.status, result.summary) == ("failure", "# hi\n")
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    "step",
    ["{shell: bash, run: 'echo ${{ inputs.x }}'}", "{run: 'true'}", "{uses: a/b@c}", "{runs: x}"],
)
def test_what_the_runner_does_not_know_is_an_error(tmp_path: Path, step: str) -> None:
    (tmp_path / "action.yml").write_text(
        f"inputs: {{}}\nruns: {{using: composite, steps: [{step}]}}\n"
    )
    with pytest.raises((AssertionError, KeyError)):
        Runner(tmp_path, tmp_path / "scratch", {"PATH": "/usr/bin:/bin"}).run_action(tmp_path, {})
