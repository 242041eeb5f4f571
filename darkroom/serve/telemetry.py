"""What Prometheus reads at /metrics. Each service has a registry of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from darkroom.bundle.classifier import Bundle
from darkroom.serve.admission import Admission

__all__ = ["CONTENT_TYPE", "Telemetry"]

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Telemetry:
    """All measurements of a service; may be used from several threads."""

    def __init__(self, admission: Admission):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("darkroom_requests", "Requests answered.", ["route", "code"], registry=registry)
        self._seconds = Histogram(
            "darkroom_request_seconds",
            "From a request's header to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._shed = Counter("darkroom_shed", "Requests refused because the service was full.", registry=registry)
        self._decode = Histogram(
            "darkroom_decode_seconds", "Decoding of a picture file.", buckets=_SECONDS, registry=registry
        )
        self._inference = Histogram(
            "darkroom_inference_seconds", "A run of the model.", buckets=_SECONDS, registry=registry
        )
        self._predictions = Counter(
            "darkroom_predictions", "Pictures by predicted class.", ["label"], registry=registry
        )
        self._confidence = Histogram(
            "darkroom_confidence", "Largest probability of a picture.", buckets=_SHARES, registry=registry
        )
        self._abstentions = Counter("darkroom_abstentions", "Answers below the bundle's threshold.", registry=registry)
        self._drift = Gauge(
            "darkroom_drift", "Population stability index against validation.", ["feature"], registry=registry
        )
        self._model = Gauge("darkroom_model_info", "The bundle in use.", ["version", "sha256"], registry=registry)
        self._running = Gauge(
            "darkroom_pictures_running", "Pictures that threads work on; the others in flight wait.", registry=registry
        )
        Gauge("darkroom_pictures_in_flight", "Pictures taken on and not yet answered.", registry=registry).set_function(
            lambda: admission.pictures
        )
        Gauge("darkroom_pictures_limit", "How many are taken on at most.", registry=registry).set(
            admission.max_pictures
        )

    def serving(self, bundle: Bundle) -> None:
        """Says which bundle is in use from now on."""
        self._model.clear()
        self._model.labels(bundle.version, bundle.sha256).set(1)

    def ended(self, route: str, code: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(route, code).inc()
        self._seconds.labels(route).observe(seconds)
        if code == 429:
            self._shed.inc()

    @contextmanager
    def running(self, pictures: int) -> Iterator[None]:
        """While a thread works on so many."""
        self._running.inc(pictures)
        try:
            yield
        finally:
            self._running.dec(pictures)

    def decoded(self, seconds: float) -> None:
        self._decode.observe(seconds)

    def inferred(self, seconds: float) -> None:
        self._inference.observe(seconds)

    def answered(self, bundle: Bundle, probabilities: np.ndarray) -> None:
        """Counts the answers (N, K) of a run."""
        manifest = bundle.manifest
        for label, confidence in zip(probabilities.argmax(1).tolist(), probabilities.max(1).tolist(), strict=True):
            self._predictions.labels(manifest.classes[label]).inc()
            self._confidence.observe(confidence)
            if manifest.withholds(confidence):
                self._abstentions.inc()

    def text(self, drift: Mapping[str, float]) -> bytes:
        """Everything, with the drift watch's scores by feature, in Prometheus's format."""
        self._drift.clear()
        for feature, score in drift.items():
            self._drift.labels(feature).set(score)
        return generate_latest(self._registry)
