"""report.html in a real headless Chromium: readable everywhere, silent on the console, deaf to hostile text."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.reporters import html
from pytest_leakguard.verdict import Run
from tests.reporters.browser import Browser, chromium, executable
from tests.reporters.example import checks, clean_run, finding, hostile_run, run

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this file; required where the environment says so."""
    path = executable()
    if path is None:
        if os.environ.get("LEAKGUARD_REQUIRE_TOOLS"):
            pytest.fail("chromium is not installed; ci/install-tools test installs it")
        pytest.skip("chromium is not installed")
    with chromium(path) as started:
        yield started


def page(folder: Path, one: Run) -> Path:
    path = folder / "report.html"
    path.write_text(html.render(one.judge(), one), encoding="utf-8")
    return path


def size_of(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("name", ["example", "clean", "nothing", "hostile"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_loads_without_complaint_or_request_and_fits_its_width(
    browser: Browser, tmp_path: Path, name: str, width: int
) -> None:
    runs = {
        "clean": clean_run(),
        "nothing": replace(clean_run(), checks=()),
        "hostile": hostile_run(),
    }
    path = page(tmp_path, runs.get(name, run()))
    browser.show(path, width=width, height=844)
    assert browser.complaints() == []
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert size_of(browser.picture())[0] == width
    assert browser.evaluate("document.title").split(" ")[0] == {"clean": "ok"}.get(name, "FAIL")


def test_hostile_text_stays_text(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, hostile_run()))
    names = browser.evaluate(
        "[...new Set([...document.querySelectorAll('*')].map(one => one.localName))].sort()"
    )
    assert not {"script", "img", "iframe", "object", "form", "base"}.intersection(names)
    assert browser.evaluate("document.querySelectorAll('[onerror],[onclick],[onload]').length") == 0
    links = browser.evaluate(
        "[...document.querySelectorAll('[href],[src]')].map(one => one.getAttribute('href'))"
    )
    assert all(link.startswith("#") or link == "data:," for link in links)
    told = browser.evaluate("document.body.textContent")
    assert "<script>alert(1)</script>" in told and "\\x1b[31m\\x202e" in told, (
        "it is there to be read"
    )
    assert "\x1b" not in told and "\u202e" not in told


def test_a_script_that_got_in_would_not_run(browser: Browser, tmp_path: Path) -> None:
    """Guards the tests above: the policy of the page holds, and the console is listened to."""
    path = page(tmp_path, run())
    text = path.read_text(encoding="utf-8").replace(
        "</main>", "<script>window.ran = 1</script></main>"
    )
    path.write_text(text, encoding="utf-8")
    browser.show(path)
    assert browser.evaluate("window.ran === undefined")
    assert any("Content Security Policy" in told for told in browser.complaints())


def test_dark_and_print_have_colours_of_their_own(browser: Browser, tmp_path: Path) -> None:
    path, look = page(tmp_path, run()), "getComputedStyle(document.body).backgroundColor"
    browser.show(path)
    assert browser.evaluate(look) == "rgb(255, 255, 255)"
    browser.show(path, scheme="dark")
    assert browser.evaluate(look) == "rgb(13, 17, 23)"
    browser.show(path, scheme="dark", media="print")
    assert browser.evaluate(look) == "rgb(255, 255, 255)"
    assert browser.printed().startswith(b"%PDF-")


_CONTRAST = """(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = node => { for (; node; node = node.parentElement) { const c = parse(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())) continue;
    const a = light(parse(getComputedStyle(node).color).slice(0, 3)), b = light(behind(node));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(node.className + ' ' + node.textContent.slice(0, 20) + ' ' + ratio.toFixed(2));
  }
  return low;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Browser, tmp_path: Path, scheme: str) -> None:
    """4.5 to 1, as WCAG 2.2 asks for at level AA."""
    browser.show(page(tmp_path, run()), scheme=scheme)
    assert browser.evaluate(_CONTRAST) == []


def test_a_screen_reader_is_told_everything(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    told = browser.spoken()
    headings = [name.strip() for role, name in told if role == "heading"]
    assert headings[0].startswith("FAIL leakguard: 2 new leaks, 1 grown leak (")
    wanted = [
        "Root causes",
        "Without an answer",
        "Where the bytes leaked",
        "Growth",
        "Checks",
        "Baseline",
        "Environment",
    ]
    assert [name for name in headings if name in wanted] == wanted
    curves = [name for role, name in told if role == "image"]
    assert "LEAK heap_bytes grows by 640 bytes per request [630 bytes, 650 bytes]" in curves[0]
    roles = {role for role, _ in told}
    assert {
        "main",
        "navigation",
        "table",
        "rowheader",
        "columnheader",
        "article",
        "figure",
    } <= roles


def test_curves_show_warm_up_fit_and_interval(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    drawn = "['line','fit','interval','warm'].map(name => document.querySelector('figure.leak svg .' + name))"
    boxes = browser.evaluate(
        f"{drawn}.map(one => {{ const b = one.getBBox(); return [b.width, b.height]; }})"
    )
    assert all(width > 20 and height > 0 for width, height in boxes), boxes
    assert browser.evaluate("document.querySelectorAll('figure').length") == 3


def test_the_flame_is_as_wide_as_what_leaked(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    bars = dict(
        browser.evaluate(
            "[...document.querySelectorAll('.flame .bar')].map(one => [one.title, one.getBoundingClientRect().width])"
        )
    )
    whole = bars["all leaks that fail: 1,696 bytes"]
    assert bars["push (server.c): 1,440 bytes"] == pytest.approx(whole * 1440 / 1696, rel=0.01)


def thirty_targets() -> Run:
    """Ten times what the example has, with long series."""
    many: list[Check] = []
    for number in range(30):
        check = checks()[number % len(checks())]
        long = tuple((float(x), 1e6 + 640.0 * x + (x * 7919) % 1000) for x in range(2000))
        found = tuple(
            replace(one, fingerprint=f"{number:08x}{at:08x}")
            for at, one in enumerate(check.findings)
        )
        growth = tuple(replace(one, samples=long) for one in check.growth)
        many.append(replace(check, id=f"{check.id}[{number}]", findings=found, growth=growth))
    return replace(run(), checks=tuple(many))


def test_thirty_targets_stay_below_200_kilobytes(tmp_path: Path) -> None:
    path = page(tmp_path, thirty_targets())
    text = path.read_text(encoding="utf-8")
    assert text.count("<figure") >= 10 and text.count('<article class="cause"') >= 15
    assert len(text.encode()) < 200_000


def test_ten_thousand_checks_and_leaks_do_not_make_it_huge() -> None:
    tests = tuple(Check(f"tests/test_{n}.py::test_it", "test", "counters") for n in range(10_000))
    found = tuple(replace(finding("a"), fingerprint=f"{n:016x}") for n in range(1000))
    huge = replace(run(), checks=(*tests, Check("prog", "program", "valgrind", found)))
    text = html.render(huge.judge(), huge)
    assert len(text.encode()) < 400_000
    assert "and 940 more in" in text and "250 of 10001 checks" in text


def test_nothing_comes_from_elsewhere() -> None:
    text = html.render(run().judge(), run())
    assert re.findall(r"(?:src|href)=\"(?!#|data:,)|url\(|@import|<script", text) == []
