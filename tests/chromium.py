"""Debian's Chromium, for tests of pages; import it after `pytest.importorskip("playwright")`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run"]

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's Chromium (apt-get install chromium)")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a screen."""
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", *QUIET]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()
