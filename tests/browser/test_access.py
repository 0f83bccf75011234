"""Everybody can use the page: axe-core at every place, keys alone, other eyes, a phone, words for every picture.

Loading the page takes longest, so one visitor goes everywhere, and languages, schemes and windows change in place.
Gradio lays its loader over an answer while it asks for a newer one; what axe judges here is the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from page_server import PageServer
from test_lab_page import open_lesson, shown, wait_for_board
from test_page import CAT, COMPARE, LANGUAGES, SEGMENT, Visitor, browser  # noqa: F401, a fixture

from seg.classes import SAFE_COLOURS, VOC, safe_looks
from seg.ui.lessons import LESSONS
from seg.ui.text import VIEWER, say

pytestmark = pytest.mark.browser

LESSON_KEYS = [lesson.key for lesson in LESSONS]
PLACES = ["segment", "compare", *LESSON_KEYS, "scores"]
WINDOWS = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
# Each language meets both schemes and both windows, and each scheme both windows: every pair, in half the time.
SCHEMES = {
    "en": {"desk": "light", "phone": "dark"},
    "zh": {"desk": "dark", "phone": "light"},
}


@pytest.fixture(scope="module")
def everybody(browser: Any, page_server: PageServer) -> Iterator[Visitor]:  # noqa: F811
    from axe_playwright_python.sync_playwright import Axe

    visitor = Visitor(browser, page_server, reduced_motion="reduce")
    visitor.upload(CAT)
    visitor.page.evaluate(Axe().axe_script)
    visitor.page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    visitor.page.add_style_tag(content=".pending { opacity: 1 !important; } .translucent { display: none !important; }")
    yield visitor
    visitor.leave()


def speak(visitor: Visitor, language: str) -> None:
    visitor.page.locator(f"#language input[value={language}]").check()
    visitor.page.get_by_role("tab", name=say(language, "lab_tab"), exact=True).wait_for()


def go(visitor: Visitor, place: str, language: str) -> None:
    """Open a tab, and in the lab a lesson, and wait until its answer is there in this language."""
    speak(visitor, language)
    visitor.open_tab(f"{'lab' if place in LESSON_KEYS else place}_tab", language)
    if place in LESSON_KEYS:
        open_lesson(visitor, place)
    waited_for = {
        "segment": f"{SEGMENT} .viewer:lang({language}) figure",
        "compare": f"{COMPARE} .viewer:lang({language}) .viewer-key li",
        "scores": f".scores[data-shown={language}] .scores-group",
    }.get(place, f"#board-{place} .board:lang({language}) .board-blocks > *")
    visitor.page.locator(waited_for).first.wait_for()
    visitor.page.wait_for_function("!document.querySelector('.seglab-viewer :is(.pending, .translucent)')")


def findings(visitor: Visitor, at: str) -> list[str]:
    """What axe finds inside `at`, serious or critical."""
    violations = visitor.page.evaluate(
        "at => axe.run(at, {resultTypes: ['violations']}).then(found => found.violations)", at
    )
    return [
        f"{violation['id']} ({violation['impact']}): {node['target'][0]}: {node['html'][:160]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


WORDLESS = """() => {
    const said = (node) => (node?.getAttribute("alt") || node?.getAttribute("aria-label") || "").trim();
    const shown = [...document.querySelectorAll("img, canvas, svg[role=img]")].filter(
        (node) => node.checkVisibility() && !node.closest("[aria-hidden=true]"));
    return shown.filter((node) => ![
        node,
        node.closest("button, [role=button]"),
        node.closest(".painter-frame")?.querySelector("canvas"), // it lies on the photo and answers for it
    ].some(said)).map((node) => node.outerHTML.slice(0, 160));
}"""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_place_is_open_to_everybody(everybody, language, place):
    page = everybody.page
    page.set_viewport_size(WINDOWS["desk"])
    go(everybody, place, language)
    inside = f"#lesson-{place}" if place in LESSON_KEYS[1:] else "body"  # what surrounds the lessons stays the same
    found = []
    for window, size in WINDOWS.items():
        scheme = SCHEMES[language][window]
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        found += [f"{window}, {scheme}: {finding}" for finding in findings(everybody, inside)]
        if everybody.sideways() > 0:
            found.append(f"{window}: {everybody.sideways()} pixels too wide")
    found += [f"no words for {picture}" for picture in page.evaluate(WORDLESS)]
    assert not found, "\n".join(found)


def test_pictures_of_the_viewer_say_their_numbers(everybody):
    go(everybody, "compare", "en")
    labels = everybody.page.locator(f"{COMPARE} canvas").evaluate_all(
        "nodes => nodes.map(node => [node.closest('figure').dataset.kind, node.getAttribute('aria-label')])"
    )
    key = everybody.page.locator(f"{COMPARE} .viewer-key b").all_inner_texts()
    shares = everybody.page.locator(f"{COMPARE} .viewer-scroll").first.inner_text()
    for kind, label in labels:
        numbers = [word + " %" for word in label.replace("%", " ").split() if word.replace(".", "").isdigit()]
        if kind == "original":
            assert "451 × 300 px" in label
        elif kind == "disagreement":
            assert numbers == key
        elif kind == "confidence":
            assert "mean confidence, cat " in label
        else:
            assert len(numbers) > 1
            assert all(number in shares for number in numbers)


def test_table_of_eight_networks_scrolls_in_its_own_box(everybody):
    page = everybody.page
    page.set_viewport_size(WINDOWS["phone"])
    go(everybody, "compare", "en")
    boxes = page.locator(f"{COMPARE} .viewer-scroll")
    page.evaluate(
        """at => document.querySelectorAll(at).forEach((row) => {
            while (row.cells.length < 9) row.append(row.lastElementChild.cloneNode(true));
        })""",
        f"{COMPARE} .viewer-scroll tr",
    )
    assert everybody.sideways() <= 0
    assert boxes.count() == 2
    for box in boxes.all():
        assert box.evaluate("node => node.scrollWidth > node.clientWidth + 100")
        box.focus()
        box.press("ArrowRight")
        page.wait_for_function("document.activeElement.scrollLeft > 0")
        first = box.locator("tbody th").first
        assert first.bounding_box()["x"] == pytest.approx(box.bounding_box()["x"], abs=1)  # the row's name stays
    assert findings(everybody, f"{COMPARE}") == []
    page.set_viewport_size(WINDOWS["desk"])


def test_colour_blind_view(everybody):
    """Other colours and patterns in the browser alone; the other viewer follows; VOC's colours come back."""
    visitor, page = everybody, everybody.page
    go(visitor, "compare", "en")
    go(visitor, "segment", "en")
    before = visitor.pixels("mask")
    ids = visitor.ids()
    switch = page.locator(f"{SEGMENT} .viewer-safe input")
    with visitor.asks_nothing():
        switch.check()
        assert (visitor.pixels("mask")[ids == 8] == SAFE_COLOURS[0]).all()  # one class: it has no pattern
        assert page.locator(f"{SEGMENT} .viewer-note").inner_text() == "Downloads keep VOC's colours."
        assert page.locator(f"{COMPARE} .viewer-safe input").is_checked()
        assert page.evaluate("localStorage.getItem('seglab-safe-colours')") == "1"
        swatch = page.locator(f"{SEGMENT} .viewer-chip[data-id='8'] .viewer-swatch")
        assert swatch.evaluate("node => getComputedStyle(node).backgroundColor") == f"rgb{SAFE_COLOURS[0]}"
    with visitor.new_result():
        page.locator("#examples button").nth(1).click()  # person and something else
    pixels = visitor.pixels("mask").reshape(-1, 3)
    found = {tuple(map(int, colour)) for colour in np.unique(pixels, axis=0)}
    assert found <= {*SAFE_COLOURS, (0, 0, 0), (255, 255, 255)}
    assert set(SAFE_COLOURS[:2]) <= found
    patterned = page.locator(f"{SEGMENT} .viewer-chip .viewer-swatch").evaluate_all(
        "nodes => nodes.filter(node => getComputedStyle(node).backgroundImage !== 'none').length"
    )
    assert patterned == page.locator(f"{SEGMENT} .viewer-chip").count() - 2  # background and the largest have none
    switch.uncheck()
    assert not page.locator(f"{COMPARE} .viewer-safe input").is_checked()
    with visitor.new_result():
        page.locator("#examples button").first.click()
    np.testing.assert_array_equal(visitor.pixels("mask"), before)
    assert (before[ids == 8] == VOC.colours[8]).all()


