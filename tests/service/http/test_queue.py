"""A full queue and a deadline, as a client meets them."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.http import segment
from service.http.lifecycle import Lifecycle
from service.process import usable_cpus
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import admitted, assert_problem, post
from tests.service.helpers.live import Endless, Gate, Line, colors_app, head, serving
from tests.service.helpers.pictures import encoded, flag
from tests.service.helpers.tiny_models import write_model
from tests.service.helpers.waiting import wait_until

IMAGE = encoded(flag())  # 96x64: 0.006144 megapixels
MEGAPIXELS = 0.006144


def wait_for(client: TestClient, megapixels: float) -> None:
    """Wait until that much is accepted."""
    wait_until(lambda: admitted(client) == pytest.approx(megapixels))


def test_a_request_too_many_is_429_with_a_time_to_retry_and_the_place_is_free_afterwards(
    make_client: MakeClient, gate: Gate
) -> None:
    client = make_client(queue_megapixels=2 * MEGAPIXELS)
    with ThreadPoolExecutor() as pool:
        accepted = [pool.submit(post, client, IMAGE) for _ in range(2)]
        wait_for(client, 2 * MEGAPIXELS)
        refused = post(client, IMAGE)
        assert_problem(refused, 429, limit=2 * MEGAPIXELS)
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/livez").status_code == 200
        gate.open.set()
        assert [future.result().status_code for future in accepted] == [200, 200]
    wait_for(client, 0)
    assert post(client, IMAGE).status_code == 200


def test_two_images_of_the_most_pixels_are_at_work_at_a_time(
    make_client: MakeClient, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.app.usable_cpus", lambda: 4)
    client = make_client(max_pixels=96 * 64)
    with ThreadPoolExecutor() as pool:
        accepted = [pool.submit(post, client, IMAGE) for _ in range(3)]
        wait_for(client, 3 * MEGAPIXELS)
        wait_until(lambda: len(gate.came) >= 2)
        time.sleep(0.1)  # in which a third would begin too
        at_work = len(gate.came)
        gate.open.set()
        assert [future.result().status_code for future in accepted] == [200] * 3
    assert at_work == 2


def test_broken_images_are_told_so_even_when_the_queue_is_full(make_client: MakeClient, gate: Gate) -> None:
    client = make_client(queue_megapixels=MEGAPIXELS)
    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(post, client, IMAGE)
        wait_for(client, MEGAPIXELS)
        assert_problem(post(client, b"text"), 415)
        gate.open.set()
        assert accepted.result().status_code == 200


def test_after_the_deadline_the_answer_is_504_and_the_place_is_free_once_the_work_has_stopped(
    make_client: MakeClient, gate: Gate
) -> None:
    client = make_client(deadline_s=0.1, deadline_s_per_megapixel=0, queue_megapixels=MEGAPIXELS)
    assert_problem(post(client, IMAGE), 504, limit=0.1)
    assert_problem(post(client, IMAGE), 429, limit=MEGAPIXELS)
    gate.open.set()
    wait_for(client, 0)


def test_larger_images_get_more_time(make_client: MakeClient, gate: Gate) -> None:
    client = make_client(deadline_s=0.1, deadline_s_per_megapixel=10)
    response = post(client, IMAGE)
    assert_problem(response, 504, limit=0.1 + 10 * MEGAPIXELS)


def test_without_a_gate_a_deadline_stops_the_work_itself(make_client: MakeClient) -> None:
    client = make_client(deadline_s=1e-6, deadline_s_per_megapixel=0)
    assert_problem(post(client, IMAGE), 504, limit=1e-6)
    wait_for(client, 0)


def test_what_is_given_up_when_the_service_stops_is_answered(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "process", Endless())
    client = make_client()
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(post, client, IMAGE) for _ in range(4)]
        wait_for(client, 4 * MEGAPIXELS)
        Lifecycle.of(client.app).give_up()
        for future in waiting:
            assert_problem(future.result(), 503, "the service is stopping")
        assert_problem(post(client, IMAGE), 503, "the service is stopping")


def test_an_upload_that_goes_on_when_the_service_gives_up_is_answered(colors_folder: Path) -> None:
    app = colors_app(colors_folder)
    with serving(app) as address:
        line = Line(address)
        line.send(head("Content-Length: 10000") + b"start")
        time.sleep(0.2)
        Lifecycle.of(app).give_up()
        line.send(b"more")
        assert_problem(line.response(), 503, "the service is stopping")
        line.close()


def test_what_the_pixels_show_too_late_frees_its_place_too(make_client: MakeClient) -> None:
    client = make_client(queue_megapixels=MEGAPIXELS)
    for _ in range(3):
        assert_problem(post(client, IMAGE[: len(IMAGE) // 2]), 400)
    wait_for(client, 0)


def test_images_that_run_on_one_core_have_the_masks_of_images_that_run_on_all(make_client: MakeClient, gate: Gate) -> None:
    many = usable_cpus() + 2
    client = make_client(queue_megapixels=many * MEGAPIXELS)
    with ThreadPoolExecutor(many) as pool:
        accepted = [pool.submit(post, client, IMAGE, format="mask") for _ in range(many)]
        wait_for(client, many * MEGAPIXELS)
        gate.open.set()
        together = {future.result().content for future in accepted}
    wait_for(client, 0)
    assert together == {post(client, IMAGE, format="mask").content}
    assert re.search(r'segment_runs_total{schedule="one_core"} [1-9]', client.get("/metrics").text)


def test_a_deadline_that_passes_is_counted(make_client: MakeClient) -> None:
    client = make_client(deadline_s=1e-6, deadline_s_per_megapixel=0)
    assert_problem(post(client, IMAGE), 504, limit=1e-6)
    assert 'segment_http_requests_total{route="/segment",status="504"} 1.0' in client.get("/metrics").text


def test_a_card_that_says_it_is_endlessly_slow_is_answered(make_client: MakeClient, tmp_path: Path) -> None:
    write_model(tmp_path, gmac=1e308)
    assert post(make_client(models_dir=tmp_path), IMAGE).status_code == 200
