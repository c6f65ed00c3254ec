"""BentoML (Apache-2.0) on the same file, with its defaults, tuned, or with less to do.

bentoml serve tests.benchmarks.competitors.bentoml_app:Default (or :Tuned, or :MaskAlone)
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from tests.benchmarks.load import BarePipeline, WholePipeline


@bentoml.service(traffic={"timeout": 120})
class Default:
    """Image in, mask out."""

    def __init__(self) -> None:
        self.pipeline: Callable[[bytes], bytes] = WholePipeline()

    @bentoml.api  # type: ignore[untyped-decorator]  # not installed where types are checked
    def segment(self, file: Path) -> Annotated[bytes, ContentType("image/png")]:
        return self.pipeline(file.read_bytes())


tuned = partial(
    bentoml.service, workers=1, threads=1, traffic={"timeout": 120, "max_concurrency": 64}, metrics={"enabled": False}
)


@tuned()
class Tuned(Default.inner):  # type: ignore[name-defined, misc]
    """One worker with one thread for the one core, without its metrics."""


@tuned()
class MaskAlone(Default.inner):  # type: ignore[name-defined, misc]
    """Tuned, with neither areas nor confidence."""

    def __init__(self) -> None:
        self.pipeline = BarePipeline(threads=1)
