"""What the page says where no result comes, and what a person can do then."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs Playwright")
from playwright.sync_api import Error, Page, Route, expect

from tests.chromium import needs_chromium
from tests.page.actions import await_result, choose, drop_paths, drop_text, natural_size, picture

pytestmark = needs_chromium


def test_a_text_file_gives_a_readable_problem(page: Page) -> None:
    choose(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image at all"})
    problem = page.locator("[role=alert]")
    expect(problem).to_be_visible()
    expect(problem).to_contain_text("not an image")
    expect(problem).to_contain_text("JPEG")
    choose(page, picture())
    await_result(page)


def test_a_broken_connection_is_explained_and_can_be_tried_again(page: Page) -> None:
    page.route("**/segment?*", lambda route: route.abort())
    choose(page, picture())
    expect(page.locator("[role=alert]")).to_contain_text("No answer from the service")
    page.unroute("**/segment?*")
    page.click("#retry")
    await_result(page)


def test_a_request_can_be_cancelled(page: Page) -> None:
    page.route("**/segment?*", lambda route: None)  # never answered
    choose(page, picture())
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "true")
    expect(page.locator("[data-sample='cat.jpg']")).to_be_disabled()
    page.click("#cancel")
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#problem")).to_be_hidden()


def test_a_sample_that_arrives_late_replaces_no_photo_chosen_meanwhile(page: Page) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/static/samples/cat.jpg", hold)
    page.click("[data-sample='cat.jpg']")
    expect(page.locator("#file")).to_be_disabled()
    page.click("#cancel")
    choose(page, picture(size=(61, 43)))
    await_result(page)
    with suppress(Error):  # it was cancelled
        waiting[0].continue_()
    page.wait_for_timeout(500)
    assert natural_size(page, "#picture") == [61, 43]


def test_a_sample_that_is_not_there_can_be_tried_again(page: Page) -> None:
    page.route("**/static/samples/cat.jpg", lambda route: route.abort())
    page.click("[data-sample='cat.jpg']")
    expect(page.locator("[role=alert]")).to_contain_text("The sample is not there")
    page.unroute("**/static/samples/cat.jpg")
    page.click("#retry")
    await_result(page)


@pytest.fixture
def held(page: Page) -> list[Route]:
    """The request for a first photo, which the service has not been given yet."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/segment?*", hold)
    choose(page, picture(size=(61, 43)))
    expect(page.locator("#busy-text")).to_have_text("Segmenting photo.png")
    return waiting


def test_text_dropped_while_a_photo_is_in_work_changes_nothing(page: Page, held: list[Route]) -> None:
    drop_text(page)
    expect(page.locator("#busy-text")).to_have_text("Segmenting photo.png")
    held[0].continue_()
    await_result(page)


def test_a_photo_dropped_while_another_is_in_work_is_not_taken_and_the_page_says_so(
    page: Page, held: list[Route], tmp_path: Path
) -> None:
    (tmp_path / "second.png").write_bytes(picture(size=(30, 20))["buffer"])
    drop_paths(page, tmp_path / "second.png")
    expect(page.locator("#busy-text")).to_contain_text("One photo at a time")
    expect(page.locator("[role=status]")).to_contain_text("One photo at a time")
    held[0].continue_()
    await_result(page)
    expect(page.locator("[role=status]")).to_contain_text("Found")
    assert natural_size(page, "#mask") == [61, 43]
    assert len(held) == 1


def test_what_is_dropped_and_is_no_photo_is_named(page: Page, tmp_path: Path) -> None:
    drop_text(page)
    expect(page.locator("[role=alert]")).to_contain_text("That was not a file")
    (tmp_path / "holiday.jpg").mkdir()
    drop_paths(page, tmp_path / "holiday.jpg")
    expect(page.locator("[role=alert]")).to_contain_text("A folder cannot be sent")
    expect(page.locator("#retry")).to_be_hidden()


def guard(route: Route) -> None:
    """Answer as a service with one key does."""
    if route.request.headers.get("authorization") == "Bearer open-sesame":
        route.continue_()
    else:
        problem = {"title": "Unauthorized", "status": 401, "detail": "a valid API key is needed"}
        route.fulfill(status=401, content_type="application/problem+json", body=json.dumps(problem))


def enter_key(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")


def test_the_key_field_appears_when_a_key_is_needed(page: Page) -> None:
    page.route("**/segment?*", guard)
    expect(page.locator("#key")).to_be_hidden()
    choose(page, picture())
    enter_key(page, "open-sesame")
    await_result(page)


@pytest.mark.parametrize("wrong", ["“open-sesame”", "open-sesame\u200b", "öpen-sesame"])
def test_a_key_that_cannot_be_sent_is_told_and_another_can_be_entered(page: Page, wrong: str) -> None:
    page.route("**/segment?*", guard)
    choose(page, picture())
    enter_key(page, wrong)
    expect(page.locator("[role=alert]")).to_contain_text("An API key is needed")
    expect(page.locator("[role=alert]")).to_contain_text("a character that no key has")
    enter_key(page, " open-sesame ")  # as pasted
    await_result(page)
