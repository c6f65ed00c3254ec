"""Memory that is given back: after a large image, a failed attempt, an error."""

import gc
import io
import weakref
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.imaging.decode import open_image
from service.inference.models.model import Model
from service.inference.models.repository import Repository
from service.inference.scheduling.workers import Ticket
from service.inference.scores import Scores
from service.inference.sessions import device
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed
from service.pipeline import Job, process
from service.results.renderings import Format
from tests.service.conftest import MakeClient
from tests.service.helpers.answers import mask_of, strongest_color
from tests.service.helpers.pictures import encoded, flag, oriented
from tests.service.helpers.short_sessions import shrunk_arenas
from tests.service.helpers.tiny_models import write_model


@pytest.mark.parametrize(("provider", "arenas"), [(device.CPU, "cpu:0"), (device.CUDA, "cpu:0;gpu:0")])
def test_what_large_images_and_tiles_took_is_given_back(
    provider: str, arenas: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    sessions: weakref.WeakSet[ort.InferenceSession] = weakref.WeakSet()
    original = ort.InferenceSession

    class Session(original):  # type: ignore[misc, valid-type]  # of the CPU, whatever it says
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)
            sessions.add(self)

        def get_providers(self) -> list[str]:
            return [provider]

        def run(self, names: list[str], inputs: object, options: ort.RunOptions) -> object:
            asked.append(shrunk_arenas(options))
            return super().run(names, inputs)

        def run_with_iobinding(self, binding: object, options: ort.RunOptions) -> None:
            asked.append(shrunk_arenas(options))
            super().run_with_iobinding(binding)

    monkeypatch.setattr(ort, "InferenceSession", Session)
    write_model(tmp_path, halo={"before": 16, "after": 16})
    loaded = Repository(tmp_path, "cpu").variant("colors").model()
    for image, small, expected in (
        (flag(), False, {""}),  # ordinary images keep what they need: the next ones need it too
        (flag(1024, 1040), False, {arenas}),
        (flag(), True, {arenas}),  # tiles
    ):
        asked.clear()
        list(loaded.scores(image, Cancellation(), small_tiles=small).bands)
        assert set(asked) == expected
    asked.clear()
    assert len(sessions) > 1
    loaded.give_back()
    assert asked == [arenas]
    assert len(sessions) == 1


def test_what_a_failed_attempt_held_is_gone_before_the_next(
    tmp_path: Path, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[NDArray[np.uint8]]] = []
    original = Model.scores

    def scores(
        model: Model, image: Image.Image, cancellation: Cancellation, *, all_cores: bool = True, small_tiles: bool = False
    ) -> Scores:
        if small_tiles:
            assert held[0]() is None
            return original(model, image, cancellation, all_cores=all_cores, small_tiles=small_tiles)
        strips = np.zeros(1000, np.uint8)
        held.append(weakref.ref(strips))
        raise OutOfDeviceMemory(str(len(strips)))

    monkeypatch.setattr(Model, "scores", scores)
    write_model(tmp_path, halo={"before": 16, "after": 16})
    client = make_client(models_dir=tmp_path)
    gc.disable()
    try:
        assert np.array_equal(mask_of(client, encoded(flag())), strongest_color(flag()))
    finally:
        gc.enable()
    assert held


@pytest.mark.parametrize("form", ["json", "overlay"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_no_pixels_are_left_when_work_ends_in_an_error(
    form: Format, orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Image.Image] = []

    def fail(_: Model, image: Image.Image, *__: object, **___: object) -> None:
        seen.append(image)
        raise RunFailed

    monkeypatch.setattr(Model, "scores", fail)
    write_model(tmp_path)
    upload = open_image(io.BytesIO(oriented(flag(), orientation, "JPEG")), 10**6)
    job = Job(upload, Repository(tmp_path, "cpu").variant("colors"), "model", form, 0.5)
    ticket = Ticket(None, 1, 1, 0, 0)
    with pytest.raises(RunFailed):
        process(job, ticket)
    for image in (*seen, upload.image):
        with pytest.raises(ValueError, match="closed image"):
            image.getpixel((0, 0))
