"""The page, open in Debian's Chromium. Playwright is imported late: where it is missing, the files of tests skip themselves."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.service_process import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from tests.chromium import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: "Browser", server: Server) -> Iterator["Page"]:
    """The page, open. Whatever a test does with it, no request may leave the host and no error may be logged."""
    from playwright.sync_api import expect

    errors: list[str] = []
    addresses: list[str] = []
    with browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.goto("/")
        expect(page.locator("#legend tbody tr").first).to_be_visible()  # the models are there
        yield page
    host = server.url.rstrip("/") + "/"
    assert addresses and [url for url in addresses if not url.startswith((host, f"blob:{host}", "data:"))] == []
    # Chromium logs every status of 400 and above by itself; violations of the content security policy look different.
    assert [error for error in errors if not error.startswith("Failed to load resource")] == []
