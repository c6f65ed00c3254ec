"""A loaded model: its card, and the sessions that run it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.contract import ModelCard
from service.geometry import padded
from service.inference.files.interface import Interface
from service.inference.files.model_file import InvalidModel, ModelFile
from service.inference.scores import Schedule, Scores
from service.inference.sessions.batching import SIZES, Batches, largest_batch
from service.inference.sessions.cancellation import Cancellation, Cancelled
from service.inference.sessions.device import (
    DeviceUnavailable,
    OpenSession,
    ReportedDevice,
    has_memory_limit,
    require_same_device,
)
from service.inference.sessions.errors import OutOfDeviceMemory, RunFailed, first_line
from service.inference.sessions.per_shape import PerShapeRunner
from service.inference.sessions.runner import Runner
from service.inference.tiling.plan import Tiling
from service.inference.tiling.tiles import Box
from service.process import usable_cpus

log = logging.getLogger(__name__)

RATIOS = (4 / 3, 1)  # aspect ratios that CUDA is prepared for, in both orientations; others are slow at their first run
TRIAL_SIDE = 1024  # longest side of a test image, in pixels
TRIAL_S = 60.0  # most seconds for a test run


class Runners:
    """A model's session on all cores, and its session on a single core, for runs beside other work."""

    def __init__(self, on_all_cores: Runner | PerShapeRunner, open_on_one_core: Callable[[], Runner]) -> None:
        """The one-core session is opened when first needed. On a GPU, or with a single core, `on_all_cores` takes its place."""
        self.on_all_cores, self._open = on_all_cores, open_on_one_core
        self._lock = threading.Lock()
        is_only = on_all_cores.device == "cuda" or usable_cpus() == 1
        self._on_one_core = on_all_cores if is_only else None

    def get(self, all_cores: bool) -> Runner | PerShapeRunner:
        """The session on all cores, or else on one core. Raises OutOfDeviceMemory if the one-core session cannot be opened."""
        if all_cores:
            return self.on_all_cores
        with self._lock:
            if self._on_one_core is None:
                self._on_one_core = self._open()
            return self._on_one_core


