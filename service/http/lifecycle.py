"""What the server tells the application, and its connections count for it, beside the requests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from fastapi import FastAPI
from prometheus_client import Counter


@dataclass(frozen=True)
class Lifecycle:
    """The handles of one application for the server that runs it; the application keeps them as `state.lifecycle`."""

    give_up: Callable[[], None]  # called when shutdown has waited long enough: what is unanswered gets 503
    close: Callable[[], bool]  # gives up, stops the workers and returns whether they have ended; may be called again
    connections_refused: Counter  # labelled as in `service.http.counters`
    draining: Event = field(default_factory=Event)  # set when shutdown begins

    @classmethod
    def of(cls, app: object) -> "Lifecycle":
        """That of an application made by `create_app`."""
        assert isinstance(app, FastAPI)
        lifecycle = app.state.lifecycle
        assert isinstance(lifecycle, cls)
        return lifecycle
