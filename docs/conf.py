"""The documentation site: the Markdown pages of this folder, with a table of contents made here.

Build: ``sphinx-build -W -n --keep-going -b html docs docs/_build``; ``make test`` does it with
warnings as errors.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

import pytest_leakguard

project = "pytest-leakguard"
author = "pytest-leakguard contributors"
copyright = author
release = version = pytest_leakguard.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 3  # links such as ci.md#gitlab work here as they do on GitHub
html_theme = "furo"
html_title = f"pytest-leakguard {release}"
html_show_sourcelink = False
html_copy_source = False
templates_path: list[str] = []

PARTS = {
    "Tutorials": ("tutorial-python", "tutorial-native", "tutorial-service", "tutorial-ci"),
    "How to": (
        "tests",
        "programs",
        "services",
        "ctest",
        "googletest",
        "meson",
        "baseline",
        "ci",
        "mine-or-a-library",
        "coming-from",
        "troubleshooting",
    ),
    "Reference": ("options", "api", "reports", "platforms", "plugins", "glossary"),
    "Explanation": ("which-tool", "verdicts", "found-in-the-wild"),
}
"""The four kinds of documentation: to learn, to do, to look up, to understand."""


def contents(folder: Path) -> str:
    """Tables of contents: the pages in the order of ``PARTS``, and new pages at the end."""
    there = {path.stem for path in folder.glob("*.md")} - {"index"}
    known = [page for pages in PARTS.values() for page in pages]
    parts = {**PARTS, "More": tuple(sorted(there.difference(known)))}
    tables = []
    for caption, pages in parts.items():
        lines = "\n".join(page for page in pages if page in there)
        if lines:
            tables.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n")
    return "\n".join(tables)


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Gives the first page its table of contents.

    The table would be noise where the Markdown is read as it is, so the page itself has none.
    """
    if page == "index":
        source[0] += "\n" + contents(Path(app.srcdir))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