@dataclass(frozen=True)
class Model:
    """A loaded model, safe to run from several threads at once."""

    card: ModelCard
    runners: Runners
    interface: Interface
    tiling: Tiling
    batches: Batches | None  # on a GPU without a memory limit, if the graph's batch size is free

    @classmethod
    def load(cls, file: ModelFile, content: bytes, open_session: OpenSession, cancellation: Cancellation) -> "Model":
        """Open and try out a model file; `content` is its bytes.

        Raises Cancelled if `cancellation` is cancelled before the model has run a test image, InvalidModel if the model cannot
        be run, or if the scores of a test image are not as its card says, OutOfDeviceMemory, and DeviceUnavailable as
        `create_session` does.
        """
        open_session = partial(open_session, precision=file.card.precision)
        try:
            session = open_session(content)
        except (DeviceUnavailable, OutOfDeviceMemory):
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise InvalidModel(f"it cannot be run: {first_line(error)}") from error
        first = Runner(session, file.interface, file.card)
        tiling = Tiling(content, file.card, open_session, first.device)

        def open_another() -> Runner:  # on one core, or on the GPU
            try:
                runner = Runner(open_session(content, threads=1), file.interface, file.card)
            except Exception as error:  # the file is known to run, so memory is short
                raise OutOfDeviceMemory(first_line(error)) from error
            require_same_device(runner.device, first.device)
            return runner

        runner: Runner | PerShapeRunner = first
        batches = None
        if first.device == "cuda" and not has_memory_limit(session):  # the limit is per session: more would exceed it
            runner = PerShapeRunner(first, open_another, len(content))
            if not isinstance(session.get_inputs()[0].shape[0], int):
                batches = Batches(runner, lambda: tiling.bytes_per_pixel)
        model = cls(file.card, Runners(runner, open_another), file.interface, tiling, batches)
        model._try_out(first, cancellation)
        return model

    @property
    def device(self) -> ReportedDevice:
        """The device that the model runs on, as reported by its session."""
        return self.runners.on_all_cores.device

    def scores(
        self, image: Image.Image, cancellation: Cancellation, *, all_cores: bool = True, small_tiles: bool = False
    ) -> Scores:
        """The scores of an RGB image at its working size: in one run, or in tiles if one run would take too much memory.

        `all_cores`: False: on one core, for runs beside much other work. tests/benchmarks/bench_scheduling.py shows why.
        `small_tiles`: always in tiles, and in small ones; has no effect if the model has no halo.
        The size must be one that `ModelFile.takes`. Raises as `run` does; with tiles, also later, as the scores are computed.
        """
        card = self.card
        width, height = self.interface.padded_size(*image.size, card.stride)
        if card.halo is None or (not small_tiles and self.tiling.runs_whole(width, height)):
            pixels = padded(image, (width, height), card.pad_value)
            scores, schedule = self.run(pixels, cancellation, all_cores)
            return Scores([scores], scores.shape[1], card.output_stride, schedule)

        def crop(box: Box) -> NDArray[np.uint8]:
            left, top, right, bottom = box
            part = image.crop((left, top, min(right, image.width), min(bottom, image.height)))
            return padded(part, (right - left, bottom - top), card.pad_value)

        return self.tiling.network(width, height, small_tiles).scores(crop, width, height, cancellation)

    def run(
        self, image: NDArray[np.uint8], cancellation: Cancellation, all_cores: bool = True
    ) -> tuple[NDArray[np.float32], Schedule]:
        """(1, H, W, 3) uint8, H and W multiples of the stride -> (C, H / output_stride, W / output_stride) float32.

        Raises as `Cancellation.run_options` does, and OutOfDeviceMemory if the one-core session cannot be opened.
        """
        schedule: Schedule
        if self.batches is not None:
            scores, images = self.batches.run(image, cancellation)
            schedule = "batched" if images > 1 else "on_gpu"
        else:
            scores = self.runners.get(all_cores)([image], cancellation)
            schedule = "on_gpu" if self.device == "cuda" else "all_cores" if all_cores else "one_core"
        return scores[0], schedule

    @property
    def smallest_image(self) -> NDArray[np.uint8]:
        """The smallest image that the model can run, (1, H, W, 3) uint8, all `pad_value`."""
        width, height = self.interface.padded_size(1, 1, self.card.stride)
        return np.full((1, height, width, 3), self.card.pad_value, np.uint8)

    def run_smallest(self, cancellation: Cancellation) -> None:
        """Run the smallest image in the first session: its shape is not worth a session of its own. Raises as `run` does."""
        runner = self.runners.on_all_cores
        first = runner.first if isinstance(runner, PerShapeRunner) else runner
        first([self.smallest_image], cancellation)

    def give_back(self) -> None:
        """Close the sessions for tiles and for shapes; shrink the first session's arena to what the smallest image needs.

        Raises as `run` does.
        """
        self.tiling.give_back()
        self.runners.on_all_cores([self.smallest_image], Cancellation(), release_memory=True)

    def warm_up(self) -> None:
        """Prepare CUDA for the padded shapes that most images have at the model's resolution, in batches of each size.

        Raises InvalidModel if a shape does not run, and OutOfDeviceMemory if a single image does not fit.
        """
        runner, long_side = self.runners.on_all_cores, self.card.long_side
        if not isinstance(runner, PerShapeRunner) or long_side is None:
            return
        landscape = [(long_side, round(long_side / ratio)) for ratio in RATIOS]
        sizes = landscape + [(height, width) for width, height in landscape]
        shapes = dict.fromkeys(self.interface.padded_size(*size, self.card.stride) for size in sizes)  # each shape once
        for number in SIZES if self.batches else SIZES[:1]:
            for width, height in shapes:
                fits = number <= largest_batch(self.tiling.bytes_per_pixel * height * width)
                if not fits or not runner.has_room((number, height, width)):
                    continue
                try:
                    cancellation = Cancellation()
                    with _time_limit(cancellation):
                        runner([np.zeros((1, height, width, 3), np.uint8)], cancellation, number)
                except OutOfDeviceMemory:  # `Batches` runs images one by one if they do not fit together
                    if number == 1:
                        raise
                except RunFailed as error:
                    raise InvalidModel(f"{number} images of {width}x{height} do not run: {error}") from error

    def _try_out(self, runner: Runner, cancellation: Cancellation) -> None:
        """Run a strip and a square as test images, so that the session allocates the memory it needs. Raises as `load` does."""
        side, stride = min(self.card.long_side or 1, TRIAL_SIDE), self.card.stride
        width, height = self.interface.padded_size(side, side, stride)
        sizes = [(width, height)] if self.interface.fixed_size else [(width + stride, stride), (width, height)]
        with _time_limit(cancellation):
            for width, height in sizes:
                try:
                    scores = runner([np.full((1, height, width, 3), self.card.pad_value, np.uint8)], cancellation)
                except (Cancelled, MemoryError):
                    raise
                except Exception as error:  # as in `load`
                    raise InvalidModel(f"a test image of {width}x{height} does not run: {first_line(error)}") from error
                if scores.dtype != np.float32:
                    raise InvalidModel(f"its scores are {scores.dtype}, and not float32")
                if not np.isfinite(scores).all():
                    raise InvalidModel("its scores of a test image are not finite")


@contextmanager
def _time_limit(cancellation: Cancellation) -> Iterator[None]:
    """Limits the time of a test run, since a graph may loop forever: cancels it after TRIAL_S.

    Raises InvalidModel then, and OutOfDeviceMemory if no thread can be started or numpy finds no memory.
    """
    end = time.monotonic() + TRIAL_S
    timer = threading.Timer(TRIAL_S, cancellation.cancel)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError as error:  # the process has reached its limit of threads
        raise OutOfDeviceMemory(str(error)) from error
    try:
        yield
    except Cancelled as error:
        if time.monotonic() < end:  # by others
            raise
        raise InvalidModel(f"a test image takes longer than {TRIAL_S:g} s") from error
    except MemoryError as error:
        raise OutOfDeviceMemory(first_line(error)) from error
    finally:
        timer.cancel()
