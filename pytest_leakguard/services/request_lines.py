"""Requests as people write them: lines, tables, files of lines. Reads them, sends nothing."""

from __future__ import annotations

import base64
import difflib
import json
import mimetypes
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from urllib3.filepost import encode_multipart_formdata

from pytest_leakguard.core.errors import UsageProblem

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_BODILESS = ("GET", "HEAD", "OPTIONS")
"""Methods of which text after the path is a header, or a mistake; only JSON is a body there."""
_WELL_KNOWN = frozenset(
    "accept accept-encoding accept-language authorization cache-control content-encoding "
    "content-type cookie host if-match if-modified-since if-none-match origin range referer "
    "user-agent".split()
)
"""Headers that may stand behind the path of a method that has a body, where text is the body."""
_KEYS = {
    "method": "one of " + ", ".join(METHODS),
    "path": 'a path such as "/orders/7"',
    "headers": "a table of strings",
    "cookies": "a table of strings",
    "params": "a table of strings",
    "body": "a string or bytes",
    "json": "a value that JSON can hold",
    "form": "a table of strings",
    "files": "a table of paths",
    "status": "a number from 100 to 599",
}
_EXAMPLES = (
    '"GET /orders/7", "GET /orders/{n} Authorization: Bearer x", "POST /cart {...} -> 201", '
    '"POST /login name=me&password=x" or "POST /photos photo=@cat.jpg"'
)
_STATUS = re.compile(r"(.*) -> (\d{3})", re.DOTALL)
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]+(\S.*)")
_FORM = re.compile(r"[^\s=&{}\[\]<>\"]+=[^&\s]*(?:&[^\s=&]+=[^&\s]*)*")
_VERSION = re.compile(r"\s+HTTP/\d(?:\.\d)?$")
_ABSOLUTE = re.compile(r"(https?://[^/?#\s]+|http\+unix://[^/?#\s]+)(/\S*|)")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("n", "random", "port", "url")
_URL_SAFE = "%/:=&?~+!$,;'@()*[]"
"""Characters of a path that are sent as they are; RFC 3986."""
_LARGEST_RANDOM = 2**31
"""Upper limit of what ``{random}`` becomes; more than a signed 32-bit column holds is refused."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a multipart body."""

    field: str
    name: str
    content: bytes
    kind: str
    """Its media type."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it is sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class RequestLine:
    """``POST /cart {"id": 7} -> 201``: method, path, body and the status that is right.

    Without a status any below 400 is right.
    """

    method: str
    path: str
    body: str | bytes = ""
    status: int | None = None
    headers: Pairs = ()
    form: Pairs = ()
    """Fields of a form; with files they are sent as multipart."""
    files: tuple[Upload, ...] = ()
    base: str = ""
    """``https://HOST:PORT`` where the line names another one than the service's."""

    @property
    def is_unique(self) -> bool:
        """``{n}`` stands for the number of the request, ``{random}`` for a random one."""
        return any("{n}" in text or "{random}" in text for text in self._texts())

    def _texts(self) -> Iterator[str]:
        yield self.path
        if isinstance(self.body, str):
            yield self.body
        for name, value in (*self.headers, *self.form):
            yield name
            yield value

    def prepared(self, number: int, seed: int) -> Prepared:
        """Return the request of this number; the same for the same number and seed."""
        fill = _filler(number, seed) if self.is_unique else str
        headers = {name: fill(value) for name, value in self.headers}
        body, kind = self._content(fill)
        if kind and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = kind
        return Prepared(self.method, quote(fill(self.path), _URL_SAFE), headers, body)

    def _content(self, fill: Callable[[str], str]) -> tuple[bytes | None, str]:
        fields = [(name, fill(value)) for name, value in self.form]
        if self.files:
            parts = [(one.field, (one.name, one.content, one.kind)) for one in self.files]
            # The boundary is fixed, so that each request is like the last.
            return encode_multipart_formdata([*fields, *parts], boundary="leakguard-boundary")
        if fields:
            return urlencode(fields).encode(), "application/x-www-form-urlencoded"
        if isinstance(self.body, bytes):
            return self.body or None, ""
        kind = "application/json" if self.body[:1] in ("{", "[") else ""
        return fill(self.body).encode() or None, kind


def _filler(number: int, seed: int) -> Callable[[str], str]:
    draw = random.Random(f"{seed}/{number}")  # not by thread: several send side by side

    def fill(text: str) -> str:
        text = text.replace("{n}", str(number))
        while "{random}" in text:
            text = text.replace("{random}", str(draw.randrange(_LARGEST_RANDOM)), 1)
        return text

    return fill


def read_all(
    work: Sequence[object], where: str = "request", root: Path | None = None
) -> tuple[RequestLine, ...]:
    """Read lines and tables; raises ``UsageProblem`` with the position of a wrong one."""
    found: list[RequestLine] = []
    for number, one in enumerate(work, 1):
        try:
            found.append(read(one, root))
        except UsageProblem as problem:
            if len(work) == 1:
                raise
            raise UsageProblem(f"{where} {number} of {len(work)}: {problem}") from None
    return tuple(found)


