"""The documentation site: builds without a warning, holds every page, and says of each tool what doctor says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pytest_leakguard
from tests.ci.test_validators import find

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


class Page(HTMLParser):
    """Links and loaded files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and values.get("href"):
            self.links.add(str(values["href"]))
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loaded.add(str(values["src"]))
        if tag == "link" and values.get("href"):
            self.loaded.add(str(values["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    argv = [
        find("sphinx-build"),
        "-W",
        "-n",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "docs",
        str(folder),
    ]
    done = subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built_and_listed_and_loads_nothing_from_elsewhere(site: Path) -> None:
    first = Page((site / "index.html").read_text(encoding="utf-8"))
    for name in PAGES:
        page = Page((site / f"{name}.html").read_text(encoding="utf-8"))
        assert not [one for one in page.loaded if re.match(r"(https?:)?//", one)], name
        assert name == "index" or f"{name}.html" in {link.partition("#")[0] for link in first.links}


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    broken = []
    texts = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    for name, text in texts.items():
        for link in Page(text).links:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or not (path or anchor):
                continue
            target = (site / path).resolve() if path else site / name
            if not target.is_file() or (
                anchor and f'id="{anchor}"' not in texts.get(target.name, "")
            ):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_each_kind_of_user_can_get_started(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    for user in (
        "python-developer",
        "c-or-c-developer-with-binaries",
        "service-owner",
        "platform-engineer",
    ):
        assert f'id="get-started-{user}"' in text


@pytest.mark.parametrize("script", ["options_table.py", "api_text.py"])
def test_what_is_made_from_the_sources_is_as_they_are(script: str) -> None:
    argv = [sys.executable, str(ROOT / "docs" / script), "--check"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_public_name_and_argument_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("## Every argument")[2]
    names = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert sorted(names) == [name for name in pytest_leakguard.__all__ if name != "__version__"]
    for argument in ("memory_limit", "expected_exit", "follow_children", "stop_early", "budget"):
        assert f"{argument}: " in text


def test_there_are_pages_of_all_four_kinds(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    for kind in ("Tutorials", "How to", "Reference", "Explanation"):
        assert f'<span class="caption-text">{kind}</span>' in text
    assert '<span class="caption-text">More</span>' not in text, "each page has a kind"


def test_the_files_of_the_tutorials_do_what_the_tutorials_say(tmp_path: Path) -> None:
    """Their Python files compile, and the suite of the first one has as many tests as it says."""
    blocks = re.compile(r"`([\w/]+\.(?:py|c))`[^\n]*:\n\n```(?:python|c)\n(.*?)```", re.DOTALL)
    found = {}
    for page in sorted((ROOT / "docs").glob("tutorial-*.md")):
        found[page.stem] = dict(blocks.findall(page.read_text(encoding="utf-8")))
    assert set(found["tutorial-python"]) == {"shop.py", "test_shop.py"}
    assert set(found["tutorial-native"]) == {"src/orders.c", "test_export.py"}
    assert set(found["tutorial-service"]) == {"service.py", "test_service.py"}
    for files in found.values():
        for name, text in files.items():
            if name.endswith(".py"):
                compile(text, name, "exec")
    for name, text in found["tutorial-python"].items():
        (tmp_path / name).write_text(text)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:leakguard"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "7 passed" in done.stdout, done.stdout


def _answers_of_doctor() -> Iterator[str]:
    """Every fixed text that doctor gives as a reason or as help; most stand in the tools."""
    programs = ROOT / "pytest_leakguard" / "programs"
    for path in (programs / "doctor.py", *sorted((programs / "tools").glob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            for value in _answers_in(node, path.name == "doctor.py"):
                for part in ast.walk(value):
                    yield from _long_texts(_meant(part, tree))


def _long_texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and len(str(node.value)) > 12:
            yield str(node.value)


def _answers_in(node: ast.AST, is_doctor: bool) -> Iterator[ast.expr]:
    """The reasons and the help that a trial is made with, what ``advice`` returns, and doctor's own."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Trial":
        for keyword in node.keywords:
            if keyword.arg in ("why", "fix", "caveat", "how_to_get_names"):
                yield keyword.value
    elif isinstance(node, ast.FunctionDef) and node.name == "advice":
        for inner in ast.walk(node):
            if isinstance(inner, ast.Return) and inner.value:
                yield inner.value
    elif isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        wanted = ("why", "fix") if is_doctor else ("caveat",)
        if any(getattr(target, "id", "") in wanted for target in targets):
            yield node.value


def _meant(value: ast.AST, tree: ast.Module) -> ast.AST:
    """The expression itself, or that of the constant of the module which it names or looks up."""
    name = getattr(value.value if isinstance(value, ast.Subscript) else value, "id", None)
    for node in tree.body:
        if isinstance(node, ast.Assign) and name in [getattr(t, "id", "") for t in node.targets]:
            return node.value
    return value


def test_troubleshooting_has_every_answer_of_doctor() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    plain = page.replace("`", "")
    answers = set(_answers_of_doctor())
    assert len(answers) >= 8
    missing = [
        one for one in answers if one.strip("; ,").replace("`", "").partition(": ")[0] not in plain
    ]
    assert missing == []


def test_every_input_and_output_of_the_action_is_documented() -> None:
    import yaml

    action = yaml.safe_load(
        (ROOT / "ci" / "github-action" / "action.yml").read_text(encoding="utf-8")
    )
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    inputs = text.split("### Inputs", 1)[1].split("###", 1)[0]
    outputs = text.split("### Outputs", 1)[1].split("###", 1)[0]
    assert re.findall(r"^\| `([\w-]+)` \|", inputs, re.MULTILINE) == list(action["inputs"])
    told = [
        name
        for row in re.findall(r"^\| (`.*?) \|", outputs, re.MULTILINE)
        for name in re.findall(r"`([\w-]+)`", row)
    ]
    assert told == list(action["outputs"])
    for name, one in action["inputs"].items():
        assert f"| `{name}` | `{one['default']}` |" in inputs or (
            not one["default"] and f"| `{name}` | |" in inputs
        )
