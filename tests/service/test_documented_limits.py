"""The numbers in the documents are those in the code."""

import pytest

from service import app, server
from service.http import connections, unsent, uploads
from service.imaging import decode, scans
from service.inference.files import foreign, model_file
from service.inference.models import model, preference, trial, variant
from service.inference.scheduling import engine, periodic, watchdog, workers
from service.inference.sessions import per_shape, runner
from service.inference.tiling import parts
from service.settings import Settings
from tests.service_process import ROOT

SETTINGS = Settings.model_construct()  # the defaults, whatever the environment says
ENDS_WITHIN_S = 2 * periodic.STOP_S + workers.CLOSE_S  # two periodic threads are stopped, then the workers


def count(number: int) -> str:
    """A small number as the documents write it."""
    return {2: "two", 3: "three", 10: "ten"}.get(number, str(number))


def minutes(seconds: float) -> str:
    """A time as the documents write it where it need not be exact."""
    return {30.0: "half a minute", 60.0: "a minute"}.get(seconds, f"{seconds:g} s")


def megapixels_untiled(classes: int) -> str:
    """The largest image of a model that is not tiled, roughly."""
    bytes_per_pixel = model_file.UNKNOWN_BYTES_PER_PIXEL + model_file.SCORE_COPIES * 4 * classes
    return f"{model_file.WHOLE_BYTES / bytes_per_pixel / 1e6:.0f}"


STATED = {
    "docs/serving.md": [
        f"at least {preference.MIN_SPEEDUP:g} times as fast as fp32",
        f"cut into up to {count(parts.MAX_CUTS + 1)} parts",
        f"only one row of tiles is kept: at most {parts.SCORES_BYTES >> 20} MB",
        f"images of up to about {megapixels_untiled(0)} megapixels",
        f"more than {engine.MAX_DEADLINE_SHARE:.0%} of its deadline".replace("%", " %"),
        f"at most {app.HELD_IMAGES} x `SEGMENT_MAX_PIXELS`",
        f"at most {uploads.UPLOADS} x `SEGMENT_MAX_UPLOAD_BYTES`",
        f"more than {scans.MAX_SCANS} scans (fewer above 16 megapixels, but never fewer than {scans.MIN_SCANS})",
        f"beyond {decode.MAX_TEXT >> 20} million characters in all",
        f"at most {count(per_shape.MAX_SESSIONS)} such sessions",
        f"no new one is opened for {minutes(per_shape.PAUSE_S)}.",
        f"Images above {'one megapixel' if runner.ORDINARY_PIXELS == 1 << 20 else runner.ORDINARY_PIXELS} share one session",
        f"| {connections.HEAD_S:g} s until it has come | 408 |",
        f"| {connections.HEAD_BYTES >> 10} KB | 431 |",
        f"| {uploads.PAUSE_S:g} s without a byte; {uploads.SLOWEST_BYTES_PER_S >> 10} KB/s, averaged",
        f"averaged over every {uploads.RATE_CHECK_S:g} s | 408 |",
        f"{uploads.SLOWEST_BYTES_PER_S >> 10} KB/s, read by the client, averaged over every {unsent.WRITE_CHECK_S:g} s",
        f"| {server.IDLE_S} s without a request |",
        f"| {connections.MAX_CONNECTIONS:,}; fewer if",
        f"may open fewer than {2 * connections.MAX_CONNECTIONS + connections.OTHER_FILES:,} files",
        f"| {connections.MAX_UNSENT_BYTES >> 20} MB in all |",
        f"| {connections.MAX_PIPELINED_REQUESTS} | the connection is closed after them |",
        f"unfinished after {server.GIVE_UP_S:g} s are answered 503, and all connections are closed after {server.DRAIN_S} s",
        f"The process then ends within {ENDS_WITHIN_S:g} s.",
        f"After {count(variant.FAILED_RUNS)} such failures in a row",
        f"nothing has succeeded for {minutes(watchdog.QUIET_S)}",
        f"When {count(watchdog.FAILED_TRIALS)} such trials in a row fail",
        f"not ended {minutes(watchdog.HUNG_S)} after its deadline",
        f"`SEGMENT_RELOAD_S` seconds (default {SETTINGS.reload_s:g})",
        f"answered a test image within {model.TRIAL_S:g} s",
        f"a process of its own, for at most {2 * model.TRIAL_S:g} s",
        f"the trial is repeated after {minutes(trial.PAUSE_S)}",
        f"with `pad_value` ({foreign.ForeignCard.model_fields['pad_value'].default})",
        f"up to about {megapixels_untiled(0)} megapixels, or {megapixels_untiled(21)} with 21 scores for each pixel",
    ],
    "docker-compose.yml": [
        f"room for {count(app.HELD_IMAGES)} of the largest accepted images at once",
        f"/tmp:size={uploads.UPLOADS * SETTINGS.max_upload_bytes >> 20}m",
        f"{uploads.UPLOADS} times SEGMENT_MAX_UPLOAD_BYTES",
        f"accepted requests have {server.GIVE_UP_S:g} s, then get 503; connections close after {server.DRAIN_S} s",
        f"all ends within {server.DRAIN_S + ENDS_WITHIN_S:g} s",
    ],
}


@pytest.mark.parametrize(("document", "words"), [(document, words) for document in STATED for words in STATED[document]])
def test_what_a_document_says_of_a_limit_is_what_the_code_has(document: str, words: str) -> None:
    assert words in " ".join((ROOT / document).read_text().split())
