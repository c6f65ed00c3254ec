"""The page, as a person uses it: Debian's Chromium against the running service."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

pytest.importorskip("playwright", reason="needs Playwright")
from playwright.sync_api import Browser, FilePayload, Page, Route, expect

from tests.chromium import chromium, needs_chromium
from tests.service_process import Server

PHONE = {"width": 390, "height": 844}

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, open. Whatever a test does with it, no request may leave the host and no error may be logged."""
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


def picture(form: str = "PNG", size: tuple[int, int] = (60, 40), orientation: int = 1, name: str = "photo") -> FilePayload:
    """A file with a colourful image in it."""
    noise = np.random.default_rng(7).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).save(buffer, form, exif=exif)
    return {"name": f"{name}.{form.lower()}", "mimeType": f"image/{form.lower()}", "buffer": buffer.getvalue()}


def choose(page: Page, file: FilePayload) -> None:
    page.locator("#file").set_input_files(file)


def await_result(page: Page) -> None:
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()


def natural_size(page: Page, element: str) -> list[int]:
    size: list[int] = page.locator(element).evaluate("image => [image.naturalWidth, image.naturalHeight]")
    return size


def rgba(page: Page, element: str) -> NDArray[np.uint8]:
    """The pixels of an <img> as the browser draws it, row by row."""
    data = page.locator(element).evaluate("""image => {
        const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
    }""")
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(-1, 4)


def download(page: Page, kind: str) -> tuple[str, bytes]:
    with page.expect_download() as started:
        page.click(f"[data-download={kind}]")
    return started.value.suggested_filename, Path(started.value.path()).read_bytes()


@pytest.mark.parametrize(("sample", "pixels"), [("cat.jpg", 451 * 300), ("astronaut.jpg", 512 * 512)])
def test_a_sample_gives_a_mask_and_a_legend_that_sums_to_the_image(page: Page, sample: str, pixels: int) -> None:
    page.click(f"[data-sample='{sample}']")
    await_result(page)
    expect(page.locator("#mask")).to_be_visible()
    assert natural_size(page, "#mask") == natural_size(page, "#picture")
    rows = page.locator("#legend tbody tr")
    counts = [int("".join(filter(str.isdigit, text))) for text in rows.locator("td:nth-child(2)").all_inner_texts()]
    assert sum(counts) == pixels
    assert counts == sorted(counts, reverse=True), "the largest class comes first"
    classes = page.request.get("/models").json()["models"][0]["classes"]
    assert sorted(rows.locator("th").all_inner_texts()) == sorted(entry["name"] for entry in classes)
    expect(page.locator("#facts")).to_contain_text("CPU")
    expect(page.locator("[role=status]")).to_contain_text("Found")


