"""Writes the reference of ``api.md`` from the docstrings of the public names.

``python docs/api_text.py`` writes it, ``python docs/api_text.py --check`` says whether that is
needed. Reads the sources and runs nothing of them.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from made_page import MadePage

import pytest_leakguard

PAGE = Path(__file__).with_name("api.md")
BEGIN, END = "<!-- made by docs/api_text.py -->\n\n", "<!-- end -->\n"
_PACKAGE = Path(__file__).parents[1] / "pytest_leakguard"
_OF_FIXTURE = ("Leakguard", "Service")
"""First, since they are what tests are written with."""
_INTERNAL = ("case", "finish", "serving")
"""Methods that other parts of the package call, and tests do not."""
_WIDTH = 90
"""Characters of a signature in one line."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def reference() -> str:
    """One section for each public name."""
    names = [name for name in pytest_leakguard.__all__ if name not in ("__version__", *_OF_FIXTURE)]
    return "".join(_section(name) for name in (*_OF_FIXTURE, *names))


def _section(name: str) -> str:
    home = pytest_leakguard._HOMES[name].replace(".", "/")
    tree = ast.parse((_PACKAGE / f"{home}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            members = "".join(_members(node))
            return f"### {name}\n\n{_text(node)}\n\n{members}"
        if isinstance(node, _Function) and node.name == name:
            return f"### {name}\n\n{_signature(node)}\n\n{_text(node)}\n\n"
    raise SystemExit(f"{home}: defines no {name}")


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Attributes in a list, then methods with their arguments."""
    attributes = list(_attributes(node))
    if attributes:
        yield "\n".join(attributes) + "\n\n"
    for member in node.body:
        if isinstance(member, _Function) and not member.name.startswith("_"):
            if _is_property(member) or member.name in _INTERNAL:
                continue
            yield f"{_signature(member, node.name)}\n\n{_text(member)}\n\n"


def _attributes(node: ast.ClassDef) -> Iterator[str]:
    for member, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            told = f": {_flat(_constant(after))}" if _constant(after) else ""
            yield f"- `{member.target.id}: {ast.unparse(member.annotation)}`{told}"
        elif isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name):
            if not member.targets[0].id.startswith("_"):
                yield f"- `{member.targets[0].id}` = `{ast.unparse(member.value)}`"
        elif isinstance(member, _Function) and _is_property(member):
            returns = ast.unparse(member.returns) if member.returns else "object"
            yield f"- `{member.name}: {returns}`: {_flat(ast.get_docstring(member) or '')}"


def _is_property(member: _Function) -> bool:
    found = [node for node in member.decorator_list if isinstance(node, ast.Name)]
    return any(node.id == "property" for node in found)


def _constant(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def _signature(node: _Function, owner: str = "") -> str:
    """As one calls it: without ``self``, an argument in each line where it is long."""
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    where = f"{'service' if owner == 'Service' else 'leakguard'}." if owner in _OF_FIXTURE else ""
    head = f"{where or f'{owner}.' * bool(owner)}{node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    text = f"{head}({arguments}){returns}"
    if len(text) > _WIDTH:
        lines = "".join(f"    {part},\n" for part in _parts(node))
        text = f"{head}(\n{lines}){returns}"
    return f"```python\n{text}\n```"


def _parts(node: _Function) -> Iterator[str]:
    arguments = node.args
    plain = (*arguments.posonlyargs, *arguments.args)
    without = [None] * (len(plain) - len(arguments.defaults))
    defaults = [*without, *arguments.defaults]
    for argument, default in zip(plain, defaults, strict=True):
        if argument.arg != "self":
            yield _part(argument, default)
    if arguments.vararg:
        yield f"*{ast.unparse(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _part(argument, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _part(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")


def _text(node: ast.ClassDef | _Function) -> str:
    """The docstring as Markdown."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)


def _flat(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


PAGE_OF_DOCS = MadePage(PAGE, BEGIN, END, reference, "docs/api_text.py")


if __name__ == "__main__":
    sys.exit(PAGE_OF_DOCS.main())
