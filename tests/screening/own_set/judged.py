"""Compares what was said of one function with its answer, and tells in words what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.screening.own_set.answers import ABOUT, Answer


@dataclass(frozen=True, slots=True)
class Said:
    """What screening has said of one function; ``findings`` as report.json writes them."""

    outcome: str
    findings: list[dict[str, Any]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Notes, problems and reasons."""


def is_right(answer: Answer, said: Said) -> bool:
    """Whether the verdict itself is right, line and holder aside."""
    return said.outcome == ("leak" if answer.leaks else "clean")


def is_counted(answer: Answer, said: Said) -> bool:
    """Whether the findings together are as large as they are, of the right kind."""
    size = sum(finding["size_bytes"] for finding in said.findings)
    blocks = sum(finding["blocks"] for finding in said.findings)
    kinds = {finding["kind"] for finding in said.findings}
    if answer.kinds and not kinds & set(answer.kinds):
        return False
    if answer.about_bytes and abs(size - answer.about_bytes) > ABOUT * answer.about_bytes + 1:
        return False
    if answer.is_rare and answer.size_bytes:  # the size is a mean of all runs there
        return _tells_each_loss(answer, said)
    return (not answer.size_bytes or size == answer.size_bytes) and (
        not answer.blocks or blocks == answer.blocks
    )


def _tells_each_loss(answer: Answer, said: Said) -> bool:
    """``+1 blocks (1,033 bytes) in every 7th run``."""
    return any(
        f"{answer.size_bytes:,} bytes" in detail and f"every {answer.every}th run" in detail
        for finding in said.findings
        for detail in finding["details"]
    )


def names_line(answer: Answer, said: Said) -> bool:
    """Whether the text of the line is among the details."""
    right = [line for line in (answer.line, answer.other_line) if line]
    return not right or any(
        line in detail
        for finding in said.findings
        for detail in finding["details"]
        if detail.startswith("line: ")
        for line in right
    )


def names_holder(answer: Answer, said: Said) -> bool:
    """Whether somebody among the holders is called so."""
    return not answer.holder or any(
        answer.holder in holder for finding in said.findings for holder in finding["holders"]
    )


def wrong(answer: Answer, said: Said) -> list[str]:
    """What is not as it should be; empty when all is well."""
    if not is_right(answer, said):
        return [f"it is called {said.outcome}: {said.told} {said.findings}"]
    if not answer.leaks:
        return []
    judges = {"count": is_counted, "line": names_line, "holder": names_holder}
    return [
        f"wrong {what}: {said.findings}"
        for what, judge in judges.items()
        if not judge(answer, said)
    ]
