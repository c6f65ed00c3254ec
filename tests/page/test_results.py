"""The page, as a person uses it: Debian's Chromium against the running service."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

pytest.importorskip("playwright", reason="needs Playwright")
from playwright.sync_api import Page, expect

from tests.chromium import needs_chromium
from tests.page.actions import await_result, choose, natural_size, picture

pytestmark = needs_chromium


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


def test_the_documentation_loads_from_this_host_too(page: Page) -> None:
    page.click("nav a")
    expect(page.locator("#operations-tag-default, .opblock").first).to_be_visible()


def test_page_and_documentation_work_behind_a_proxy_that_adds_a_path(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/added/path/**", lambda route: route.continue_(url=route.request.url.replace("/added/path/", "/")))
    page.goto("/added/path/")
    choose(page, picture())
    await_result(page)
    page.click("nav a")
    page.click("text=/models >> nth=0")
    page.click("text=Try it out")
    page.click("text=Execute")
    expect(page.locator(".live-responses-table .response td.response-col_status")).to_have_text("200")
    assert [url for url in asked if not url.startswith(("blob:", "data:")) and "/added/path/" not in url] == []