def test_colour_blind_view_of_the_lab(everybody):
    """The lesson's own switch is the viewers' too; pictures and swatches change in the browser alone."""
    visitor, page = everybody, everybody.page
    go(visitor, "segment", "en")
    go(visitor, "fcn", "en")
    board = page.locator("#board-fcn")
    masks = board.locator("img[alt*='cat ']")
    before = masks.evaluate_all("nodes => nodes.map(node => node.src)")
    assert len(before) >= 3
    switch = board.get_by_label(VIEWER["en"]["safe"])
    with visitor.asks_nothing():
        switch.check()
        now = masks.evaluate_all("nodes => nodes.map(node => node.src)")
        assert all(one != other for one, other in zip(before, now, strict=True))
        assert switch.evaluate("node => node === document.activeElement")  # drawn anew, the focus stays
        assert page.locator(f"{SEGMENT} .viewer-safe input").is_checked()
    assert findings(visitor, "#board-fcn") == []
    go(visitor, "pixel", "en")
    look = safe_looks(range(len(VOC)))[8]  # the cat in the middle
    swatch = page.locator("#board-pixel .board-swatch").first
    assert swatch.evaluate("node => getComputedStyle(node).backgroundColor") == f"rgb{look.colour}"
    go(visitor, "fcn", "en")
    with visitor.asks_nothing():
        board.get_by_label(VIEWER["en"]["safe"]).uncheck()
    assert masks.evaluate_all("nodes => nodes.map(node => node.src)") == before


