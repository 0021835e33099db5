"""Whether the sources of a program use a container only in ways that take nothing out of it.

Whatever is not known to be harmless may empty it: an argument, a result, an entry of something
else, a name of its own. Looks at sources alone and runs nobody's code.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping

from pytest_leakguard.core.foreign import modules, namespace_of_module
from pytest_leakguard.explain.code_owner import Owner, owner, package_of

IsIt = Callable[[ast.expr], bool]
"""Whether an expression is the container."""
_FUNCTIONS = frozenset(
    {"len", "str", "repr", "bool", "isinstance", "sum", "min", "max", "sorted", "list", "tuple"}
    | {"set", "frozenset", "dict", "enumerate", "any", "all", "id", "type", "print", "reversed"}
)
"""Functions that take nothing out of what they are given, and keep nothing of it."""
_METHODS = frozenset(
    {"append", "appendleft", "add", "extend", "extendleft", "insert", "setdefault", "update"}
    | {"get", "items", "keys", "values", "copy", "index", "count", "move_to_end", "sort"}
    | {"reverse", "issubset", "issuperset", "union", "cache_info", "__len__", "__contains__"}
)
"""Methods of containers after which there is no less in them."""
_ADDING = (ast.Add, ast.BitOr)
"""``ROWS += more`` and ``NAMES |= more``; with other operators there is less afterwards."""
_MOST_PARSED = 60
"""Sources of other modules with the name that are read closely; each takes some milliseconds."""
_Parents = Mapping[int, ast.AST]


def are_harmless(scope: ast.AST, is_it: IsIt) -> bool:
    """Return whether each use of the container in this part of a source takes nothing out."""
    parents = _parents_in(scope)
    nodes = [node for node in ast.walk(scope) if isinstance(node, ast.expr) and is_it(node)]
    return all(_is_harmless(node, parents) for node in nodes)


def are_harmless_elsewhere(
    name: str, file: str, is_harmless: Callable[[ast.AST, IsIt], bool] = are_harmless
) -> bool:
    """Return the same of what other modules reach as an attribute of that name.

    Or whether they do nothing else that ``is_harmless`` does not allow. Asked are the user's own
    modules and those of the package that the file belongs to.
    """
    for parsed, text in enumerate(_texts_with(name, file)):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            return False
        if parsed >= _MOST_PARSED or _is_imported_inside(tree, name):
            return False
        if not is_harmless(tree, lambda node: _is_attribute(node, name)):
            return False
    return True


def _is_attribute(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name


def _is_imported_inside(tree: ast.Module, name: str) -> bool:
    """Return whether a function imports it: it then has another name that nobody can see."""
    at_top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in at_top:
            names = {alias.name for alias in node.names}
            if name in names:
                return True
    return False


def _texts_with(name: str, file: str) -> Iterator[str]:
    """The source of each such module that has the name, but for this file's."""
    is_there = re.compile(rf"\b{re.escape(name)}\b")
    package = package_of(file)
    for _, module in modules():
        other = namespace_of_module(module).get("__file__")
        if type(other) is not str or other == file or not other.endswith(".py"):
            continue
        if owner(other) is Owner.USER or (package and package_of(other) == package):
            text = _text(other)
            if is_there.search(text):
                yield text


def _text(file: str) -> str:
    try:
        with tokenize.open(file) as source:
            return source.read()
    except (OSError, SyntaxError, UnicodeError):
        return ""


def _parents_in(scope: ast.AST) -> dict[int, ast.AST]:
    found: dict[int, ast.AST] = {}
    for node in ast.walk(scope):
        for child in ast.iter_child_nodes(node):
            found[id(child)] = node
    return found


def _is_harmless(node: ast.expr, parents: _Parents) -> bool:
    parent = parents.get(id(node))
    if isinstance(parent, ast.Assign):
        return node in parent.targets or _is_harmless_alias(parent, parents)
    if isinstance(parent, ast.Tuple | ast.List) and isinstance(parent.ctx, ast.Store):
        return isinstance(parents.get(id(parent)), ast.Assign)  # ``self.a, self.b = a, {}``
    if isinstance(parent, ast.Attribute):
        call = parents.get(id(parent))
        return parent.attr in _METHODS and isinstance(call, ast.Call) and call.func is parent
    return _is_only_read(node, parent) or _is_added_to(node, parent)


def _is_added_to(node: ast.expr, parent: ast.AST | None) -> bool:
    if isinstance(parent, ast.Subscript):
        return parent.value is node and not isinstance(parent.ctx, ast.Del)
    if isinstance(parent, ast.AugAssign):
        return parent.target is node and isinstance(parent.op, _ADDING)
    return isinstance(parent, ast.AnnAssign) and parent.target is node


def _is_only_read(node: ast.expr, parent: ast.AST | None) -> bool:
    match parent:
        case ast.Call(func=called):  # it is a function that keeps its results, or an argument
            is_known = isinstance(called, ast.Name) and called.id in _FUNCTIONS
            return called is node or is_known
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            return parent.iter is node
        case ast.If() | ast.While() | ast.IfExp():
            return parent.test is node
        case ast.UnaryOp(op=operator) | ast.BinOp(op=operator):
            return isinstance(operator, ast.Not | ast.Add | ast.BitOr)
    return isinstance(parent, ast.Compare | ast.FormattedValue | ast.Expr)


def _is_harmless_alias(given: ast.Assign, parents: _Parents) -> bool:
    """Return whether ``rows = self.rows`` gives a function a name that it uses as harmlessly."""
    names = [target.id for target in given.targets if isinstance(target, ast.Name)]
    function = _function_around(given, parents)
    if len(names) != len(given.targets) or function is None:
        return False
    for node in ast.walk(function):
        if isinstance(node, ast.Global | ast.Nonlocal) and set(names) & set(node.names):
            return False
        if not isinstance(node, ast.Name) or node.id not in names:
            continue
        if isinstance(node.ctx, ast.Load) and not _is_harmless_name(node, parents):
            return False
    return True


def _is_harmless_name(node: ast.Name, parents: _Parents) -> bool:
    """Return the same of a name that was given; one that is handed on once more is not followed."""
    return not isinstance(parents.get(id(node)), ast.Assign) and _is_harmless(node, parents)


def _function_around(node: ast.AST, parents: _Parents) -> ast.AST | None:
    inside = parents.get(id(node))
    while inside is not None:
        if isinstance(inside, ast.FunctionDef | ast.AsyncFunctionDef):
            return inside
        inside = parents.get(id(inside))
    return None
