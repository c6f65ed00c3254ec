"""Counters for Prometheus. Each application has its own: two applications in one process do not share them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.inference.models.repository import Repository
from service.inference.scheduling.engine import Engine
from service.results.renderings import Outcome


class Counters:
    """The metrics of one application."""

    def __init__(self, engine: Engine, repository: Repository) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("segment_http_requests_total", "Answers", ["route", "status"], registry=self.registry)
        self.latency = Histogram("segment_http_request_seconds", "Request to answer", ["route"], registry=self.registry)
        self.connections_refused = Counter(  # labelled with the status, or with why the connection was cut off
            "segment_connections_refused_total", "Connections refused or cut off", ["reason"], registry=self.registry
        )
        self.steps = Histogram(
            "segment_step_seconds", "Steps of a segmentation", ["step", "model", "device"], registry=self.registry
        )
        models = Gauge("segment_models", "Models that are served", registry=self.registry)
        models.set_function(lambda: len(repository.models))
        broken = Gauge("segment_broken_models", "Model files that are not served: GET /models says why", registry=self.registry)
        broken.set_function(lambda: len(repository.broken))
        self.runs = Counter("segment_runs_total", "Segmentations by how they were run", ["schedule"], registry=self.registry)
        queued = Gauge("segment_admitted_megapixels", "Working size of accepted requests", registry=self.registry)
        queued.set_function(lambda: engine.admitted_megapixels)

    def observe(self, outcome: Outcome) -> None:
        """Count one segmentation by its schedule, and record the time of each step."""
        self.runs.labels(outcome.schedule).inc()
        steps = {"decode": outcome.decode_ms, "queue": outcome.queue_ms, "infer": outcome.infer_ms}
        for step, milliseconds in steps.items():
            self.steps.labels(step, outcome.model.name, outcome.model.device).observe(milliseconds / 1000)
