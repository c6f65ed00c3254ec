"""The page on screens of other sizes."""

import pytest

pytest.importorskip("playwright", reason="needs Playwright")
from playwright.sync_api import Page, expect

from tests.chromium import needs_chromium
from tests.page.actions import await_result

pytestmark = needs_chromium

OVERFLOW = "document.documentElement.scrollWidth - innerWidth"


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(OVERFLOW) == 0
    page.click("[data-sample='cat.jpg']")
    await_result(page)
    assert page.evaluate(OVERFLOW) == 0
    expect(page.locator("#stage")).to_be_in_viewport()