def read(one: object, root: Path | None = None) -> RequestLine:
    """Read a line or a table; files it names are relative to ``root``."""
    if isinstance(one, RequestLine):
        return one
    if isinstance(one, Mapping):
        return _read_table(one, root or Path())
    if isinstance(one, str):
        return parse_line(one, root)
    raise UsageProblem(f"{one!r} is no request line; expected one like {_EXAMPLES}")


def read_file(path: Path) -> tuple[RequestLine, ...]:
    """Read a file of requests: one per line, or several lines each with ``###`` between them."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{path}: cannot be read as a file of request lines: {error}") from None
    found: list[RequestLine] = []
    for number, request in _requests_in(text):
        try:
            found.append(parse_line(request, path.parent))
        except UsageProblem as problem:
            raise UsageProblem(f"{path}:{number}: {problem}") from None
    if not found:
        raise UsageProblem(f"{path}: it has no request line; expected lines like {_EXAMPLES}")
    return tuple(found)


def _requests_in(text: str) -> Iterator[tuple[int, str]]:
    """Each request with the number of its first line."""
    lines = text.splitlines()
    if not any(line.startswith("###") for line in lines):
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield number, line
        return
    first, block = 1, list[str]()
    for number, line in enumerate([*lines, "###"], 1):
        if not line.startswith("###"):
            if not block and (not line.strip() or line.startswith("#")):
                continue
            first = first if block else number
            block.append(line)
        elif block:
            yield first, "\n".join(block)
            block = []


def looks_like_one(text: str) -> bool:
    """Return whether ``text`` is meant as a request line, right or wrong."""
    first = text.split(None, 1)[0].upper() if text.strip() else ""
    return first in METHODS or text.lstrip().startswith(("/", "http://", "https://"))


def parse_line(text: str, root: Path | None = None) -> RequestLine:
    """Read a request line; raises ``UsageProblem`` when it is none.

    Text behind the path is a header or the body; further lines are headers, up to an empty one,
    after which the body follows.
    """
    expected = _STATUS.fullmatch(text.strip())
    status = int(expected[2]) if expected else None
    head, _, following = (expected[1] if expected else text).strip().partition("\n")
    words = _VERSION.sub("", head).split(None, 2)
    method, base, path = _target(text, words)
    rest = words[2].strip() if len(words) > 2 else ""
    headers, body = _headers_and_body(text, method, rest, following)
    line = RequestLine(method, path, body, status, headers, base=base)
    return _with_form(line, root or Path())


def _target(text: str, words: list[str]) -> tuple[str, str, str]:
    """Return method, origin and path of a line's first words."""
    if not words or words[0].upper() not in METHODS:
        raise _refused(text, _wrong_method(words[0] if words else ""))
    method = words[0].upper()
    if len(words) < 2:
        raise _refused(text, f"a path is missing after {method}")
    base, path = "", words[1]
    absolute = _ABSOLUTE.fullmatch(path)
    if absolute:
        base, path = absolute[1], absolute[2] or "/"
    if not path.startswith("/"):
        raise _refused(text, f"the path must begin with /, and is {path!r}")
    _check_placeholders(text, path)
    return method, base, path


def _check_placeholders(text: str, path: str) -> None:
    for name in _PLACEHOLDER.findall(path):
        if name not in _KNOWN:
            raise _refused(
                text,
                f"nothing is known to fill in for {{{name}}}: {{n}} is the number of the request, "
                "{random} a random number",
            )


def _wrong_method(word: str) -> str:
    if word.startswith(("/", "http://", "https://")):
        return f"it has no method: write GET {word} if that is meant"
    similar = difflib.get_close_matches(word.upper(), METHODS, 1)
    hint = f"; {similar[0]}?" if similar else ""
    return f"it must begin with {', '.join(METHODS)}, and begins with {word!r}{hint}"


def _refused(text: str, why: str) -> UsageProblem:
    quoted = text if len(text) <= 120 else f"{text[:117]}..."
    return UsageProblem(f"{quoted!r} is no request line: {why}; expected one like {_EXAMPLES}")


def _headers_and_body(text: str, method: str, rest: str, following: str) -> tuple[Pairs, str]:
    header = _HEADER.fullmatch(rest)
    if header and (method in _BODILESS or _is_well_known(header[1])):
        more, body = _header_lines(text, following)
        return ((header[1], header[2].strip()), *more), body
    if rest:
        if method in _BODILESS and rest[:1] not in ("{", "["):
            raise _refused(
                text,
                f"{rest!r} after the path is neither a header (Name: value) nor JSON, and {method} "
                "has no other body; a space in a path is written %20",
            )
        return (), f"{rest}\n{following}".strip() if following else rest
    return _header_lines(text, following) if following else ((), "")


def _is_well_known(name: str) -> bool:
    return name.lower() in _WELL_KNOWN or name.lower().startswith("x-")


