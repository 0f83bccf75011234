"""The lab in Chromium: every lesson is walked through, in both languages, on a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from page_server import PageServer
from test_page import LANGUAGES, Visitor, browser  # noqa: F401, a fixture

from seg.ui.lessons import LESSONS
from seg.ui.text import say

pytestmark = pytest.mark.browser

VIEWS = {
    "en": {"viewport": {"width": 1280, "height": 900}},
    "zh": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}

LETTERS_OUTSIDE = """charts => charts.flatMap(chart => {
  const { width, height } = chart.viewBox.baseVal;
  const outside = box => box.x < 0 || box.y < 0 || box.x + box.width > width || box.y + box.height > height;
  return [...chart.querySelectorAll("text")].filter(text => outside(text.getBBox())).map(text => text.textContent);
})"""


def shown(visitor: Visitor, key: str) -> str:
    return str(visitor.page.evaluate("at => document.querySelector(at)?.dataset.shown || ''", f"#board-{key} .board"))


def wait_for_board(visitor: Visitor, key: str, *, other_than: str = "") -> None:
    visitor.page.wait_for_function(
        "([at, old]) => (document.querySelector(at)?.dataset.shown || '') !== old",
        arg=[f"#board-{key} .board", other_than],
    )


def open_lesson(visitor: Visitor, key: str) -> None:
    """Choose it and wait for its first answer."""
    visitor.page.locator(f"#lesson input[value={key}]").dispatch_event("click")
    visitor.page.locator(f"#board-{key}").wait_for()
    wait_for_board(visitor, key)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_lesson_answers_and_fits_the_screen(browser: Any, page_server: PageServer, language: str) -> None:  # noqa: F811
    visitor = Visitor(browser, page_server, locale=LANGUAGES[language], **VIEWS[language])
    visitor.page.locator("#examples button").first.click()
    visitor.open_tab("lab_tab", language)
    for lesson in LESSONS:
        open_lesson(visitor, lesson.key)
        board = visitor.page.locator(f"#board-{lesson.key}")
        assert board.locator(".board-blocks > *").count() > 0
        text = visitor.page.locator(f"#lesson-{lesson.key} .lesson-text").inner_text()
        assert lesson.title[language] in text
        assert board.locator(".board").get_attribute("lang") == {"en": "en", "zh": "zh-CN"}[language], lesson.key
        assert "undefined" not in board.inner_text()
        assert "[object" not in board.inner_text()
        assert visitor.sideways() <= 0, lesson.key
        assert board.locator(".board-chart").evaluate_all(LETTERS_OUTSIDE) == [], lesson.key
    visitor.leave()


def test_the_language_switches_without_asking_again(browser: Any, page_server: PageServer) -> None:  # noqa: F811
    visitor = Visitor(browser, page_server)
    visitor.page.locator("#examples button").first.click()
    visitor.open_tab("lab_tab")
    first = LESSONS[0]
    wait_for_board(visitor, first.key)
    answer = shown(visitor, first.key)
    visitor.page.get_by_text("中文", exact=True).click()
    visitor.page.get_by_role("tab", name=say("zh", "lab_tab"), exact=True).wait_for()
    visitor.page.get_by_text(first.title["zh"]).last.wait_for()
    assert shown(visitor, first.key) == answer
    visitor.leave()


def test_every_tab_is_there_once(browser: Any, page_server: PageServer) -> None:  # noqa: F811
    visitor = Visitor(browser, page_server)
    for key in ("compare_tab", "lab_tab", "scores_tab"):
        visitor.open_tab(key)
    visitor.page.wait_for_timeout(500)
    names = [say("en", f"{tab}_tab") for tab in ("segment", "compare", "lab", "scores")]
    tabs = visitor.page.get_by_role("tab").filter(visible=True)
    assert tabs.all_inner_texts() == names
    visitor.leave()


def test_only_what_is_computed_takes_a_place_in_the_queue(browser: Any, page_server: PageServer) -> None:  # noqa: F811
    visitor = Visitor(browser, page_server)

    def places() -> int:
        visitor.page.wait_for_timeout(1000)
        return sum("queue/join" in address for address in visitor.requests)

    with visitor.new_result():
        visitor.page.locator("#examples button").first.click()
    assert places() == 1  # not one for each tab
    visitor.open_tab("lab_tab")
    for lesson in LESSONS[:2]:
        open_lesson(visitor, lesson.key)
    taken = places()
    for lesson in LESSONS[:2]:  # answered before
        visitor.page.locator(f"#lesson input[value={lesson.key}]").dispatch_event("click")
        visitor.page.locator(f"#board-{lesson.key}").wait_for()
    assert places() == taken
    visitor.leave()


def test_a_box_of_a_strip_opens_its_stage(browser: Any, page_server: PageServer) -> None:  # noqa: F811
    visitor = Visitor(browser, page_server, "?lesson=flow&example=1", wait_for="#board-flow .board-blocks > *")
    answer = shown(visitor, "flow")
    box = visitor.page.get_by_role("button", name="U-Net, 5: ")
    box.focus()
    visitor.page.keyboard.press("Enter")
    wait_for_board(visitor, "flow", other_than=answer)
    assert visitor.page.locator("#lesson-flow input[value=unet]").is_checked()
    assert visitor.page.locator("#board-flow [aria-pressed=true]").count() == 1
    assert box.get_attribute("aria-pressed") == "true"
    assert box.evaluate("box => box === document.activeElement"), "the keyboard goes on from there"
    visitor.page.get_by_text("Stage 5, ").wait_for()
    visitor.leave()
