"""What orchestrators and monitors ask."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.http.lifecycle import Lifecycle
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import assert_problem, post, samples
from tests.service.helpers.pictures import encoded, flag

IMAGE = encoded(flag())


def test_a_service_with_a_model_is_alive_and_ready(colors: TestClient) -> None:
    for path in ("/livez", "/readyz"):
        response = colors.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_service_without_a_model_is_alive_and_not_ready(folder: str, make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    client = make_client(models_dir=tmp_path / folder)
    assert client.get("/livez").status_code == 200
    assert_problem(client.get("/readyz"), 503, "no model")
    assert_problem(post(client, IMAGE), 503, "no model")
    assert client.get("/models").json()["models"] == []


def test_requests_are_counted_by_route_and_status(make_client: MakeClient) -> None:
    client = make_client()
    post(client, IMAGE)
    post(client, b"text")
    client.get("/models/colors")
    client.get("/models/nothing")
    counted = samples(client)
    assert counted["segment_http_requests_total", "/segment", "200"] == 1
    assert counted["segment_http_requests_total", "/segment", "415"] == 1
    assert counted["segment_http_requests_total", "/models/{name}", "200"] == 1
    assert counted["segment_http_requests_total", "/models/{name}", "404"] == 1


def test_runs_are_counted_by_how_they_were_scheduled(make_client: MakeClient) -> None:
    client = make_client()
    for _ in range(3):
        post(client, IMAGE)
    assert samples(client)["segment_runs_total", "all_cores"] == 3


def test_paths_that_clients_make_up_add_no_series(make_client: MakeClient) -> None:
    client = make_client()
    for number in range(20):
        client.get(f"/made-up/{number}")
        client.get(f"/models/made-up-{number}")
        client.get(f"/static/made-up-{number}")
    assert not [key for key in samples(client) if any("made-up" in part for part in key)]
    assert samples(client)["segment_http_requests_total", "404", "none"] == 40  # no route, or a file


def test_the_steps_of_each_segmentation_are_timed(make_client: MakeClient) -> None:
    client = make_client()
    post(client, IMAGE)
    post(client, b"text")
    for step in ("decode", "queue", "infer"):
        assert samples(client)["segment_step_seconds_count", "colors", "cpu", step] == 1


def test_an_unexpected_error_is_a_500_that_says_nothing_of_its_cause(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr("service.http.segment.process", broken)
    client = make_client()
    response = post(client, IMAGE)
    assert_problem(response, 500)
    assert "secret" not in response.text
    assert "a secret path" in caplog.text
    assert samples(client)["segment_http_requests_total", "/segment", "500"] == 1


def test_a_service_that_is_stopping_is_alive_and_not_ready(make_client: MakeClient) -> None:
    client = make_client()
    Lifecycle.of(client.app).draining.set()
    assert client.get("/livez").status_code == 200
    assert_problem(client.get("/readyz"), 503, "stopping")