# By keys alone

SEEN_FOCUS = """() => {
    const node = document.activeElement;
    const ringed = (at) => {
        const { outlineStyle, outlineWidth } = at ? getComputedStyle(at) : {};
        return outlineStyle && outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
    };
    const inSight = (at) => at.getBoundingClientRect().width > 4 && getComputedStyle(at).opacity > 0;
    return (ringed(node) && inSight(node)) || ringed(node.closest("label")) || node === document.body
        ? "" : node.outerHTML.slice(0, 200);
}"""


def tab_to(visitor: Visitor, selector: str, *, key: str = "Tab") -> None:
    """Press Tab until this has the focus; wherever it passes, the focus can be seen."""
    hidden = []
    for _ in range(90):
        visitor.page.keyboard.press(key)
        hidden += filter(None, [visitor.page.evaluate(SEEN_FOCUS)])
        if visitor.page.evaluate("at => document.activeElement.matches(at)", selector):
            assert not hidden, "focus not seen on\n" + "\n".join(hidden)
            return
    raise AssertionError(f"{selector} is not reached by {key}")


def tab(name: str) -> str:
    return f"[role=tab][data-name='{say('en', name + '_tab')}']"


# What can be used with the pointer, is in sight, and never had the focus.
UNREACHED = """at => {
    const kinds = "button, a[href], input, textarea, summary, [role=button]";
    const usable = [...document.querySelectorAll(`${at} :is(${kinds})`)].filter((node) =>
        !node.disabled && !node.closest("[aria-hidden=true]") && node.getBoundingClientRect().width > 4
        && node.checkVisibility({ opacityProperty: true }));
    return usable.filter((node) => !node.dataset.reached).map((node) => node.outerHTML.slice(0, 160));
}"""