def test_sliding_changes_the_opacity_and_asks_nothing_again(page: Page) -> None:
    choose(page, picture())
    await_result(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for value in (0, 35, 100):
        page.locator("#opacity").fill(str(value))
        assert float(page.locator("#mask").evaluate("mask => getComputedStyle(mask).opacity")) == value / 100
    assert requests == []


def test_the_background_is_transparent_on_the_page_but_not_in_the_download(page: Page) -> None:
    page.click("[data-sample='cat.jpg']")
    await_result(page)
    alpha = rgba(page, "#mask")[:, 3]
    mask = Image.open(io.BytesIO(download(page, "mask")[1]))
    classes = json.loads(download(page, "json")[1])["classes"]
    background = [entry["id"] for entry in classes if entry["id"] == 0 and entry["name"] == "background"]
    assert "transparency" not in mask.info
    assert 0 < (alpha == 0).mean() < 1, "a cat and what is around it"
    assert np.array_equal(alpha == 0, np.isin(np.asarray(mask).ravel(), background))


def test_downloads_are_the_mask_the_overlay_and_the_answer(page: Page) -> None:
    choose(page, picture(size=(61, 43), name="my dog"))
    await_result(page)
    names, files = zip(*(download(page, kind) for kind in ("mask", "overlay", "json")), strict=True)
    assert names == ("my dog-mask.png", "my dog-overlay.jpg", "my dog-segmentation.json")
    mask, overlay, answer = Image.open(io.BytesIO(files[0])), Image.open(io.BytesIO(files[1])), json.loads(files[2])
    assert (mask.format, mask.mode, mask.size) == ("PNG", "P", (61, 43))
    assert (overlay.format, overlay.size) == ("JPEG", (61, 43))
    counts = np.bincount(np.asarray(mask).ravel(), minlength=len(answer["classes"]))
    assert counts.tolist() == [entry["pixels"] for entry in answer["classes"]]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_photo_taken_sideways_is_shown_upright(page: Page, form: str, orientation: int) -> None:
    """Browsers turn JPEG by themselves, PNG and WebP not always, and most show no TIFF."""
    file = picture(form, (60, 40), orientation)
    choose(page, file)
    await_result(page)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file["buffer"]))).convert("RGB")
    assert natural_size(page, "#picture") == natural_size(page, "#mask") == list(upright.size)
    shown = rgba(page, "#picture")[..., :3].reshape(upright.height, upright.width, 3)
    assert np.abs(shown.astype(int) - np.asarray(upright)).mean() < 15  # turned the wrong way: above 40


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3)])
def test_odd_sizes_are_shown(page: Page, size: tuple[int, int]) -> None:
    choose(page, picture(size=size))
    await_result(page)
    box = page.locator("#mask").bounding_box()
    assert box and min(box["width"], box["height"]) >= 4


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_can_be_dropped_or_pasted(page: Page, event: str) -> None:
    page.evaluate(
        """async (event) => {
        const content = await (await fetch("static/samples/cat.jpg")).blob();
        const data = new DataTransfer();
        data.items.add(new File([content], "cat.jpg", { type: "image/jpeg" }));
        const made = event === "drop"
            ? new DragEvent(event, { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent(event, { clipboardData: data, bubbles: true });
        document.body.dispatchEvent(made);
    }""",
        event,
    )
    await_result(page)
    assert natural_size(page, "#mask") == [451, 300]


def test_everything_works_from_the_keyboard(page: Page) -> None:
    reached: list[str] = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.sample || ''"))
        if reached[-1] == "astronaut.jpg":
            break
    assert {"file", "cat.jpg", "astronaut.jpg"} <= set(reached)
    page.keyboard.press("Enter")
    await_result(page)
    expect(page.locator("[data-sample='astronaut.jpg']")).to_be_focused()


def test_a_double_click_sends_one_request(page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if "/segment?" in request.url else None)
    page.dblclick("[data-sample='cat.jpg']")
    await_result(page)
    assert len(requests) == 1


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


def test_with_several_models_one_can_be_chosen(page: Page) -> None:
    entry = page.request.get("/models").json()["models"][0]
    other = entry | {"name": "other", "classes": [{"id": 0, "name": "anything", "color": "#123456"}]}
    catalogue = {"models": [entry, other], "default": entry["name"]}
    page.route("**/models", lambda route: route.fulfill(json=catalogue))
    page.reload()
    page.get_by_label("Model").select_option("other")
    expect(page.locator("#legend tbody")).to_have_text("anything")
    with page.expect_request("**/segment?model=other&*"):
        choose(page, picture())
    expect(page.locator("[role=alert]")).to_be_visible()  # the real service does not know it
    page.get_by_label("Model").select_option(entry["name"])  # asks again for the same image
    await_result(page)


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    overflow = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(overflow) == 0
    page.click("[data-sample='cat.jpg']")
    await_result(page)
    assert page.evaluate(overflow) == 0
    expect(page.locator("#stage")).to_be_in_viewport()


def test_the_documentation_loads_from_this_host_too(page: Page) -> None:
    page.click("nav a")
    expect(page.locator("#operations-tag-default, .opblock").first).to_be_visible()
