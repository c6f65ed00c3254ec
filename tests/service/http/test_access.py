"""API keys and other origins: closed unless an operator opens them."""

import time

import pytest
from fastapi.testclient import TestClient

from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, samples
from tests.service.helpers.live import Line, chunked, head, serving
from tests.service.helpers.pictures import encoded, flag

IMAGE = encoded(flag())
KEYS = ("a-key", "another+key/==")
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def locked(make_client: MakeClient) -> TestClient:
    """A client of an application with two keys, and no key of its own."""
    return make_client(api_keys=KEYS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic a-key"},
        {"Authorization": "a-key"},
        {"Authorization": "Bearer a-key a-key"},
        {"Authorization": "Bearer A-KEY"},
        {"X-API-Key": ""},
        {"X-API-Key": "a-ke"},
        {"X-API-Key": "a-key,another+key/=="},
        {"X-API-Key": b"\xff\xfe"},
        {"Authorization": "Bearer wrong", "X-API-Key": "a-key"},
    ],
)
def test_without_a_valid_key_the_answer_is_401(headers: dict[str, str | bytes], locked: TestClient) -> None:
    response = locked.post("/segment", content=IMAGE, headers=headers)
    assert_problem(response, 401, "API key")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer a-key"},
        {"authorization": "bearer a-key"},
        {"X-API-Key": "a-key"},
        {"X-API-Key": "another+key/=="},
    ],
)
def test_with_a_key_in_either_header_the_image_is_taken(headers: dict[str, str], locked: TestClient) -> None:
    assert locked.post("/segment", content=IMAGE, headers=headers).status_code == 200
    assert locked.get("/models/colors", headers=headers).status_code == 200


def test_the_docs_ask_for_a_key_only_where_there_are_keys(locked: TestClient, make_client: MakeClient) -> None:
    security = {
        open_or_locked: client.get("/openapi.json").json()["paths"]["/segment"]["post"].get("security")
        for open_or_locked, client in (("locked", locked), ("open", make_client()))
    }
    assert security == {"locked": [{"HTTPBearer": []}, {"APIKeyHeader": []}], "open": None}


def test_the_catalogue_needs_a_key_too(locked: TestClient) -> None:
    assert_problem(locked.get("/models"), 401)
    assert_problem(locked.get("/models/colors"), 401)


def test_a_key_is_asked_for_before_anything_else_is_looked_at(locked: TestClient) -> None:
    assert_problem(locked.post("/segment?opacity=9&model=none", content=b"text"), 401)


def test_a_key_behind_the_body_is_no_key(make_client: MakeClient) -> None:
    start, trailer = head("Transfer-Encoding: chunked") + chunked(IMAGE)[:-2], b"X-API-Key: a-key\r\n\r\n"
    with serving(make_client(api_keys=KEYS).app) as address:  # type: ignore[arg-type]
        for pieces in ([start + trailer], [start, trailer]):
            line = Line(address)
            for piece in pieces:
                line.send(piece)
                time.sleep(0.1)
            assert_problem(line.response(), 401)
            line.close()


def test_a_key_in_the_query_is_no_key(locked: TestClient) -> None:
    assert_problem(locked.post("/segment?api_key=a-key&X-API-Key=a-key", content=IMAGE), 401)


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/static/app.js"])
def test_health_docs_and_page_need_no_key(path: str, locked: TestClient) -> None:
    assert locked.get(path).status_code == 200


def test_by_default_no_key_is_needed_and_any_is_ignored(colors: TestClient) -> None:
    assert colors.post("/segment", content=IMAGE).status_code == 200
    assert colors.post("/segment", content=IMAGE, headers={"X-API-Key": "anything"}).status_code == 200


def preflight(client: TestClient, origin: str) -> dict[str, str]:
    """What a browser is told before it posts an image from another origin."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key, x-request-id",
    }
    return dict(client.options("/segment", headers=asked).headers)


def allowed(headers: dict[str, str]) -> dict[str, str]:
    """The headers that open a door."""
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def test_by_default_no_other_origin_is_let_in(colors: TestClient) -> None:
    assert not allowed(preflight(colors, ORIGIN))
    assert not allowed(dict(colors.post("/segment", content=IMAGE, headers={"Origin": ORIGIN}).headers))


def test_a_named_origin_is_let_in_and_no_other(make_client: MakeClient) -> None:
    client = make_client(cors_origins=(ORIGIN,))
    granted = preflight(client, ORIGIN)
    assert granted["access-control-allow-origin"] == ORIGIN
    assert "POST" in granted["access-control-allow-methods"]
    assert "x-api-key" in granted["access-control-allow-headers"].lower()
    assert "access-control-allow-origin" not in preflight(client, "https://evil.example")
    response = client.post("/segment?format=mask", content=IMAGE, headers={"Origin": ORIGIN})
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "Segment-Classes" in response.headers["access-control-expose-headers"]
    evil = client.post("/segment", content=IMAGE, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in evil.headers


def test_a_preflight_that_is_refused_is_told_why(make_client: MakeClient) -> None:
    client = make_client(cors_origins=(ORIGIN,))
    refused = client.options("/segment", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"})
    assert_problem(refused, 400, "method")
    assert refused.headers["access-control-allow-origin"] == ORIGIN


def test_problems_can_be_read_from_a_named_origin_too(make_client: MakeClient) -> None:
    client = make_client(cors_origins=(ORIGIN,), api_keys=KEYS)
    response = client.post("/segment", content=IMAGE, headers={"Origin": ORIGIN})
    assert_problem(response, 401)
    assert response.headers["access-control-allow-origin"] == ORIGIN


def test_a_preflight_is_counted_and_has_an_id_as_every_request(make_client: MakeClient) -> None:
    client = make_client(cors_origins=(ORIGIN,))
    url, asked = "/segment", {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert client.options(url, headers=asked).headers["x-request-id"]
    assert samples(client)["segment_http_requests_total", "200", "none"] == 1
