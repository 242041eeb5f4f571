import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from darkroom.bundle import drift
from darkroom.bundle.drift import Watch, brightness, reference, require_reference
from darkroom.bundle.stability import ALARM, binned, min_samples, p_value
from darkroom.core.randomness import numpy_generator
from tests.serving import Api

ALERTS = Path(__file__).parents[2] / "deploy" / "alerts.yaml"


def images(values: list[int] | np.ndarray) -> np.ndarray:
    """One image (2, 3, 1) of one grey level for each of the values."""
    return np.repeat(np.asarray(values, np.uint8), 6).reshape(-1, 2, 3, 1)


def confident(confidence: list[float] | np.ndarray, predicted: list[int] | int = 0, classes: int = 2) -> np.ndarray:
    """Probabilities (N, classes) float32 with these maxima; the other classes get the rest in equal parts."""
    confidence = np.asarray(confidence, np.float32)
    probabilities = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, 1)
    probabilities[np.arange(len(confidence)), predicted] = confidence
    return probabilities


def test_brightness_is_the_mean_of_an_image():
    image = np.array([[[[0, 30, 60]], [[90, 255, 255]]]], np.uint8)
    assert brightness(np.concatenate([image, 0 * image])).tolist() == [115, 0]


def test_bins_hold_a_tenth_each():
    found = reference(
        images(np.arange(1000) % 250), confident(np.linspace(0.5, 1, 1000), np.arange(1000) % 4 // 3, classes=2)
    )
    assert found["samples"] == 1000
    assert found["brightness"]["fractions"] == [0.1] * 10 and len(found["brightness"]["edges"]) == 9
    assert found["confidence"]["fractions"] == pytest.approx([0.1] * 10, abs=2e-3)  # some are equal to four digits
    assert found["class"] == {"edges": [1], "fractions": [0.75, 0.25]}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("values", [[7] * 800, [0] * 400 + [200] * 400])
def test_a_value_that_fills_several_bins_gets_its_own(values: list[int]):
    found = reference(images(values), confident(np.full(800, 0.9)))
    assert {fraction for fraction in found["brightness"]["fractions"] if fraction} == {1 / len(set(values))}
    watch = Watch(found)
    watch.see(np.array([8.0] * 400 + [7.0] * 1600), confident(np.full(2000, 0.9)))  # a new grey level
    assert watch.report().indices["brightness"] > ALARM and watch.report().indices["confidence"] == 0


def test_a_value_between_others_that_fills_several_bins_gets_its_own():
    values = np.array([*np.arange(100), *[100] * 800, *np.arange(101, 201)])
    found = reference(images(values), confident(np.full(1000, 0.9)))["brightness"]
    assert {100, np.nextafter(100, 101)} < set(found["edges"])
    assert [fraction for fraction in found["fractions"] if fraction] == [0.1, 0.8, 0.1]


@given(st.integers(1, 500), st.integers(1, 200), st.integers(0, 2**32))
def test_any_reference_is_valid(count: int, classes: int, seed: int):
    random = np.random.default_rng(seed)
    made = reference(
        images(random.integers(0, 256, count)), random.dirichlet(np.ones(classes), count).astype(np.float32)
    )
    require_reference(json.loads(json.dumps(made)), classes)
    with pytest.raises(ValueError, match="reference"):
        require_reference(made, classes + 1)


@pytest.mark.parametrize(
    "other",
    [
        {"edges": [1, 2]},
        {"edges": [2, 1], "fractions": [0.5, 0.25, 0.25]},
        {"edges": [1, 1], "fractions": [0.5, 0.25, 0.25]},
        {"fractions": [1.5, -0.5]},
        {"fractions": [0.5, 0.25]},
        {"fractions": [0, 0]},
    ],
)
def test_invalid_bins_are_rejected(other: dict[str, list[float]]):
    made = reference(images([1, 2]), confident([0.9, 0.8]))
    with pytest.raises(ValueError, match="reference"):
        require_reference(made | {"brightness": {"edges": [1], "fractions": [0.5, 0.5]} | other}, 2)
    with pytest.raises(ValueError, match="reference"):
        require_reference(made | {"samples": 0}, 2)


@pytest.mark.parametrize("edges", [[], [0], [2], [1, 2]])
def test_invalid_classes_are_rejected(edges: list[int]):
    made = reference(images([1, 2]), confident([0.9, 0.8]))
    with pytest.raises(ValueError, match="reference"):
        require_reference(made | {"class": {"edges": edges, "fractions": [0.5, 0.5]}}, 2)


def test_there_are_no_scores_until_the_window_is_large_enough():
    greys, confidence = np.arange(700) % 175, np.linspace(0.5, 1, 700)
    watch = Watch(reference(images(greys), confident(confidence)))
    counts = []
    for start in range(0, 700, 10):
        watch.see(greys[start : start + 10].astype(float), confident(confidence[start : start + 10]))
        counts.append(len(watch.report().indices))
    ready = [np.ceil(min_samples(bins) / 10) - 1 for bins in (2, 10)]  # the class has two bins
    assert counts == [0 if call < ready[0] else 1 if call < ready[1] else 3 for call in range(70)]
    assert watch.report().indices == pytest.approx({"brightness": 0, "confidence": 0, "class": 0}, abs=1e-12)


def test_a_reference_of_too_few_images_is_not_used():
    watch = Watch(reference(images(range(100)), confident(np.linspace(0.5, 1, 100))))
    watch.see(np.zeros(5000), confident(np.ones(5000)))
    assert watch.report().indices == {}


def test_a_change_shows_in_the_feature_that_changed():
    random = numpy_generator(0, "drift", "a change")
    values = [
        (random.integers(50, 150, 4000), random.uniform(0.4, 1, 4000), random.integers(0, 4, 4000)) for _ in range(2)
    ]
    known = reference(images(values[0][0]), confident(values[0][1], values[0][2], classes=4))

    def scores(greys: np.ndarray, confidence: np.ndarray, predicted: np.ndarray) -> list[str]:
        watch = Watch(known)
        watch.see(greys.astype(float), confident(confidence, predicted, classes=4))
        return [feature for feature, index in watch.report().indices.items() if index > ALARM]

    greys, confidence, predicted = values[1]
    assert scores(greys, confidence, predicted) == []
    assert scores(greys + 40, confidence, predicted) == ["brightness"]
    assert scores(greys, 0.4 + (confidence - 0.4) / 2, predicted) == ["confidence"]
    assert scores(greys, confidence, predicted // 2) == ["class"]


@given(st.lists(st.integers(0, 7), max_size=12), st.integers(0, 2**32))
def test_the_window_holds_the_latest_images_in_any_batches(sizes: list[int], seed: int):
    """The smallest window has 326 images; a size of 7 stands for more than it holds."""
    random = np.random.default_rng(seed)
    known = reference(
        images(random.integers(0, 256, 400)), confident(random.uniform(0.5, 1, 400), random.integers(0, 2, 400))
    )
    by_parts, at_once = Watch(known, 1), Watch(known, 1)
    greys, probabilities = np.empty(0), np.empty((0, 2), np.float32)
    for size in (400 if size == 7 else size for size in [*sizes, 7]):
        part = random.uniform(0, 255, size), confident(random.uniform(0.5, 1, size), random.integers(0, 2, size))
        by_parts.see(*part)
        greys, probabilities = np.concatenate([greys, part[0]]), np.concatenate([probabilities, part[1]])
    at_once.see(greys, probabilities)
    assert by_parts.report() == at_once.report() and set(at_once.report().indices) == set(drift.FEATURES)


def test_threads_lose_nothing():
    greys = np.arange(800.0) % 200
    watch = Watch(reference(images(greys), confident(np.full(800, 0.9))), window=4000)
    threads = [
        threading.Thread(target=lambda: [watch.see(greys[i : i + 1], confident([0.9])) for i in range(800)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.report().indices == pytest.approx({"brightness": 0, "confidence": 0, "class": 0}, abs=1e-12)
    assert watch._counts.sum() == 3 * 3200


def test_there_are_p_values_of_complete_windows_only():
    random = numpy_generator(0, "drift", "windows")
    watch = Watch(reference(images(random.integers(0, 250, 4000)), confident(random.uniform(0.5, 1, 4000))))
    found = []
    for shift in (0, 0, 12, 0):
        for _ in range(4):
            watch.see(random.integers(0, 250, 500) + shift, confident(random.uniform(0.5, 1, 500)))
            found.append(watch.report())
    assert [report.windows for report in found] == [0] * 3 + [1] * 4 + [2] * 4 + [3] * 4 + [4]
    assert all(report.p_values == {} for report in found[:3])
    assert all(found[first].p_values == found[first + 3].p_values for first in (3, 7, 11))
    assert [report.images for report in found] == [500, 1000, 1500, *[2000] * 13]
    # A shift by 12 grey levels is small, but not chance
    small, new = found[11].indices["brightness"], found[11].p_values["brightness"]
    assert 0.01 < small < 0.1 and new < 1e-4
    assert all(found[call].p_values["brightness"] > 0.05 for call in (3, 7, 15))


@given(st.lists(st.integers(1, 900), min_size=1, max_size=6))
def test_p_values_do_not_depend_on_the_batches(sizes: list[int]):
    random = np.random.default_rng(0)
    known = reference(images(random.integers(0, 256, 400)), confident(random.uniform(0.5, 1, 400)))
    greys, probabilities = random.uniform(0, 200, sum(sizes)), confident(random.uniform(0.5, 1, sum(sizes)))
    by_parts, at_once = Watch(known, 1), Watch(known, 1)
    at_once.see(greys, probabilities)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        by_parts.see(greys[start : start + size], probabilities[start : start + size])
    assert by_parts.report() == at_once.report()


def test_p_values_count_the_features_and_all_windows_so_far():
    values, certain = np.arange(800.0) % 200, confident(np.full(2000, 0.9))
    watch = Watch(reference(images(values), certain[:800]))
    darker = np.repeat([50.0, 150.0], [1120, 880])
    greys = reference(images(values), certain[:800])["brightness"]
    expected = p_value(np.multiply(greys["fractions"], 800), binned(np.array(greys["edges"]), darker))
    for number in (1, 2, 3):
        watch.see(darker, certain)
        tests = 3 * number * (number + 1)
        assert watch.report().p_values == pytest.approx(
            {"brightness": min(1, tests * expected), "confidence": 1, "class": 1}
        )


def test_repeated_looks_raise_no_false_alarm():
    """40 services without a change, 25 windows each: about 5 % or fewer ever see a p-value below 0.05."""
    random = numpy_generator(0, "drift", "looks")
    alarms = 0
    for _ in range(40):
        known = reference(images(random.integers(0, 256, 800)), confident(random.uniform(0.5, 1, 800)))
        watch, lowest = Watch(known, 800), 1.0
        for _ in range(25):
            watch.see(random.integers(0, 256, 800).astype(float), confident(random.uniform(0.5, 1, 800)))
            lowest = min(lowest, *watch.report().p_values.values())
        alarms += lowest < 0.05
    assert alarms <= 3


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_each_alert_has_a_summary_and_a_description():
    assert len({rule["alert"] for rule in rules()}) == len(rules())
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"]) and rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"} and all(rule["annotations"].values())
        assert all(rule["expr"].count(pair[0]) == rule["expr"].count(pair[1]) for pair in ("()", "{}", "[]"))


def test_alerts_use_metrics_and_routes_of_the_service(tmp_path: Path):
    api = Api(tmp_path / "bundle")
    api("GET", "/health/live")
    telemetry, paths = api.service.telemetry, api("GET", "/openapi.json").json()["paths"]
    found = dict.fromkeys(drift.FEATURES, 0.3)
    report = drift.Report(2000, 2000, 1, found, found)
    families = list(text_string_to_metric_families(telemetry.text(report).decode()))
    api.service.close()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    names = {family.name + suffix for family in families for suffix in ("", *suffixes[family.type])}
    assert set(re.findall(r"darkroom_\w+", ALERTS.read_text())) <= names
    labels = {sample.name: set(sample.labels) for family in families for sample in family.samples}
    for name, selector in re.findall(r"(darkroom_\w+){(.*?)}", ALERTS.read_text()):
        assert set(re.findall(r"(\w+)[!=]", selector)) <= labels[name]
    for routes in re.findall(r'route=~"(.*?)"', ALERTS.read_text()):
        assert [path for path in paths if re.fullmatch(routes, path)] and re.fullmatch(routes, "/v1/recommend")
    assert labels["darkroom_drift"] == labels["darkroom_drift_p_value"] == {"feature"}


def test_columns_of_a_table_are_features_and_missing_values_have_a_bin_of_their_own():
    random = np.random.default_rng(0)
    probabilities = np.full((2000, 2), 0.5)
    measured = np.stack([random.normal(size=2000), random.normal(size=2000)], 1)
    measured[:200, 1] = -np.inf
    names = ["column.a", "column.b", "confidence", "class"]
    reference = drift.reference_by(names, measured, probabilities)
    drift.require_reference(reference, 2, "table")
    assert list(drift.features(reference)) == names and reference["column.b"]["fractions"][0] == 0.1
    watch = drift.Watch(reference)
    watch.see(measured, probabilities)
    assert max(watch.report().indices.values()) < 0.01
    changed = measured.copy()
    changed[:, 0] += 1
    watch.see(changed, probabilities)
    found = watch.report().indices
    assert found["column.a"] > 0.2 > 0.01 > found["column.b"]


def test_a_reference_of_a_table_needs_confidence_and_class():
    reference = drift.reference_by(["column.a", "confidence", "class"], np.zeros((10, 1)), np.full((10, 2), 0.5))
    del reference["class"]
    with pytest.raises(ValueError, match="reference"):
        drift.require_reference(reference, 2, "table")


def test_a_column_that_is_always_missing_is_compared():
    names = ["column.a", "confidence", "class"]
    reference = drift.reference_by(names, np.full((10, 1), -np.inf), np.full((10, 2), 0.5))
    drift.require_reference(reference, 2, "table")
    assert reference["column.a"]["fractions"] == [1.0, 0.0]
