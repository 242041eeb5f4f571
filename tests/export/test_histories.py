"""Tests of the export of histories: the stage with a small network, then the service and the table of its bundle."""

import csv
import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from darkroom.bundle import classifier
from darkroom.bundle.histories import Recommender, answers
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import read_json, write_json, write_text
from darkroom.export import histories as exporting
from darkroom.export.config import ExportConfig
from darkroom.models import checkpoints
from darkroom.models.inference import predict
from darkroom.predict import batch
from darkroom.recommend import ranking
from darkroom.recommend.config import RankingConfig
from darkroom.recommend.histories import left_out
from stages import evaluate
from stages import export as stage
from tests import histories
from tests.serving import Api

RELAXED = {"max_accuracy_drop": 0.99, "min_agreement": 0.0}  # so that int8 is published


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A project with its bundle, evaluated by its own stage, and the logits of the network for the test split."""
    folder = tmp_path_factory.mktemp("histories")
    with chdir(folder):
        logits = prepare(folder)
        evaluate.main()
        stage.main()
    return folder, logits


@pytest.fixture
def exported(made: tuple[Path, np.ndarray]) -> Iterator[np.ndarray]:
    """The logits; the working directory is the project."""
    with chdir(made[0]):
        yield made[1]


def prepare(folder: Path, name: str = "sasrec", features: int = 0, seen_items: str = "leave_out") -> np.ndarray:
    """A project with a random network and what `evaluate` writes; returns its logits of the test split."""
    histories.make(folder, features=features)
    histories.train(name)
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["evaluate"]["seen_items"] = seen_items
    params["export"]["int8"] |= RELAXED
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    write_json("models/calibration.json", {"temperature": 0.5, "threshold": None})
    test = arrays.read_split("data/arrays", "test")
    network, _ = checkpoints.load("models/trained")
    logits = predict(network, test.inputs, (), ())
    found = ranking.rank(logits, np.array(test.labels), left_out("data/arrays", "test", seen_items))
    measured = {"hr_at_10": 0.5, "hr_at_10_low": 0.4, "hr_at_10_high": 0.6, "ndcg_at_10": 0.25, "mrr": 0.2}
    write_json("metrics/evaluate.json", {"accuracy": float(found.hits(1).mean()), "samples": len(test), **measured})
    write_text("metrics/evaluate/per_class.csv", "class\n")
    return logits


def read(variant: str = "fp32") -> Recommender:
    bundle = classifier.read("models/bundle", threads=1, variant=variant)
    classifier.check_golden(bundle, "models/bundle")
    return Recommender(bundle)


def require_the_logits(logits: np.ndarray) -> None:
    """The bundle must answer as the network."""
    recommender, test = read(), arrays.read_split("data/arrays", "test")
    temperature = np.float32(read_json("models/calibration.json")["temperature"])
    found, probabilities = answers(recommender.bundle.session, test.inputs)
    np.testing.assert_allclose(found, logits, atol=1e-5)
    np.testing.assert_allclose(probabilities, torch.from_numpy(logits / temperature).softmax(1), atol=1e-6)
    measured = read_json("metrics/export.json")
    assert measured["max_abs_difference"] < 1e-5 and measured["samples"] == len(test)


@pytest.mark.parametrize(("name", "seen_items"), [("sasrec", "keep"), ("gru4rec", "leave_out")])
def test_the_features_of_items_are_in_the_bundle(project: Path, name: str, seen_items: str):
    logits = prepare(project, name, 3, seen_items)
    stage.main()
    require_the_logits(logits)
    assert read().bundle.manifest.shape == (6, 10, 3)


def test_the_bundle_answers_as_the_network(exported: np.ndarray):
    require_the_logits(exported)
    assert read("int8").recommend([["film 1"]], 3)[0].items.shape == (3,)


def test_the_manifest_and_the_card_describe_the_recommender(exported: np.ndarray):
    manifest = json.loads(Path("models/bundle/manifest.json").read_text(encoding="utf-8"))
    assert manifest["kind"] == "history"
    assert manifest["temperature"] == read_json("models/calibration.json")["temperature"]
    assert not {"threshold", "conformal"} & set(manifest)
    assert manifest["events"] == {"user": "who", "item": None, "time": None, "rating": None, "min_rating": 3.0}
    assert set(manifest["reference"]) == {"samples", "length", "unknown", "popularity", "confidence"}
    card = Path("models/bundle/README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert [metric["type"] for metric in front["model-index"][0]["results"][0]["metrics"]] == ["hr_at_10", "ndcg_at_10"]
    shown = [f"{100 * manifest['metrics'][f'hr_at_10{bound}']:.2f}" for bound in ("", "_low", "_high")]
    assert "{} % ({} to {})".format(*shown) in card and "items.csv" in card


def test_the_service_and_the_table_recommend_what_the_network_ranks_first(exported: np.ndarray):
    manifest, test = arrays.read_manifest("data/arrays"), arrays.read_split("data/arrays", "test")
    found: dict[str, list[str]] = {}
    for user, item, _ in histories.events():
        found.setdefault(user, []).append(item)
    given = [(user, item, place) for user, items in found.items() for place, item in enumerate(items[:-1])]
    lines = [f"{user},{item},{time}" for user, item, time in reversed(given)]  # the order is that of the times
    write_text("events.csv", "\n".join(["userId,movieId,timestamp", *lines, "new,unheard,5"]) + "\n")
    with pytest.raises(SystemExit) as ended:
        batch.main(["events.csv", "--count", "2", "--output", "found.csv", "--threads", "1"])
    assert not ended.value.code
    with open("found.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))

    api = Api(Path("models/bundle"), write=lambda folder: None)
    for id, logits in zip(test.ids.tolist(), exported, strict=True):
        user = id.removeprefix("user ").removesuffix("/test")
        seen = [manifest.classes.index(item) for item in found[user][:-1]]
        unseen = np.setdiff1d(np.arange(len(logits)), seen)
        best = [manifest.classes[index] for index in unseen[np.argsort(-logits[unseen], kind="stable")][:2]]
        rows = [one for one in table if one["user"] == user]
        assert [(one["rank"], one["item"], one["based_on"]) for one in rows] == [
            (str(rank), item, "history") for rank, item in enumerate(best, 1)
        ]
        answer = api("POST", "/v1/recommend", json={"history": found[user][:-1], "count": 2}).json()
        assert [one["id"] for one in answer["items"]] == best
        assert [f"{one['probability']:.6g}" for one in answer["items"]] == [one["probability"] for one in rows]
    assert [one["based_on"] for one in table if one["user"] == "new"] == ["popularity"] * 2
    assert {one["title"] for one in table} <= {f"Title of {item}" for item in manifest.classes}
    assert api("POST", "/v1/explain", json={"history": ["film 1", "film 2"]}).status_code == 200
    api.service.close()


def test_another_accuracy_than_that_of_evaluate_is_refused(project: Path):
    prepare(project)
    write_json("metrics/evaluate.json", read_json("metrics/evaluate.json") | {"accuracy": 0.987})
    with pytest.raises(DarkroomError, match=r"metrics/evaluate\.json"):
        stage.main()
    assert not Path("models/bundle").exists()


@pytest.mark.parametrize("length", [2, 3])
def test_short_histories_are_compared_in_blocks(project: Path, length: int, monkeypatch: pytest.MonkeyPatch):
    logits = prepare(project)
    histories.write("data/arrays", length=length)
    histories.train()
    trained, settings = checkpoints.open_trained(), yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    monkeypatch.setattr(ranking, "VALUES", 5 * 9)
    monkeypatch.setattr(exporting, "_COMPARED", 2 * 9)
    seen = RankingConfig(seen_items="keep")
    exported = exporting.Histories(
        trained, {"temperature": 1.0}, seen, ExportConfig.model_validate(settings["export"]), 0
    )
    counts = []

    def expected(inputs: np.ndarray) -> np.ndarray:
        counts.append(len(inputs))
        return predict(trained.network, inputs, (), ())

    labels, found = exported.require_parity(expected, 1e-4)
    assert counts == [5, 5, 2] and found["samples"] == len(labels) == len(logits)
    assert found["max_abs_difference"] < 1e-5
    assert exported.classify_int8(labels, None)[1].shape == (12,)
