"""README and docs say what the code does: options, links, commands, and no path of somebody's machine."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_leakguard
from pytest_leakguard.cli import main
from pytest_leakguard.core.options import OPTIONS, Option
from pytest_leakguard.programs.declarations import KEYS

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_HOME = re.compile(r"(?<![\w.])/(?:home|work|root|Users|tmp)/")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub and MyST make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


_OWN_ADDRESS = re.compile(
    r"^https://(?:github\.com/pytest-leakguard/pytest-leakguard/(?:blob|tree)/main"
    r"|raw\.githubusercontent\.com/pytest-leakguard/pytest-leakguard/main)/"
)
"""Of files of this repository, as PyPI needs them; each must be here."""


def _links(page: Path) -> Iterator[tuple[str, str]]:
    text = _INLINE_CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for target in _LINK.findall(text):
        target = _OWN_ADDRESS.sub(f"{ROOT}/", target)
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def _commands(page: Path) -> Iterator[list[str]]:
    """The words of every command that a console block shows."""
    for language, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language != "console":
            continue
        for line in body.splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


def _console_script(page: Path) -> list[list[str]]:
    return [words[1:] for words in _commands(page) if words[:1] == ["pytest-leakguard"]]


def _is_accepted(arguments: list[str]) -> bool:
    try:
        main._parser().parse_args(arguments)
    except SystemExit as ended:
        return ended.code in (0, None)
    return True


def _option_rows() -> dict[str, list[str]]:
    """The cells of the first table of docs/options.md, without backquotes, by the name on the command line."""
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    table = text[text.index("\n| ") :].split("\n\n", 1)[0]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in table.strip().splitlines()
    ]
    return {cells[0].strip(" `"): cells for cells in rows[2:]}


def _in_console(option: Option, command: str) -> str:
    flag = f"--{option.name}"
    value = [] if option.is_flag else [option.choices[0] if option.choices else "1"]
    return flag if option.name and _is_accepted([command, flag, *value, "some.file"]) else "-"


def test_the_options_page_has_exactly_the_options_of_the_table() -> None:
    assert list(_option_rows()) == [option.flag for option in OPTIONS]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_an_option_is_documented_in_all_its_places(option: Option) -> None:
    places = _option_rows()[option.flag][1:5]
    told = [
        option.ini,
        option.in_marker or "-",
        _in_console(option, "run"),
        _in_console(option, "check"),
    ]
    assert places == told


@pytest.mark.parametrize(
    "option", [one for one in OPTIONS if one.choices], ids=lambda option: option.flag
)
def test_the_choices_of_an_option_are_documented(option: Option) -> None:
    assert _option_rows()[option.flag][5].replace("`", "").split(", ") == list(option.choices)


def test_every_command_of_the_console_script_and_its_options_are_on_the_options_page() -> None:
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    missing = []
    for names, parser in _leaf_commands(main._parser()):
        told = " ".join(
            row for row in rows if f"`{names}" in row or f"pytest-leakguard {names}`" in row
        )
        told += (
            " ".join(rows) if names in ("run", "check") else ""
        )  # theirs stand in the large table too
        options = [action.option_strings[-1] for action in parser._actions if action.option_strings]
        missing += [
            f"{names} {one}"
            for one in options
            if one not in ("--help", "--verbose", "--quiet") and one not in told
        ]
        missing += [names] if f"`{names}" not in page else []
    assert missing == []


def _leaf_commands(
    parser: argparse.ArgumentParser, names: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Name and parser of each command that has no commands of its own."""
    groups = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    if not groups:
        yield names, parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from _leaf_commands(inner, f"{names} {name}".strip())


def test_every_key_of_a_declared_target_is_documented() -> None:
    text = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
    section = text.split("## Declared in pyproject.toml", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(KEYS)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for path, anchor in _links(page):
        target = page.parent / path if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in _anchors(target)
        ):
            broken.append(f"{path}#{anchor}" if anchor else path)
    assert broken == []


def test_the_readme_has_only_links_that_work_on_pypi() -> None:
    text = _INLINE_CODE.sub("", _FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8")))
    targets = _LINK.findall(text)
    assert len(targets) > 10
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_the_action_is_named_with_this_version() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        versions = re.findall(r"pytest-leakguard/pytest-leakguard@v([\d.]+\d)", text)
        assert set(versions) <= {pytest_leakguard.__version__}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_of_the_console_script_are_accepted(page: Path) -> None:
    assert [words for words in _console_script(page) if not _is_accepted(words)] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_options_given_to_pytest_exist(page: Path) -> None:
    known = {option.flag for option in OPTIONS}
    used = set(
        re.findall(r"(?<![\w-])--leakguard(?:-[a-z-]+[a-z])?", page.read_text(encoding="utf-8"))
    )
    assert used <= known


def test_console_blocks_show_the_console_script() -> None:
    """Guards the tests above against looking at nothing."""
    shown = {words[0] for page in PAGES for words in _console_script(page)}
    assert {"run", "check", "trend", "doctor", "explain", "baseline"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_no_path_of_a_machine_is_shown(page: Path) -> None:
    assert [
        line for line in page.read_text(encoding="utf-8").splitlines() if _HOME.search(line)
    ] == []


def test_modules_to_read_exist() -> None:
    """The reading list of CONTRIBUTING names nothing that was moved or renamed."""
    text = (
        (ROOT / "CONTRIBUTING.md")
        .read_text(encoding="utf-8")
        .partition("## Where to begin reading")[2]
    )
    names = re.findall(r"`([a-z_.]+)`", text.replace("`make quick`", ""))
    assert len(names) > 30
    assert [
        name
        for name in names
        if not (ROOT / "pytest_leakguard" / f"{name.replace('.', '/')}.py").is_file()
    ] == []


def _files(folder: Path) -> list[Path]:
    """Files below a folder, without what an interpreter leaves there of modules that have gone."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if "__pycache__" not in path.parts]


def test_the_architecture_names_every_room_and_every_floor() -> None:
    """ARCHITECTURE.md lists what is in the package, and the floors that the contracts hold."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "pytest_leakguard"
    rooms = {path.parts[0] for path in _files(package) if len(path.parts) > 1}
    listed = set(re.findall(r"([a-z_]+)/", text.partition("```")[2].partition("```")[0]))
    assert rooms == listed - {"pytest_leakguard", "tools"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert "\n".join(layers) in text


def test_the_rooms_that_the_architecture_walks_through_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    dotted = re.findall(r"`([a-z_]+\.[a-z_]+)`", text.partition("## The way")[2].partition("##")[0])
    assert len(dotted) > 5
    for name in dotted:
        if name != "verdict.judge":
            path = ROOT / "pytest_leakguard" / name.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_every_proof_of_a_leak_is_shown_on_its_page() -> None:
    page = ROOT / "docs" / "found-in-the-wild.md"
    linked = {path for path, _ in _links(page)}
    scripts = sorted((ROOT / "docs" / "found_in_the_wild").glob("*.py"))
    assert [
        script.name for script in scripts if f"found_in_the_wild/{script.name}" not in linked
    ] == []
