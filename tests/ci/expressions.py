"""The part of GitHub's expression language that our actions and workflows use, evaluated for real; the rest is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:('(?:[^']|'')*')|(\d+(?:\.\d+)?)|([A-Za-z_][\w-]*)|(==|!=|&&|\|\||[!().,\[\]]))"
)
_WHOLE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


class UnknownExpression(Exception):
    """Something this evaluator does not know; better an error than a guess."""


class Status(str):
    """``success``, ``failure`` or ``cancelled``: what a job has come to so far."""


def fill(text: str, contexts: Mapping[str, Any], status: Status) -> str:
    """``text`` with every expression replaced by its value, as a string."""
    return _WHOLE.sub(lambda match: _as_text(evaluate(match.group(1), contexts, status)), text)


def is_true(condition: str | bool | None, contexts: Mapping[str, Any], status: Status) -> bool:
    """The value of an ``if:``; without a status function it holds only after success."""
    text = "success()" if condition is None else str(condition).strip()
    text = text[3:-2] if text.startswith("${{") and text.endswith("}}") else text
    holds = bool(evaluate(text, contexts, status))
    names_status = re.search(r"\b(success|failure|always|cancelled)\s*\(", text)
    return holds and (bool(names_status) or status == "success")


def evaluate(text: str, contexts: Mapping[str, Any], status: Status) -> Any:
    """The value of one expression."""
    parser = _Parser(_tokens(text), contexts, status)
    value = parser.either()
    if parser.rest:
        raise UnknownExpression(f"{text!r}: do not know {parser.rest[0]!r}")
    return value


def _tokens(text: str) -> list[str]:
    found, position, text = [], 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnknownExpression(f"{text!r}: do not know {text[position:]!r}")
        found.append(match.group().strip())
        position = match.end()
    return found


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Parser:
    def __init__(self, tokens: list[str], contexts: Mapping[str, Any], status: Status) -> None:
        self.rest, self.contexts, self.status = tokens, contexts, status

    def take(self, *wanted: str) -> str:
        if self.rest and self.rest[0] in wanted:
            return self.rest.pop(0)
        return ""

    def either(self) -> Any:
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.equality()
        while self.take("&&"):
            other = self.equality()
            value = value and other
        return value

    def equality(self) -> Any:
        value = self.unary()
        while sign := self.take("==", "!="):
            other = self.unary()
            same = _as_text(value).lower() == _as_text(other).lower()
            value = same if sign == "==" else not same
        return value

    def unary(self) -> Any:
        if self.take("!"):
            return not self.unary()
        if self.take("("):
            value = self.either()
            self.take(")")
            return value
        return self.primary()

    def primary(self) -> Any:
        token = self.rest.pop(0)
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token[0].isdigit():
            return int(token) if token.isdigit() else float(token)
        if token in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token]
        return self.call(token) if self.take("(") else self.path(token)

    def path(self, name: str) -> Any:
        if name not in self.contexts:
            raise UnknownExpression(f"no context {name!r}")
        value = self.contexts[name]
        while self.take("."):
            key = self.rest.pop(0)
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def call(self, name: str) -> Any:
        arguments = []
        while not self.take(")"):
            arguments.append(self.either())
            self.take(",")
        match name, arguments:
            case "always", []:
                return True
            case (("success" | "failure" | "cancelled"), []):
                return self.status == name
            case "format", [str(pattern), *values]:
                return re.sub(
                    r"\{(\d+)\}", lambda match: _as_text(values[int(match.group(1))]), pattern
                )
            case "contains", [str(text), str(part)]:
                return part.lower() in text.lower()
        raise UnknownExpression(f"no function {name} with {len(arguments)} arguments")
