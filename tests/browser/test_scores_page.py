"""The tab "Scores" in Chromium, with networks whose figures the test has made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from page_server import PageServer, running_page
from scored import CARDS, NAUGHTY, PAST, metrics, write_checkpoints
from test_page import Visitor, browser  # noqa: F401, a fixture

from seg.classes import VOC
from seg.ui.text import SCORES

pytestmark = pytest.mark.browser

BOARD = ".scores-group[data-group=voc]"


@pytest.fixture(scope="module")
def scores_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("more")
    write_checkpoints(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "SEGLAB_CHECKPOINTS", os.pathsep.join(filter(None, (os.environ.get("SEGLAB_CHECKPOINTS"), str(folder))))
        )
        with running_page(tmp_path_factory.mktemp("page")) as server:
            yield server
    assert not server.crashes(), server.said()


@pytest.fixture(scope="module")
def reader(browser: Any, scores_server: PageServer) -> Iterator[Visitor]:  # noqa: F811
    visitor = Visitor(browser, scores_server)
    visitor.open_tab("scores_tab")
    visitor.page.wait_for_selector(f".scores[data-shown=en] {BOARD}")
    yield visitor
    visitor.leave()


def order(reader: Visitor) -> list[str]:
    return reader.page.locator(f"{BOARD} .scores-figures tbody tr").evaluate_all(
        "rows => rows.map(r => r.dataset.network)"
    )


def test_figures_of_the_card_are_shown(reader):
    row = reader.page.locator(f"{BOARD} .scores-figures tr[data-network=guess-a]")
    found = metrics(skill=CARDS["guess-a"])
    for key in ("miou", "pixel_acc", "mean_acc", "fwiou", "boundary_f"):
        assert row.locator(f"[data-column={key}]").inner_text() == f"{found[key]:.3f}"
    label = reader.page.locator(f"{BOARD} .scores-bars").get_attribute("aria-label")
    low, high = found["miou_interval"]
    assert f"Guess-A {found['miou']:.3f} {low:.3f}–{high:.3f}" in label
    assert "Guess-C not scored yet" in label


def test_a_card_cannot_write_html(reader):
    assert reader.page.locator(".scores img, .scores td b, .scores th b").count() == 0
    assert NAUGHTY in reader.page.locator(".scores-group[data-group=shapes]").inner_text()


def test_sort_by_keyboard_and_filter_ask_nothing(reader):
    before = order(reader)
    with reader.asks_nothing():
        heading = reader.page.locator(f"{BOARD} [data-focus='sort miou']")
        heading.focus()
        heading.press("Enter")
        up = [name for name in order(reader) if name in CARDS]
        assert up == ["guess-a", "guess-b"]
        assert heading.evaluate("node => node === document.activeElement")
        assert heading.locator("..").get_attribute("aria-sort") == "descending"
        heading.press("Enter")
        assert [name for name in order(reader) if name in CARDS] == ["guess-b", "guess-a"]
        assert order(reader)[-1] not in CARDS  # without a figure: last, whichever way
        heading.press("Enter")
        assert order(reader) == before
        chip = reader.page.locator(f"{BOARD} [data-focus='network guess-b']")
        chip.click()
        assert "guess-b" not in order(reader)
        chip.click()
        reader.page.locator(f"{BOARD} [data-focus='fold classes']").click()
        reader.page.locator(f"{BOARD} [data-focus='class 8']").click()
        assert reader.page.locator(f"{BOARD} .scores-classes tr[data-class='8']").count() == 0
        reader.page.locator(f"{BOARD} [data-focus='every class']").click()
        assert reader.page.locator(f"{BOARD} .scores-classes tbody tr").count() == len(VOC)


def test_confusion_tells_by_hover_and_by_keys(reader):
    with reader.asks_nothing():
        reader.page.locator(f"{BOARD} [data-focus=matrix]").select_option("guess-a")
        rows = reader.page.locator(f"{BOARD} .scores-matrix tbody tr")
        readout = reader.page.locator(f"{BOARD} section:has(.scores-matrix) .scores-readout")
        rows.nth(8).locator("td").nth(12).hover()
        assert re.fullmatch(r"Of the pixels that are cat, [\d.<]+ % were called dog\.", readout.inner_text())
        rows.nth(0).locator("td").nth(0).focus()
        reader.page.keyboard.press("ArrowDown")
        reader.page.keyboard.press("ArrowRight")
        right = metrics(skill=CARDS["guess-a"])["confusion_per_mille"][1][1]
        assert readout.inner_text() == f"Of the pixels that are aeroplane, {right / 10:.0f} % were called so, rightly."


def test_curve_tells_by_keys_what_the_table_says(reader):
    curve = reader.page.locator(f"{BOARD} [data-focus=curve]")
    curve.focus()
    curve.press("ArrowRight")
    share = metrics(skill=CARDS["guess-a"])["trimap"]["pixel_acc"][1]
    readout = reader.page.locator(f"{BOARD} section:has([data-focus=curve]) .scores-readout").inner_text()
    assert readout.startswith("Up to 2 px")
    assert f"Guess-A {100 * share:.1f} %" in readout
    curve.blur()


def test_a_long_past_is_folded_and_opens(reader):
    card = reader.page.locator(f"{BOARD} article[data-network=guess-c]")
    assert PAST not in card.inner_text()
    card.get_by_text("the encoder of guess-b (0123456789ab), …", exact=True).click()
    assert PAST in card.inner_text()


def test_time_is_a_dash_until_somebody_measures(reader):
    cell = reader.page.locator(f"{BOARD} tr[data-network=guess-a] [data-column=seconds]")
    assert cell.inner_text() == "–"
    reader.page.locator("#measure").click()
    reader.page.wait_for_function("!document.querySelector('[data-column=seconds]').textContent.includes('–')")
    assert re.fullmatch(r"\d+ ms", cell.inner_text())


def test_chinese_phone_in_the_dark(browser, scores_server):  # noqa: F811
    options = {"viewport": {"width": 390, "height": 844}, "locale": "zh-CN", "color_scheme": "dark"}
    visitor = Visitor(browser, scores_server, **options)
    visitor.open_tab("scores_tab", "zh")
    visitor.page.wait_for_selector(f".scores[data-shown=zh] {BOARD} .scores-curve svg")
    assert visitor.sideways() <= 0
    text = visitor.page.locator(BOARD).inner_text()
    assert SCORES["zh"]["interval"] in text
    assert "飞机" in text
    visitor.leave()
