"""What answers look like."""

import base64
import io

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families


def assert_problem(response: httpx.Response, status: int, *said: str, limit: float | None = None) -> None:
    """The answer is an RFC 9457 problem of that status, and its detail says what it should."""
    assert response.status_code == status, response.text[:300]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    for words in said:
        assert words in problem["detail"]
    assert problem.get("limit") == limit
    assert set(problem) <= {"type", "title", "status", "detail", "limit"}


def labels_of(content: bytes) -> NDArray[np.uint8]:
    """The pixel values of an indexed PNG."""
    image = Image.open(io.BytesIO(content))
    assert image.mode == "P"
    return np.asarray(image)


def mask_in(answer: dict[str, str]) -> NDArray[np.uint8]:
    """The mask in a JSON answer."""
    prefix, _, data = answer["mask"].partition(",")
    assert prefix == "data:image/png;base64"
    return labels_of(base64.b64decode(data, validate=True))


def post(client: httpx.Client, content: bytes, **query: str | int | float) -> httpx.Response:
    """POST /segment with a raw body."""
    return client.post("/segment", content=content, params=query, headers={"Content-Type": "application/octet-stream"})


def mask_of(client: httpx.Client, content: bytes, **query: str | int | float) -> NDArray[np.uint8]:
    """The labels that the service gives an image."""
    response = post(client, content, format="mask", **query)
    assert response.status_code == 200, response.text[:300]
    return labels_of(response.content)


def admitted(client: httpx.Client) -> float:
    """Megapixels that are accepted and not finished, as the service tells anyone."""
    [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith("segment_admitted_megapixels ")]
    return float(line.split()[1])


def samples(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics, by its name and the values of its labels in alphabetical order."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(sample.name, *sorted(sample.labels.values())): sample.value for family in families for sample in family.samples}


def strongest_color(image: Image.Image) -> NDArray[np.uint8]:
    """What the red, green and blue model should say of each pixel, if no two colours are close."""
    labels: NDArray[np.uint8] = np.asarray(image.convert("RGB")).argmax(2).astype(np.uint8)
    return labels
