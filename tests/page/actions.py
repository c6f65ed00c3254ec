"""What a person does on the page; import it after `pytest.importorskip("playwright")`."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect


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


def drop_paths(page: Page, *paths: Path) -> None:
    """Drop files or folders on the page, as from a file manager."""
    browser = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": event, "x": 200, "y": 200, "data": data})
    browser.detach()


def drop_text(page: Page) -> None:
    """Drop a selection of text on the page."""
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.setData("text/plain", "some words");
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    }""")
