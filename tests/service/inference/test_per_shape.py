"""Each shape of images has a session of its own on a GPU, as many as there is room for."""

import gc
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.inference.models.model import Model
from service.inference.models.repository import Repository
from service.inference.sessions.cancellation import Cancellation
from service.inference.sessions.device import CUDA
from service.inference.sessions.errors import OutOfDeviceMemory
from service.inference.sessions.per_shape import MAX_SESSIONS, PAUSE_S, WEIGHT_BYTES, PerShapeRunner
from service.inference.sessions.runner import ORDINARY_PIXELS, Runner
from tests.service.helpers.tiny_models import write_model

WEIGHTS = WEIGHT_BYTES // 3  # so that three sessions have room

Shape = tuple[int, int, int]


class Session:
    """In a `Runner`'s place; its scores are the first value of each image."""

    device = "cuda"

    def __init__(self, card: "Card") -> None:
        self.ran: list[tuple[Shape, bool]] = []
        self.room, self.card = card.room, weakref.proxy(card)

    def __call__(
        self, images: list[NDArray[np.uint8]], cancellation: Cancellation, size: int = 1, release_memory: bool = False
    ) -> NDArray[np.float32]:
        _, height, width, _ = images[0].shape
        if size * height * width > self.room:
            raise OutOfDeviceMemory("full")
        self.ran.append(((size, height, width), release_memory))
        self.card.open_at_the_last_run = len(self.card.open)
        return np.concatenate(images)[:, :1, :1, 0].astype(np.float32)


class Card:
    """A GPU, on which sessions are opened; the first is the model's."""

    def __init__(self, weights: int = WEIGHTS) -> None:
        self.opens, self.room = True, 1 << 40  # pixels that new sessions have memory for
        self.sessions = [Session(self)]
        self.open, self.open_at_the_last_run = weakref.WeakSet(self.sessions), 0
        runner = PerShapeRunner(self._runner(self.sessions[0]), self._open, weights)
        self.run: Callable[..., NDArray[np.float32]] = runner
        self.has_room = runner.has_room

    def segment(self, *shape: int, value: int = 7, release_memory: bool = False) -> int:
        """Run images of that shape; which session did."""
        size, height, width = shape
        before = [len(session.ran) for session in self.sessions]
        images = [np.full((1, height, width, 3), value, np.uint8)] * size
        scores = self.run(images, Cancellation(), size, release_memory)
        assert scores.tolist() == [[[value]]] * size
        [number] = [
            number for number, one in enumerate(self.sessions) if len(one.ran) > (before + [0] * len(self.sessions))[number]
        ]
        return number

    def _open(self) -> Runner:
        if not self.opens:
            raise OutOfDeviceMemory("full")
        session = Session(self)
        self.open.add(session)
        if self.room:
            self.sessions.append(session)
        return self._runner(session)

    def _runner(self, session: Session) -> Runner:
        return cast(Runner, session)


def test_each_shape_keeps_the_session_that_has_its_plans() -> None:
    card = Card()
    shapes = [(1, 32, 64), (4, 32, 64), (1, 64, 32)]
    assert [card.segment(*shape) for shape in shapes * 3] == [1, 2, 3] * 3


def test_the_shape_that_has_not_come_for_longest_makes_room() -> None:
    card = Card()
    for shape in ((1, 32, 32), (1, 32, 64), (1, 32, 96), (1, 32, 32)):
        assert card.has_room(shape) == (len(card.sessions) < 4)
        card.segment(*shape)
    assert card.segment(1, 64, 64) == 4
    assert [card.segment(*shape) for shape in ((1, 32, 32), (1, 32, 96), (1, 64, 64), (1, 32, 64))] == [1, 3, 4, 5]


def test_sessions_are_so_many_at_most_however_light_their_weights() -> None:
    card = Card(weights=1)
    widths = [16 * number for number in range(1, MAX_SESSIONS + 2)]
    assert [card.segment(1, 16, width) for width in widths] == list(range(1, MAX_SESSIONS + 2))
    assert [card.segment(1, 16, width) for width in widths[1::-1]] == [2, MAX_SESSIONS + 2]  # the first had made room


