"""report.html in a real headless Chromium: readable everywhere, silent on the console, deaf to hostile text."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Frame
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


def test_a_phone_shows_of_each_cause_where_and_how_much_without_scrolling(
    browser: Browser, tmp_path: Path
) -> None:
    browser.show(page(tmp_path, run()), width=390, height=844)
    edges = browser.evaluate(
        "[...document.querySelectorAll('.causes td[data-value]:nth-child(4)')]"
        ".map(cell => cell.getBoundingClientRect().right)"
    )
    assert len(edges) == 3 and max(edges) <= 390


def test_of_what_there_is_none_no_count_is_shown(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, clean_run()))
    shown = browser.evaluate("document.querySelector('#counts').innerText")
    assert shown.split("\n") == ["check clean", "1", "checks leaking", "0"]


def test_hostile_text_stays_text(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, hostile_run()))
    names = browser.evaluate(
        "[...new Set([...document.querySelectorAll('*')].map(one => one.localName))].sort()"
    )
    assert not {"img", "iframe", "object", "form", "base"}.intersection(names)
    assert browser.evaluate("document.querySelectorAll('script').length") == 1, "ours"
    assert browser.evaluate("document.querySelectorAll('[onerror],[onclick],[onload]').length") == 0
    links = browser.evaluate(
        "[...document.querySelectorAll('[href],[src]')].map(one => one.getAttribute('href'))"
    )
    assert all(re.fullmatch(r"#[\w-]+|data:,", link) for link in links)
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
        "Inconclusive",
        "Where the bytes leaked",
        "Growth",
        "Checks",
        "Baseline",
        "Environment",
    ]
    assert [name for name in headings if name in wanted] == wanted
    curves = [name for role, name in told if role == "image"]
    assert "LEAK heap_bytes grows by 640 B per request [630 B, 650 B]" in curves[0]
    assert not [name for name in curves if "test_session" in name], "a straight line says nothing"
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
    assert all(width > 10 and height > 0 for width, height in boxes), boxes
    assert browser.evaluate("document.querySelectorAll('figure').length") == 3


_FLAME = (
    "[...document.querySelectorAll('.flame .bar')].map(one => "
    "[one.title, one.getBoundingClientRect().width, one.getBoundingClientRect().top])"
)


def test_the_flame_goes_from_the_leaking_line_outwards_as_wide_as_what_leaked(
    browser: Browser, tmp_path: Path
) -> None:
    browser.show(page(tmp_path, run()))
    bars = {title: (width, top) for title, width, top in browser.evaluate(_FLAME)}
    whole, _ = bars["all leaks that fail: 1,696 bytes"]
    line, line_top = bars["src/server.c:42 in push: 1,440 bytes"]
    _, caller_top = bars["accept_order (src/orders.c:17): 1,440 bytes"]
    assert line == pytest.approx(whole * 1440 / 1696, rel=0.01)
    assert caller_top > line_top, "who called it stands below"


def test_library_calls_are_one_bar_and_small_leaks_are_one_bar(
    browser: Browser, tmp_path: Path
) -> None:
    """A request goes through twenty frames of a framework before it reaches the line that leaks."""
    framework = tuple(
        Frame(f"call_{number}", "/usr/lib/python3/dist-packages/starlette/routing.py", number)
        for number in range(1, 21)
    )
    stack = (
        Frame("order", "/project/shop.py", 44),
        *framework,
        Frame("main", "/project/run.py", 3),
    )
    large = finding("a", size=10_000, stack=stack)
    small = [
        finding(f"{number:x}", size=5, stack=(Frame(f"f{number}", "/project/small.py", number),))
        for number in range(1, 10)
    ]
    one = replace(
        clean_run(), checks=(Check("prog", "program", "valgrind", (large, *small)),)
    )  # fmt: skip
    browser.show(page(tmp_path, one))
    titles = [title for title, _, _ in browser.evaluate(_FLAME)]
    assert titles == [
        "all leaks that fail: 10,045 bytes",
        "shop.py:44 in order: 10,000 bytes",
        "… 20 frames in starlette: 10,000 bytes",
        "main (run.py:3): 10,000 bytes",
        "9 others, each too small to be drawn: 45 bytes",
    ]


def test_the_page_says_of_which_commit_branch_and_command_it_is(
    browser: Browser, tmp_path: Path
) -> None:
    told = {
        "project": "shop",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "branch": "orders",
        "command": "pytest --leakguard",
        "started": "2026-11-24 08:15 UTC",
    }
    browser.show(page(tmp_path, replace(run(), environment={**run().environment, **told})))
    shown = browser.evaluate("document.querySelector('.from').innerText")
    for name, value in told.items():
        assert re.search(rf"{name}\s+{value}", shown)


_ROWS = "[...document.querySelectorAll('table.causes tbody tr')].filter(row => !row.hidden).map(row => row.dataset.status)"


def _type(text: str) -> str:
    return (
        f"(() => {{ const box = document.getElementById('filter'); box.value = {text!r}; "
        "box.dispatchEvent(new Event('input')); })()"
    )


def test_the_table_of_causes_is_filtered_and_sorted(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    assert browser.evaluate(_ROWS) == ["grown", "new", "new"]
    browser.evaluate(_type("accept_order"))
    assert browser.evaluate(_ROWS) == ["new"], "what only the card says is searched too"
    assert browser.evaluate("document.getElementById('shown').textContent") == "1 of 3"
    assert browser.evaluate("document.querySelectorAll('details.cause:not([hidden])').length") == 1
    browser.evaluate(_type(""))
    click = "[...document.querySelectorAll('table.causes th button')].find(one => one.textContent == 'leaked').click()"
    sizes = "[...document.querySelectorAll('table.causes tbody tr')].map(row => Number(row.cells[3].dataset.value))"
    browser.evaluate(click)
    assert browser.evaluate(sizes) == [640, 480, 256]
    browser.evaluate(click)
    assert browser.evaluate(sizes) == [256, 480, 640]
    assert browser.evaluate("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == (
        "ascending"
    )


def test_a_card_unfolds_when_its_row_is_followed(browser: Browser, tmp_path: Path) -> None:
    found = tuple(replace(finding("a"), fingerprint=f"{n:016x}") for n in range(9))
    many = replace(clean_run(), checks=(Check("prog", "program", "valgrind", found),))
    browser.show(page(tmp_path, many))
    last = "[...document.querySelectorAll('details.cause')].at(-1)"
    assert browser.evaluate(f"{last}.open") is False
    browser.evaluate("[...document.querySelectorAll('table.causes a')].at(-1).click()")
    browser.evaluate("new Promise(done => setTimeout(done, 50))", waits=True)
    assert browser.evaluate(f"{last}.open") is True


def test_commands_can_be_copied(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    names = browser.evaluate(
        "[...document.querySelectorAll('button.copy')].map(one => one.getAttribute('aria-label'))"
    )
    assert "Copy the command to reproduce" in names and "Copy the command to accept" in names
    told = browser.evaluate(
        "(() => { const block = document.querySelector('[data-copy]'); block.querySelector('button').click(); "
        "return [getSelection().toString(), block.firstElementChild.textContent]; })()"
    )
    assert told[0].strip() == told[1], "only the command, without the word on the button"


def test_without_scripts_the_page_is_whole(browser: Browser, tmp_path: Path) -> None:
    path = page(tmp_path, run())
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.show(path)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.complaints() == []
    assert browser.evaluate(_ROWS) == ["grown", "new", "new"]
    assert browser.evaluate("document.querySelectorAll('details.cause').length") == 3
    shown = browser.evaluate(
        "[...document.querySelectorAll('button, input, select')].filter(one => one.checkVisibility()).length"
    )
    assert shown == 0, "nothing is offered that would not work"


def test_folded_cards_are_printed_in_full(browser: Browser, tmp_path: Path) -> None:
    found = tuple(replace(finding("a"), fingerprint=f"{n:016x}") for n in range(9))
    many = replace(clean_run(), checks=(Check("prog", "program", "valgrind", found),))
    browser.show(page(tmp_path, many), media="print")
    height = "[...document.querySelectorAll('details.cause article')].at(-1).getBoundingClientRect().height"
    assert browser.evaluate(height) > 50


def test_the_source_line_stands_in_its_context_with_own_frames_marked(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("".join(f"line_{n} = '<b>'\n" for n in range(1, 30)))
    stack = (
        Frame("order", str(tmp_path / "shop.py"), 12),
        Frame("call", "/usr/lib/python3/dist-packages/flask/app.py", 5),
        Frame("wsgi", "/usr/lib/python3/dist-packages/flask/app.py", 9),
    )
    leak = finding("a", stack=stack)
    one = replace(
        clean_run(), checks=(Check("prog", "program", "valgrind", (leak,)),), root=tmp_path
    )  # fmt: skip
    browser.show(page(tmp_path, one))
    lines = browser.evaluate(
        "[...document.querySelectorAll('.source .line')].map(one => one.innerText.trim())"
    )
    assert lines == [f"{n}line_{n} = '<b>'" for n in range(8, 17)]
    assert browser.evaluate("document.querySelector('.source .leaks').innerText").strip() == (
        "12line_12 = '<b>'"
    )
    assert browser.evaluate("document.querySelector('.stack .own').innerText") == "order shop.py:12"
    assert browser.evaluate("document.querySelector('.stack summary').innerText") == (
        "2 frames in flask"
    )
    outside = replace(one, root=tmp_path / "elsewhere")
    browser.show(page(tmp_path, outside))
    assert browser.evaluate("document.querySelectorAll('.source').length") == 0


_TICKS = "[...document.querySelector('figure.{shape}').querySelectorAll('svg text[text-anchor=end]')].map(one => one.textContent)"


def test_an_axis_begins_at_zero_or_says_that_it_does_not(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    assert browser.evaluate(_TICKS.format(shape="leak")) == [
        "0", "0.5 MiB", "1 MiB", "1.5 MiB", "2 MiB", "2.5 MiB",
    ]  # fmt: skip
    ticks = browser.evaluate(_TICKS.format(shape="cache"))
    assert "0" not in ticks and len(ticks) > 2
    broken = "[...document.querySelectorAll('figure')].map(one => [one.className, !!one.querySelector('[data-break]')])"
    told = dict(browser.evaluate(broken))
    assert told == {"curve leak": False, "curve cache": True, "curve outlook": False}
    assert "does not begin at zero" in browser.evaluate(
        "document.querySelector('figure.cache').innerText"
    )


def test_the_forecast_is_drawn_to_the_limit(browser: Browser, tmp_path: Path) -> None:
    browser.show(page(tmp_path, run()))
    told = browser.evaluate("document.querySelector('figure.outlook').innerText")
    assert "64 MiB of 512 MiB in use; 85% after 700,000 requests." in told
    lines = "[...document.querySelectorAll('figure.outlook line.limit')].map(one => one.getBoundingClientRect().top)"
    alert, limit = browser.evaluate(lines)
    assert limit < alert
    said = [name for role, name in browser.spoken() if role == "image" and "forecast" in name]
    assert len(said) == 1


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
    assert text.count("<figure") >= 10 and text.count('<details class="cause"') >= 15
    assert len(text.encode()) < 200_000


def test_ten_thousand_checks_and_leaks_do_not_make_it_huge() -> None:
    tests = tuple(Check(f"tests/test_{n}.py::test_it", "test", "counters") for n in range(10_000))
    found = tuple(replace(finding("a"), fingerprint=f"{n:016x}") for n in range(1000))
    huge = replace(run(), checks=(*tests, Check("prog", "program", "valgrind", found)))
    text = html.render(huge.judge(), huge)
    assert len(text.encode()) < 1_000_000
    assert "and 800 more without a card" in text and "250 of 10,001 checks" in text
    assert text.count("<tr data-fingerprint=") == 1000


def test_no_leak_is_cut_off_without_saying_where_it_is() -> None:
    found = tuple(replace(finding("a"), fingerprint=f"{n:016x}") for n in range(1200))
    huge = replace(run(), checks=(Check("prog", "program", "valgrind", found),))
    text = html.render(huge.judge(), huge)
    assert "and 200 more in <code>report.json</code>" in text


def test_nothing_comes_from_elsewhere() -> None:
    text = html.render(run().judge(), run())
    found = re.findall(r"(?:src|href)=\"(?!#|data:,)|url\(|@import|<script[^>]", text)
    assert set(found) <= {"url("} and text.count("url(") == text.count("url(#plane)")


def test_the_policy_names_the_one_script_by_its_hash() -> None:
    text = html.render(hostile_run().judge(), hostile_run())
    ((script),) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}';" in text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


@pytest.mark.parametrize(("rows", "is_box"), [(40, False), (41, True)])
def test_a_table_that_scrolls_is_a_box_with_more_rows_than_a_screen_has(
    rows: int, is_box: bool
) -> None:
    found = tuple(replace(finding("a"), fingerprint=f"{n:016x}") for n in range(rows))
    many = replace(run(), checks=(Check("prog", "program", "valgrind", found),))
    assert ('class="scroll long"' in html.render(many.judge(), many)) is is_box


def test_what_screens_tests_is_part_of_the_plugin() -> None:
    screened = replace(run(), checks=(Check("test_it.py::test_it", "test", "tracker"),))
    text = html.render(screened.judge(), screened)
    assert "part of pytest-leakguard" in text and "of the target" not in text
