"""The page on screens of other sizes."""

import pytest

pytest.importorskip("playwright", reason="needs Playwright")
from playwright.sync_api import Page, expect

from tests.chromium import needs_chromium
from tests.page.actions import await_result, choose, picture

pytestmark = needs_chromium

OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
BEYOND_THE_CARD = """table => {
    const card = table.closest(".card");
    const inside = card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight);
    return table.getBoundingClientRect().right - inside;
}"""


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(OVERFLOW) == 0
    page.click("[data-sample='cat.jpg']")
    await_result(page)
    assert page.evaluate(OVERFLOW) == 0
    expect(page.locator("#stage")).to_be_in_viewport()


def test_the_legend_of_a_large_photo_stays_in_its_card(page: Page) -> None:
    choose(page, picture("JPEG", size=(4032, 3024)))
    await_result(page)
    expect(page.locator("#total")).to_have_text("12,192,768")
    for width in (320, 360, 390, 480, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.locator("#legend").evaluate(BEYOND_THE_CARD) <= 0, width
    page.set_viewport_size({"width": 240, "height": 844})
    assert page.evaluate(OVERFLOW) == 0