def test_a_session_that_makes_room_is_let_go_of() -> None:
    card = Card()
    card.segment(1, 32, 32)
    first = weakref.ref(card.sessions.pop())
    for side in (64, 96, 128):
        assert first() is not None
        card.segment(1, side, side)
    gc.collect()
    assert first() is None


def test_large_images_are_run_in_the_models_own_session() -> None:
    card = Card()
    assert card.segment(1, 1024, ORDINARY_PIXELS // 1024 + 1) == 0
    assert card.segment(1, 1024, ORDINARY_PIXELS // 1024) == 1


def test_where_no_more_sessions_open_new_shapes_are_run_in_the_models_own_for_a_while_and_others_keep_theirs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card()
    card.segment(1, 32, 32)
    card.opens = False
    assert card.segment(1, 16, 16) == 0
    assert "no session for 1 images of 16x16, nor for other new shapes for 60 s: full" in caplog.text
    card.opens = True
    assert [card.segment(1, side, side) for side in (16, 48, 32)] == [0, 0, 1]
    assert not card.has_room((1, 48, 48))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + PAUSE_S + 1)
    assert card.has_room((1, 48, 48))
    assert [card.segment(1, side, side) for side in (48, 32)] == [2, 1]


def test_a_session_that_finds_too_little_memory_is_let_go_of_before_the_models_own_runs_the_images() -> None:
    card = Card()
    card.segment(1, 32, 32)
    card.room = 0
    assert card.segment(1, 64, 64) == 0
    assert card.open_at_the_last_run == 2  # the first, and the one that was there
    card.room = 1 << 40
    assert card.segment(1, 48, 48) == 0  # for a while
    assert card.segment(1, 32, 32) == 1


def test_when_memory_is_to_be_given_back_all_sessions_but_the_first_are_let_go_of() -> None:
    card = Card()
    card.segment(1, 32, 32)
    assert card.segment(1, 16, 16, release_memory=True) == 0
    assert card.sessions[0].ran == [((1, 16, 16), True)]
    assert card.segment(1, 32, 32) == 2


@given(st.lists(st.tuples(st.sampled_from((1, 4)), st.integers(1, 5), st.integers(1, 5)), max_size=30))
def test_whatever_comes_no_more_sessions_are_held_than_there_is_room_for(shapes: list[Shape]) -> None:
    card = Card()
    held: list[Shape] = []
    for value, (size, height, width) in enumerate(shapes):
        shape = size, 16 * height, 16 * width
        opened = len(card.sessions)
        card.segment(*shape, value=value)
        assert (len(card.sessions) > opened) == (shape not in held)
        held = [*(one for one in held if one != shape), shape][-3:]


def loaded(folder: Path) -> Model:
    return Repository(folder, "cpu").variant("colors").model()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ort.InferenceSession]:
    """All sessions that are opened."""
    sessions: list[ort.InferenceSession] = []
    original = ort.InferenceSession.__init__

    def noting(self: ort.InferenceSession, *given: object, **named: object) -> None:
        sessions.append(self)
        original(self, *given, **named)

    monkeypatch.setattr(ort.InferenceSession, "__init__", noting)
    return sessions


@pytest.mark.usefixtures("says_cuda")
@pytest.mark.parametrize("limit", [None, 1 << 30])
def test_sessions_with_a_limit_of_their_own_are_not_multiplied(
    limit: int | None, opened: list[ort.InferenceSession], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_model(tmp_path)
    options = {CUDA: {"gpu_mem_limit": str(limit or (1 << 64) - 1)}}
    monkeypatch.setattr(ort.InferenceSession, "get_provider_options", lambda _: options)
    model = loaded(tmp_path)
    model.warm_up()
    assert (len(opened) == 1) == (limit is not None)


@pytest.mark.usefixtures("says_cuda")
def test_a_trial_image_takes_no_session_of_its_own(opened: list[ort.InferenceSession], tmp_path: Path) -> None:
    write_model(tmp_path)
    model = loaded(tmp_path)
    before = len(opened)
    model.run_smallest(Cancellation())
    assert len(opened) == before
    model.run(model.smallest_image, Cancellation())
    assert len(opened) == before + 1