def _header_lines(text: str, following: str) -> tuple[Pairs, str]:
    """Return the headers up to the first empty line, and the body after it."""
    headers: list[tuple[str, str]] = []
    lines = following.split("\n")
    for number, line in enumerate(lines):
        if not line.strip():
            return tuple(headers), "\n".join(lines[number + 1 :]).strip()
        found = _HEADER.fullmatch(line.strip())
        if not found:
            raise _refused(
                text,
                f"{line.strip()!r} is no header (Name: value); an empty line comes before a body",
            )
        headers.append((found[1], found[2].strip()))
    return tuple(headers), ""


def _with_form(line: RequestLine, root: Path) -> RequestLine:
    """Return it with the form, the files or the one file that its body names."""
    body = line.body
    if not isinstance(body, str):
        return line
    if body.startswith("@") and "\n" not in body:
        upload = _upload("body", root / body[1:])
        headers = (*line.headers, ("Content-Type", upload.kind))
        return replace(line, body=upload.content, headers=headers)
    is_typed = any(name.lower() == "content-type" for name, _ in line.headers)
    if not _FORM.fullmatch(body) or is_typed:
        return line
    fields = [part.partition("=")[::2] for part in body.split("&")]
    files = tuple(_upload(name, root / value[1:]) for name, value in fields if value[:1] == "@")
    if not files:
        headers = (*line.headers, ("Content-Type", "application/x-www-form-urlencoded"))
        return replace(line, headers=headers)
    form = tuple((name, value) for name, value in fields if value[:1] != "@")
    return replace(line, body="", form=form, files=files)


def _upload(field: str, path: Path) -> Upload:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    try:
        return Upload(field, path.name, path.read_bytes(), kind)
    except OSError as error:
        why = error.strerror or error
        raise UsageProblem(f"the file {path} that is to be sent cannot be read: {why}") from None


# Tables.


def _read_table(table: Mapping[Any, Any], root: Path) -> RequestLine:
    for key in table:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            raise UsageProblem(f"unknown key {key!r} of a request; expected: {known}")
    bodies = [key for key in ("body", "json", "form") if key in table]
    if len(bodies) > 1 or ("files" in table and bodies not in ([], ["form"])):
        raise UsageProblem("a request has one of body, json, form; files go with form only")
    has_body = bool(bodies) or "files" in table
    method = _text(table, "method", "POST" if has_body else "GET")
    path = _text(table, "path", "")
    line = parse_line(f"{method} {_with_params(path, _pairs(table, 'params'))}", root)
    headers = _pairs(table, "headers")
    return replace(
        line,
        body=_table_body(table),
        status=_status(table),
        headers=(*headers, *cookie_header(_pairs(table, "cookies"))),
        form=_pairs(table, "form"),
        files=tuple(_upload(name, root / path) for name, path in _pairs(table, "files")),
    )


def _table_body(table: Mapping[Any, Any]) -> str | bytes:
    if "json" not in table:
        body = table.get("body", "")
        if not isinstance(body, str | bytes):
            raise _wrong_key("body", body)
        return body
    try:
        return json.dumps(table["json"])
    except (TypeError, ValueError):
        raise _wrong_key("json", table["json"]) from None


def _status(table: Mapping[Any, Any]) -> int | None:
    status = table.get("status")
    is_number = isinstance(status, int) and not isinstance(status, bool)
    if status is not None and not (is_number and 100 <= status <= 599):
        raise _wrong_key("status", status)
    return status


def _text(table: Mapping[Any, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise _wrong_key(key, value)
    return value


def _pairs(table: Mapping[Any, Any], key: str) -> Pairs:
    return pairs(key, table.get(key, {}))


def pairs(key: str, value: object) -> Pairs:
    """Read names and values; raises ``UsageProblem`` for anything else."""
    if not isinstance(value, Mapping):
        raise _wrong_key(key, value)
    found: list[tuple[str, str]] = []
    for name, one in value.items():
        is_plain = isinstance(one, str | int | float | Path) and not isinstance(one, bool)
        if not isinstance(name, str) or not is_plain:
            raise _wrong_key(key, value)
        found.append((name, str(one)))
    return tuple(found)


def _wrong_key(key: str, value: object) -> UsageProblem:
    expected = _KEYS.get(key, "a table of strings")
    return UsageProblem(f"{key} of a request is {value!r}; expected {expected}")


def _with_params(path: str, params: Pairs) -> str:
    if not params:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(params, safe='{}')}"


def cookie_header(cookies: Pairs) -> Pairs:
    """Return the header that sends these cookies; nothing without any."""
    if not cookies:
        return ()
    return (("Cookie", "; ".join(f"{name}={value}" for name, value in cookies)),)


def authorization(auth: object) -> Pairs:
    """Return the header of ``auth``: a name and a password, or the header's value itself."""
    if auth is None:
        return ()
    if isinstance(auth, str):
        return (("Authorization", auth),)
    are_two = isinstance(auth, Sequence) and len(auth) == 2
    words = [str(one) for one in auth if isinstance(one, str)] if are_two else []  # type: ignore[attr-defined]
    if len(words) != 2:
        raise UsageProblem(
            'auth must be ("name", "password") or the value of the header, such as "Bearer ..."'
        )
    secret = base64.b64encode(":".join(words).encode()).decode()
    return (("Authorization", f"Basic {secret}"),)
