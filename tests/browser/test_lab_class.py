"""Ground truth, quiz, links and lab sheets in Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_server import PageServer
from PIL import Image
from test_lab_page import open_lesson, shown, wait_for_board
from test_page import ASTRONAUT, SEGMENT, Visitor, browser  # noqa: F401, a fixture

from seg import load_predictor
from seg.classes import VOC
from seg.render import to_indexed
from seg.ui.lessons import quiz
from seg.ui.text import say

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(browser: Any, page_server: PageServer) -> Iterator[Callable[..., Visitor]]:  # noqa: F811
    """A new visitor; when the test ends, the browser must have noticed no trouble."""
    visitors: list[Visitor] = []

    def arrive(query: str = "", **options: Any) -> Visitor:
        visitors.append(Visitor(browser, page_server, query, **options))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.leave()


def at_lesson(visitor: Visitor, key: str, photo: Path = ASTRONAUT) -> None:
    visitor.upload(photo)
    visitor.open_tab("lab_tab")
    open_lesson(visitor, key)


def text_of(visitor: Visitor, key: str) -> str:
    return str(visitor.page.locator(f"#board-{key}").inner_text())


def chosen(visitor: Visitor, selector: str) -> list[str]:
    """The words of what is chosen in a radio or in checkboxes."""
    return list(visitor.page.locator(f"{selector} label.selected").all_inner_texts())


def test_a_label_is_also_what_robustness_is_measured_by(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    at_lesson(visitor, "truth")
    before = shown(visitor, "truth")
    to_indexed(load_predictor("unet").predict(ASTRONAUT).label_map, VOC).save(tmp_path / "label.png")
    visitor.page.locator("#truth-label input[type=file]").set_input_files(tmp_path / "label.png")
    wait_for_board(visitor, "truth", other_than=before)
    open_lesson(visitor, "robustness")
    assert "mIoU against your label" in text_of(visitor, "robustness")


def test_a_label_file_and_a_painting_are_scored(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.page
    at_lesson(visitor, "truth")
    assert "No label yet" in text_of(visitor, "truth")

    before = shown(visitor, "truth")
    label = load_predictor("unet").predict(ASTRONAUT).label_map
    to_indexed(label, VOC).save(tmp_path / "label.png")
    page.locator("#truth-label input[type=file]").set_input_files(tmp_path / "label.png")
    wait_for_board(visitor, "truth", other_than=before)
    assert "Highest mIoU on this photo: U-Net. mIoU of everything:" in text_of(visitor, "truth")
    assert "U-Net 1.00" in text_of(visitor, "truth")

    before = shown(visitor, "truth")
    page.locator("#lesson-truth-source input[value=paint]").check()
    wait_for_board(visitor, "truth", other_than=before)
    assert "No label yet" in text_of(visitor, "truth")  # the file says nothing about the painting
    canvas = page.locator("#truth-painter canvas")
    page.locator("#truth-painter select").select_option(label="person")
    canvas.focus()
    for _ in range(12):  # by keys: a vertical line down the middle
        canvas.press("Shift+ArrowDown")
    page.locator("#truth-painter [data-tool=bucket]").click()
    page.locator("#truth-painter select").select_option(label="background")
    canvas.click(position={"x": 5, "y": 5})
    before = shown(visitor, "truth")
    page.locator("#truth-painter [data-tool=done]").click()
    wait_for_board(visitor, "truth", other_than=before)
    said = text_of(visitor, "truth")
    assert "mIoU of everything" in said
    assert "have a label. Only they count" not in said  # the bucket reached every other pixel
    assert visitor.sideways() <= 0


def test_the_quiz_hides_counts_and_reveals(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    at_lesson(visitor, "quiz")
    assert page.locator("#board-quiz img").count() == 3
    for name in quiz.contestants():
        assert quiz.load_title(name) not in page.locator("#board-quiz").inner_html()
    page.locator("#quiz-check").click()
    visitor.wait_for_toast("quiz_incomplete")

    for letter, name in zip(quiz.LETTERS, quiz.contestants(), strict=True):
        page.locator(f"#quiz-{letter} input[value={name}]").check()
    page.locator("#quiz-why input[value=thin]").check()
    before = shown(visitor, "quiz")
    page.locator("#quiz-check").click()
    wait_for_board(visitor, "quiz", other_than=before)
    right = int(text_of(visitor, "quiz").split(" of 3 right")[0].split()[-1])
    page.get_by_text(f"Your score: {right} of 3 masks, 1 round.").wait_for()
    assert page.locator("#board-quiz tbody tr", has_text="right").count() == right

    page.reload()
    page.wait_for_selector(f"{SEGMENT} .viewer")
    visitor.open_tab("lab_tab")
    page.locator("#lesson input[value=quiz]").dispatch_event("click")
    page.get_by_text(f"Your score: {right} of 3 masks, 1 round.").wait_for()
    page.locator("#quiz-reset").click()
    page.get_by_text("No round finished yet.").wait_for()


def test_a_new_round_hides_the_names_again(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    at_lesson(visitor, "quiz")
    for letter, name in zip(quiz.LETTERS, quiz.contestants(), strict=True):
        page.locator(f"#quiz-{letter} input[value={name}]").check()
    page.locator("#quiz-why input[value=guess]").check()
    for button in ("check", "again"):
        before = shown(visitor, "quiz")
        page.locator(f"#quiz-{button}").click()
        wait_for_board(visitor, "quiz", other_than=before)
    assert page.locator("#board-quiz table").count() == 0
    assert chosen(visitor, "#quiz-A") == chosen(visitor, "#quiz-why") == []


def test_a_link_opens_an_exact_exercise_and_is_made_again(visit: Callable[..., Visitor]) -> None:
    query = "?lesson=pixel&example=3&models=fcn8s,unet&lang=zh&field=hide&point=0.25,0.5"
    visitor = visit(query + "&nonsense=%3Cb%3E", wait_for="#board-pixel .board:not([data-shown=''])")
    page = visitor.page
    assert page.locator("#photo img[src*=motorcycle]").count() == 1
    assert visitor.page.locator("#lesson input[value=pixel]").is_checked()
    assert chosen(visitor, "#lesson-pixel-names") == ["FCN-8s", "U-Net"]
    assert page.locator("#lesson-pixel-field input[value=hide]").is_checked()
    page.locator("#class button").first.click()
    page.locator("#class-link").click()
    field = page.locator("#class-address textarea")
    field.wait_for()
    page.wait_for_function("at => document.querySelector(at).value.startsWith('http')", arg="#class-address textarea")
    assert field.input_value() == page.url.split("?")[0] + query
    visitor.open_tab("compare_tab", "zh")
    page.locator("#compare-networks").wait_for()
    assert chosen(visitor, "#compare-networks") == ["FCN-8s", "U-Net"]


def test_a_lab_sheet_is_opened_again_by_somebody_else(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    teacher = visit("?lesson=pixel&models=unet,deeplabv3&lang=en", wait_for="#board-pixel .board")
    teacher.give(ASTRONAUT)
    wait_for_board(teacher, "pixel")
    teacher.page.locator("#class button").first.click()
    with teacher.page.expect_download() as download:
        teacher.page.locator("#class-sheet").click()
    download.value.save_as(tmp_path / "sheet.zip")

    student = visit()
    student.open_tab("lab_tab")
    student.page.locator("#class button").first.click()
    give = student.page.locator("#class input[type=file]")
    give.set_input_files(tmp_path / "sheet.zip")
    student.page.locator("#board-pixel .board:not([data-shown=''])").wait_for()
    assert student.page.locator("#lesson input[value=pixel]").is_checked()
    assert chosen(student, "#lesson-pixel-names") == ["U-Net", "DeepLabV3"]

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "no.zip", "PNG")
    give.set_input_files(tmp_path / "no.zip")
    student.wait_for_toast("sheet_foreign")


@pytest.mark.parametrize("width", [1280, 1920])
def test_large_type_for_a_projector(visit: Callable[..., Visitor], width: int) -> None:
    visitor = visit(
        "?lesson=fcn&example=1&lang=en", wait_for="#board-fcn .board", viewport={"width": width, "height": 1000}
    )
    page = visitor.page
    wait_for_board(visitor, "fcn")
    # How wide some words are on the screen that stay on one line.
    places = [".lesson-text h3", ".lesson-text dt", "#lesson label span", "button[role=tab]"]
    widths = """places => places.map(at => {
        const range = document.createRange();
        range.selectNodeContents([...document.querySelectorAll(at)].find(node => node.checkVisibility()));
        return range.getClientRects()[0].width;
    })"""
    small = page.evaluate(widths, places)
    page.locator("#class button").first.click()
    page.locator("#class-large input").check()
    assert "large=1" in page.url
    page.wait_for_timeout(300)
    for before, after, at in zip(small, page.evaluate(widths, places), places, strict=True):
        assert after >= 1.4 * before, at
    assert visitor.sideways() <= 0
    page.reload()
    page.locator("html.seglab-large .gradio-container").wait_for()
    page.get_by_role("tab", name=say("en", "lab_tab"), exact=True).wait_for()
    assert visitor.sideways() <= 0
