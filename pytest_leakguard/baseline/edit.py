"""Edits the text of a baseline: accept, prune, merge. Keeps comments and order.

The file is cut into blocks, one per table, with the comments above it; tomlkit writes the new ones.
Blocks are sorted by key, which made wrong merges impossible and conflicts rare in every layout that
was tried.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit

from pytest_leakguard.baseline.compare import SEVERITY, VERSION, AcceptedGrowth, AcceptedLeak, loads
from pytest_leakguard.core.errors import BaselineError
from pytest_leakguard.core.leaks import LeakKind

HEADER = (
    "# pytest-leakguard baseline v1. Commit this file; CI never writes it.\n"
    "# Remove what is fixed with `pytest --leakguard --leakguard-prune`; "
    "after a merge conflict run\n"
    "# `pytest-leakguard baseline merge BASE OURS THEIRS` "
    "(once: `pytest-leakguard baseline install`).\n"
    f"version = {VERSION}\n"
)
_TABLE = re.compile(
    r"""[ \t]*\[[ \t]*["']?(leak|growth)["']?[ \t]*\.[ \t]*"""
    r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*\]"""
)

Block = tuple[str, str]
"""Section and key of a table."""
HEAD: Block = ("", "")
"""What stands before the first table."""


def accept(text: str, leaks: Iterable[AcceptedLeak], growth: Iterable[AcceptedGrowth] = ()) -> str:
    """``text`` with these entries added, or put in the place of the same key."""
    blocks = split(text if text.strip() else HEADER)
    for leak in leaks:
        _put(blocks, ("leak", leak.fingerprint), _leak_table(leak))
    for entry in growth:
        _put(blocks, ("growth", _writable(entry.id)), _growth_table(entry))
    return join(blocks)


def tables(leaks: Iterable[AcceptedLeak], growth: Iterable[AcceptedGrowth] = ()) -> str:
    """These entries alone, as they stand in a baseline."""
    blocks = split(accept("", leaks, growth))
    return "\n".join(blocks[block] for block in sorted(blocks.keys() - {HEAD}))


def prune(text: str, keys: Iterable[str]) -> str:
    """``text`` without these entries; comments that stand above an entry go with it."""
    gone = set(keys)
    blocks = split(text)
    for block in list(blocks):
        if block[1] in gone and block != HEAD:
            del blocks[block]
    return join(blocks)


def merge(base: str, ours: str, theirs: str) -> str:
    """Three-way merge by key.

    Where both sides changed an entry the wider acceptance and our words stay.
    """
    for text, name in ((base, "base"), (ours, "ours"), (theirs, "theirs")):
        if text.strip():
            loads(text, name)
    old, left, right = split(base), split(ours if ours.strip() else HEADER), split(theirs)
    merged = {HEAD: left.get(HEAD, HEADER)}
    for block in (left.keys() | right.keys()) - {HEAD}:
        body = _merged_block(block, old.get(block), left.get(block), right.get(block))
        if body is not None:
            merged[block] = body
    return join(merged)


def _merged_block(block: Block, old: str | None, left: str | None, right: str | None) -> str | None:
    if left == right or right == old:
        return left
    if left == old:
        return right
    if left is None or right is None:
        return left or right  # removed here, changed there: what was changed is still in use
    return _wider(block, left, right)


def _wider(block: Block, left: str, right: str) -> str:
    ours: Any = tomlkit.parse(left)  # tomlkit types its items as anything a TOML file may hold
    other = tomlkit.parse(right).unwrap()[block[0]][block[1]]
    mine = ours[block[0]][block[1]]
    for ceiling in ("max_bytes", "max_blocks", "allowed"):
        if ceiling in other:
            mine[ceiling] = max(mine.get(ceiling, 0), other[ceiling])
    if "targets" in other:
        mine["targets"] = sorted({*mine.get("targets", []), *other["targets"]})
    if "kind" in other:
        mine["kind"] = max(str(mine["kind"]), other["kind"], key=_severity)
    if "expires" in mine and "expires" in other:
        mine["expires"] = max(mine["expires"], other["expires"])
    elif "expires" in mine:
        del mine["expires"]
    return tomlkit.dumps(ours)


def _severity(kind: str) -> tuple[int, str]:
    """How bad a kind is, and its name, so that both sides choose the same of two alike."""
    return SEVERITY.get(LeakKind(kind), max(SEVERITY.values())), kind


def split(text: str) -> dict[Block, str]:
    """The blocks of a baseline in file order.

    Raises ``BaselineError`` when one cannot stand alone.
    """
    blocks: dict[Block, str] = {HEAD: ""}
    current: Block = HEAD
    waiting = ""  # comments and blank lines, until it is known whose they are
    for line in text.replace("\r\n", "\n").split("\n"):  # the only line ends TOML knows
        table = _TABLE.match(line)
        if table:
            current = (table.group(1), _key(table.group(0)))
            if current in blocks:
                raise BaselineError(
                    f"[{current[0]}.{current[1]!r}] stands twice; "
                    "run `pytest-leakguard baseline merge`"
                )
            blocks[current], waiting = waiting.lstrip("\n") + line + "\n", ""
        elif line.strip() == "" or line.lstrip().startswith("#"):
            waiting += line + "\n"
        else:
            blocks[current] += waiting + line + "\n"
            waiting = ""
    blocks[current] += waiting
    for block, body in blocks.items():
        blocks[block] = body.strip("\n") + "\n"
        _refuse_odd(block, blocks[block])
    return blocks


def _key(header: str) -> str:
    (section,) = _parsed(header, header).values()
    return str(next(iter(section)))


def _parsed(body: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(body)
    except (ValueError, RecursionError) as error:
        raise BaselineError(
            f"{where}: cannot be edited, since it does not stand alone as TOML: {error}"
        ) from None


def _refuse_odd(block: Block, body: str) -> None:
    """Refuses entries that are no tables of their own: moving those would harm others."""
    where = f"[{block[0]}.{block[1]!r}]" if any(block) else "the head of the baseline"
    entries: list[Block] = []
    for section, table in _parsed(body, where).items():
        if section == "version":
            continue
        if not isinstance(table, dict):
            raise BaselineError(
                f'{where}: {section!r} is no table of entries; write [leak."..."] or [growth."..."]'
            )
        entries.extend((section, key) for key in table)
    if entries != ([block] if any(block) else []):
        raise BaselineError(
            f'{where}: holds other entries; write each as a table of its own: [leak."..."]'
        )


def join(blocks: Mapping[Block, str]) -> str:
    """The text of these blocks in the order of the file: growth before leaks, by key.

    One blank line stands between two blocks.
    """
    bodies = [blocks.get(HEAD, HEADER).rstrip("\n") + "\n"]
    for block in sorted(blocks.keys() - {HEAD}):
        bodies.append(blocks[block].strip("\n") + "\n")
    return "\n".join(bodies)


def _put(blocks: dict[Block, str], block: Block, table: tomlkit.items.Table) -> None:
    if block in blocks:
        blocks[block] = _replaced(blocks[block], block, table)
        return
    document = tomlkit.document()
    section = tomlkit.table(is_super_table=True)
    section.add(tomlkit.items.SingleKey(block[1], t=tomlkit.items.KeyType.Basic), table)
    document.add(block[0], section)
    blocks[block] = tomlkit.dumps(document)


def _replaced(body: str, block: Block, table: tomlkit.items.Table) -> str:
    """``body`` with the values of ``table``; comments beside and above them stay."""
    document: Any = tomlkit.parse(body)
    entry = document[block[0]][block[1]]
    for name in [name for name in entry if name not in table]:
        del entry[name]
    for name, value in table.items():
        if entry.get(name) != value:
            entry[name] = value
    return tomlkit.dumps(document)


def _leak_table(leak: AcceptedLeak) -> tomlkit.items.Table:
    table = tomlkit.table()
    table["kind"] = str(leak.kind)
    table["targets"] = sorted(map(_writable, leak.targets))
    table["max_bytes"] = leak.max_bytes
    table["max_blocks"] = leak.max_blocks
    table["stack"] = list(map(_writable, leak.stack))
    _add_words(table, leak.owner, leak.reason, leak.expires)
    return table


def _growth_table(entry: AcceptedGrowth) -> tomlkit.items.Table:
    table = tomlkit.table()
    table["unit"] = _writable(entry.unit)
    table["allowed"] = entry.allowed
    _add_words(table, entry.owner, entry.reason, entry.expires)
    return table


def _add_words(
    table: tomlkit.items.Table, owner: str, reason: str, expires: dt.date | None
) -> None:
    if owner:
        table["owner"] = _writable(owner)
    table["reason"] = _writable(reason)
    if expires:
        table["expires"] = expires


def _writable(text: str) -> str:
    """File names that are no UTF-8 reach us as lone surrogates, which no file can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
