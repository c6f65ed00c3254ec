"""The report in a browser: it fits a phone and a desk, in light and dark, and asks the network for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs Playwright")
from playwright.sync_api import Browser

from tests.chromium import chromium, needs_chromium
from tests.training.report.records import made_up, write_run
from training.report.page import write_report
from training.report.run import read_runs

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs of eleven classes."""
    folder = tmp_path_factory.mktemp("runs")
    runs = read_runs([write_run(folder / str(number), made_up(f"FCN, run {number}", 0.6, number)) for number in range(2)])
    return write_report(runs, runs[0], "Two runs", [], folder / "out")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_shows_its_pictures_and_loads_nothing(width: int, scheme: str, page: Path, browser: Browser) -> None:
    addresses: list[str] = []
    errors: list[str] = []
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:  # type: ignore[arg-type]
        tab = context.new_page()
        tab.on("request", lambda request: addresses.append(request.url))
        tab.on("console", lambda message: errors.append(message.text))
        tab.goto(page.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == width  # tables scroll by themselves
        assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 200)")
        ground, ink = (
            tab.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)")
            for name in ("backgroundColor", "color")
        )
        assert (ground > ink + 400) if scheme == "light" else (ink > ground + 400)
    assert [url for url in addresses if not url.startswith("data:")] == [page.as_uri()]
    assert errors == []
