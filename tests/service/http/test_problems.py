"""Every error is a problem, and OpenAPI says so."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.service.helpers.answers import assert_problem

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/segment/",
        "/segment/extra",
        "/models/",
        "/models/colors/extra",
        "/static/nothing.js",
        "/static/%00",
        "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/" + "a" * 5000,
        "/static/samples",
        "/static-offline-docs/nothing",
        "/%ff%fe",
        "/redoc",
        "/static",
        "/.env",
    ],
)
def test_an_unknown_path_is_404(path: str, colors: TestClient) -> None:
    assert_problem(colors.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/segment", "POST"),
        ("PUT", "/segment", "POST"),
        ("DELETE", "/segment", "POST"),
        ("OPTIONS", "/segment", "POST"),
        ("TRACE", "/segment", "POST"),
        ("BREW", "/segment", "POST"),
        ("POST", "/models", "GET, HEAD"),
        ("DELETE", "/models/colors", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_405_and_the_right_one_is_told(method: str, path: str, allowed: str, colors: TestClient) -> None:
    response = colors.request(method, path)
    assert_problem(response, 405)
    assert response.headers["allow"] == allowed


def test_a_wrong_method_on_a_file_is_405(colors: TestClient) -> None:
    assert_problem(colors.post("/static/app.js"), 405)


@pytest.fixture(scope="module")
def document(colors: TestClient) -> dict[str, Any]:
    """/openapi.json."""
    result: dict[str, Any] = colors.get("/openapi.json").json()
    return result


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of each."""
    return [(method, path, item[method]) for path, item in document["paths"].items() for method in METHODS & item.keys()]


def test_the_document_is_openapi_3_1_in_its_structure(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    found = {(method, path) for method, path, _ in operations(document)}
    assert found == {
        ("post", "/segment"),
        ("get", "/models"),
        ("get", "/models/{name}"),
        ("get", "/livez"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }
    identifiers = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(identifiers)) == len(identifiers)
    for _, path, operation in operations(document):
        assert operation["responses"]
        declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        for parameter in operation.get("parameters", []):
            assert {"name", "in", "schema"} <= parameter.keys()
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert response["description"]


def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert references(document)
    for reference in references(document):
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_error_in_the_document_is_a_problem(document: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert response["content"] == {"application/problem+json": {"schema": schema}}, f"{method} {path} {status}"
    assert document["components"]["schemas"]["ProblemDetails"]["required"] == ["title", "status", "detail"]
    assert "HTTPValidationError" not in str(document)


def test_the_document_tells_every_error_of_segment(document: dict[str, Any]) -> None:
    statuses = document["paths"]["/segment"]["post"]["responses"].keys()
    assert statuses == {"200", "400", "401", "404", "408", "413", "415", "422", "429", "431", "503", "504"}


def test_the_document_tells_that_a_head_can_be_too_large_for_every_route(document: dict[str, Any]) -> None:
    assert all("431" in operation["responses"] for _, _, operation in operations(document))


def test_the_document_says_which_errors_tell_when_to_come_again(document: dict[str, Any]) -> None:
    responses = document["paths"]["/segment"]["post"]["responses"]
    assert {status for status, response in responses.items() if "Retry-After" in response.get("headers", {})} == {"429", "503"}


def test_the_document_tells_every_way_to_send_an_image_and_every_form_of_answer(document: dict[str, Any]) -> None:
    operation = document["paths"]["/segment"]["post"]
    assert operation["requestBody"]["required"]
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/octet-stream"}
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "image/png", "image/jpeg"}
    parameters = {parameter["name"] for parameter in operation["parameters"]}
    assert parameters == {"model", "precision", "resolution", "format", "opacity"}


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_docs_and_page_load_nothing_from_another_host(path: str, colors: TestClient) -> None:
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", colors.get(path).text)
    assert loaded
    for address in loaded:
        assert not re.match(r"(?:[a-z]+:)?//", address), address
        if "." in address.rpartition("/")[2]:
            assert colors.get("/" + address.lstrip("/")).status_code == 200


def test_the_page_forbids_itself_everything_from_elsewhere(colors: TestClient) -> None:
    policy = colors.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "*" not in policy


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static-offline-docs/swagger-ui.css"])
@pytest.mark.parametrize("part", ["bytes=0-3", "bytes=99999999-", "items=0-1"])
def test_a_part_of_a_file_is_answered_with_all_of_it(path: str, part: str, colors: TestClient) -> None:
    answer = colors.get(path, headers={"Range": part})
    assert (answer.status_code, answer.content) == (200, colors.get(path).content)
    assert "accept-ranges" not in answer.headers