@pytest.mark.parametrize("key", LESSON_KEYS)
def test_every_lesson_is_reached_by_keys(everybody, key):
    page, lesson = everybody.page, f"#lesson-{key}"
    page.set_viewport_size(WINDOWS["desk"])
    go(everybody, key, "en")
    page.locator(f"#lesson input[value={key}]").focus()
    hidden, inside = [], False
    for _ in range(150):
        page.keyboard.press("Tab")
        here = page.evaluate("at => Boolean(document.activeElement.closest(at))", lesson)
        if inside and not here and page.evaluate("document.activeElement !== document.body"):
            break  # past the lesson; on the body for a moment: Gradio's list of choices has closed
        if here:
            inside = True
            page.evaluate("document.activeElement.dataset.reached = 1")
            hidden += filter(None, [page.evaluate(SEEN_FOCUS)])
    assert inside
    assert not hidden, "focus not seen on\n" + "\n".join(hidden)
    unreached = page.evaluate(UNREACHED, lesson)
    assert not unreached, "not reached\n" + "\n".join(unreached)


@contextmanager
def new_board(visitor: Visitor, key: str) -> Iterator[None]:
    """Wait until what happens inside has brought another answer onto the lesson's board."""
    before = shown(visitor, key)
    yield
    wait_for_board(visitor, key, other_than=before)


def test_everything_by_keys(browser, page_server):  # noqa: F811
    visitor = Visitor(browser, page_server, reduced_motion="reduce")
    page, press = visitor.page, visitor.page.keyboard.press
    page.evaluate("document.querySelectorAll('[role=tab]').forEach(tab => (tab.dataset.name = tab.textContent.trim()))")
    page.wait_for_selector("#examples button[aria-label]")  # page.js has run: the page is complete
    tab_to(visitor, "#examples button:nth-child(2)")
    with visitor.new_result():
        press("Enter")
    tab_to(visitor, "#network input[value=unet]")  # Gradio's radios are a stop each
    with visitor.new_result():
        press("Space")
    tab_to(visitor, "#run")
    with visitor.new_result():
        press("Enter")
    tab_to(visitor, f"{SEGMENT} .viewer-modes button")
    press("ArrowRight")
    assert page.locator(f"{SEGMENT} [data-mode=outline]").get_attribute("aria-checked") == "true"
    press("ArrowLeft")
    tab_to(visitor, f"{SEGMENT} .viewer-opacity input")
    press("ArrowRight")
    assert page.locator(f"{SEGMENT} output").inner_text() == "61 %"
    tab_to(visitor, f"{SEGMENT} .viewer-safe input")
    press("Space")
    tab_to(visitor, f"{SEGMENT} .viewer-chip")
    press("Space")
    assert page.locator(f"{SEGMENT} .viewer-chip").first.get_attribute("aria-pressed") == "false"
    tab_to(visitor, f"{SEGMENT} canvas")
    before = visitor.readout()
    press("ArrowRight")
    assert "x " in before
    assert visitor.readout() != before
    tab_to(visitor, "#segment-zip")

    tab_to(visitor, tab("compare"), key="Shift+Tab")
    with visitor.new_result(COMPARE):
        press("Enter")
    assert page.locator(f"{COMPARE} .viewer-safe input").is_checked()  # chosen on the other tab
    tab_to(visitor, "#compare-networks input")
    with visitor.new_result(COMPARE):
        press("Space")

    tab_to(visitor, tab("lab"), key="Shift+Tab")
    press("Enter")
    wait_for_board(visitor, LESSON_KEYS[0])
    tab_to(visitor, "#lesson input[value=pixel]")
    press("Space")
    wait_for_board(visitor, "pixel")
    tab_to(visitor, "#lesson-pixel input[value=hide]")
    with new_board(visitor, "pixel"):
        press("Space")
    tab_to(visitor, "#board-pixel .board-pick")
    for expected in (0.53, 0.56):  # from where it was, not from the middle again
        with new_board(visitor, "pixel"):
            press("ArrowRight")
            press("Enter")
        assert page.evaluate("document.activeElement.matches('#board-pixel .board-pick')")
        assert f"x {int(512 * expected)}," in page.evaluate("document.activeElement.ariaLabel")

    tab_to(visitor, tab("scores"), key="Shift+Tab")
    press("Enter")
    page.locator(".scores-group").first.wait_for()
    tab_to(visitor, ".scores-figures thead button")
    press("Enter")
    assert page.evaluate("document.activeElement.closest('th').ariaSort") != "none"
    tab_to(visitor, ".scores-matrix td")
    visitor.leave()
