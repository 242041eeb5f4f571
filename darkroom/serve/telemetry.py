"""Prometheus metrics, served at /metrics. Each service has its own registry."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from darkroom.bundle import drift
from darkroom.bundle.classifier import Bundle
from darkroom.bundle.histories import Recommended
from darkroom.columns.schema import Remarks
from darkroom.serve.admission import Admission

__all__ = ["CONTENT_TYPE", "Telemetry"]

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Telemetry:
    """All metrics of a service. Thread-safe."""

    def __init__(self, admission: Admission, kind: str = "image"):
        """Count requests to a service of this kind of examples, which `admission` counts."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("darkroom_requests", "Requests answered.", ["route", "code"], registry=registry)
        self._seconds = Histogram(
            "darkroom_request_seconds",
            "Time from the header of a request to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._shed = Counter("darkroom_shed", "Requests refused because the service was full.", registry=registry)
        self._decode = Histogram(
            "darkroom_decode_seconds", "Time to decode one image file.", buckets=_SECONDS, registry=registry
        )
        self._inference = Histogram(
            "darkroom_inference_seconds", "Time of one model run.", buckets=_SECONDS, registry=registry
        )
        self._predictions = Counter("darkroom_predictions", "Images by predicted class.", ["label"], registry=registry)
        self._confidence = Histogram(
            "darkroom_confidence", "Largest probability per image.", buckets=_PROBABILITIES, registry=registry
        )
        self._abstentions = Counter(
            "darkroom_abstentions", "Predictions below the bundle's confidence threshold.", registry=registry
        )
        self._odd = Counter(
            "darkroom_odd_values",
            "Values of rows of a table that are missing, unknown categories, or outside of the range of the training "
            "rows, by column; and columns that the table does not have.",
            ["column", "problem"],
            registry=registry,
        )
        self._drift = Gauge(
            "darkroom_drift",
            "Population stability index of recent images against validation.",
            ["feature"],
            registry=registry,
        )
        self._drift_p_value = Gauge(
            "darkroom_drift_p_value",
            "P-value of the last complete window against validation, corrected for all features and windows.",
            ["feature"],
            registry=registry,
        )
        self._drift_images = Gauge(
            "darkroom_drift_images", "Recent images that darkroom_drift describes.", registry=registry
        )
        self._drift_windows = Gauge(
            "darkroom_drift_windows", "Complete windows of images that have been tested for drift.", registry=registry
        )
        if kind == "text":
            self._tokens = Counter("darkroom_tokens", "Tokens that the model read.", registry=registry)
            self._unknown = Counter(
                "darkroom_unknown_tokens", "Those of them that stand for something unknown.", registry=registry
            )
            self._cut = Counter("darkroom_texts_cut", "Texts that were longer than the model reads.", registry=registry)
        if kind == "history":
            self._histories = Counter(
                "darkroom_histories", "Histories by what the answer is based on.", ["based_on"], registry=registry
            )
            self._items = Counter(
                "darkroom_history_items", "Items of histories, known or unknown.", ["catalogue"], registry=registry
            )
            self._cut = Counter(
                "darkroom_histories_cut", "Histories that were longer than the model reads.", registry=registry
            )
        self._model = Gauge("darkroom_model_info", "The bundle in use.", ["version", "sha256"], registry=registry)
        self._running = Gauge("darkroom_images_running", "Images in progress in worker threads.", registry=registry)
        Gauge(
            "darkroom_images_in_flight", "Images in the service, waiting or in progress.", registry=registry
        ).set_function(lambda: admission.images)
        Gauge("darkroom_images_limit", "Maximum of darkroom_images_in_flight.", registry=registry).set(
            admission.max_images
        )

    def serving(self, bundle: Bundle) -> None:
        """Record the bundle that is in use from now on."""
        self._model.clear()
        self._model.labels(bundle.version, bundle.sha256).set(1)

    def ended(self, route: str, code: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, code).inc()
        self._seconds.labels(route).observe(seconds)
        if code == 429:
            self._shed.inc()

    @contextmanager
    def running(self, images: int) -> Iterator[None]:
        """Count `images` as in progress."""
        self._running.inc(images)
        try:
            yield
        finally:
            self._running.dec(images)

    def decoded(self, seconds: float) -> None:
        self._decode.observe(seconds)

    def inferred(self, seconds: float) -> None:
        self._inference.observe(seconds)

    def predicted(self, bundle: Bundle, probabilities: np.ndarray) -> None:
        """Count predictions by their probabilities (N, K)."""
        manifest = bundle.manifest
        for label, confidence in zip(probabilities.argmax(1).tolist(), probabilities.max(1).tolist(), strict=True):
            self._predictions.labels(manifest.classes[label]).inc()
            self._confidence.observe(confidence)
            if manifest.withholds(confidence):
                self._abstentions.inc()

    def tokenized(self, tokens: np.ndarray, unknown: np.ndarray, cut: np.ndarray) -> None:
        """Count the tokens and unknown tokens of texts, each (N,), and which of them were cut, (N,) bool."""
        self._tokens.inc(int(tokens.sum()))
        self._unknown.inc(int(unknown.sum()))
        self._cut.inc(int(cut.sum()))

    def recommended(self, found: Sequence[Recommended]) -> None:
        """Count recommendations. Items are not labels: they are too many."""
        for one in found:
            self._histories.labels("popularity" if one.popular else "history").inc()
            self._items.labels("known").inc(one.known)
            self._items.labels("unknown").inc(one.unknown)
            self._cut.inc(one.cut)
            self._confidence.observe(one.confidence)

    def odd(self, remarks: Remarks) -> None:
        """Count what is odd about a row of a table."""
        for problem in ("missing", "unknown", "outside"):
            for column in getattr(remarks, problem):
                self._odd.labels(column, problem).inc()
        self._odd.labels("", "ignored").inc(len(remarks.ignored))  # names of clients would be labels without end

    def text(self, report: drift.Report) -> bytes:
        """All metrics in Prometheus's text format, with what the drift watch reports."""
        for gauge, values in ((self._drift, report.indices), (self._drift_p_value, report.p_values)):
            gauge.clear()
            for feature, value in values.items():
                gauge.labels(feature).set(value)
        self._drift_images.set(report.images)
        self._drift_windows.set(report.windows)
        return generate_latest(self._registry)
