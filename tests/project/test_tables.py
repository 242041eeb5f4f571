"""A table through all stages, then as a service and as a batch."""

import asyncio
import csv
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from ruamel.yaml import YAML

from darkroom.bundle import classifier, tables
from darkroom.bundle.tables import TableClassifier
from darkroom.core import arrays
from darkroom.core.errors import DarkroomError
from darkroom.core.outputs import read_json
from darkroom.models import hardware
from darkroom.predict import batch
from darkroom.reasons import shapley
from darkroom.serve import app, table_api
from darkroom.serve.access_log import AccessLog
from darkroom.serve.inference_protocol import JSON_LIMIT
from darkroom.serve.service import PARSE_INLINE, Service
from darkroom.serve.settings import Settings
from stages import evaluate, explain, export, pretrained, robustness, train
from stages import preprocess as preprocess_stage
from tests.tables import in_project

ROOT = Path(__file__).parents[2]
CHANGES = {
    "data": {"dataset": "toy"},
    "model": {"name": "mlp", "mlp": {"hidden_size": 16, "embed_dim": 4, "bins": 4, "dropout": 0.0}},
    "train": {"epochs": 6.0, "batch_size": 16, "lr": 0.02, "optimizer": "adamw", "label_smoothing": 0.0, "threads": 1},
    "evaluate": {"slices": ["job", "sex"], "target_accuracy": 0.6},
    "robustness": {"severities": [5]},
    "explain": {"faithfulness_samples": 8, "images_per_kind": 2},
    "export": {"int8": {"max_accuracy_drop": 0.9, "min_agreement": 0.0}},
}


def rows(n: int = 500) -> list[dict[str, str]]:
    """Clients, of whom the drivers with little income default; a fifth of the values are missing."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(n):
        row = {
            "income": f"{random.uniform(1000, 5000):.2f}",
            "job": str(random.choice(["clerk", "nurse", "driver"])),
            "since": f"20{random.integers(10, 24)}-0{random.integers(1, 9)}-11",
            "sex": str(random.choice(["f", "m"])),
        }
        risk = 0.1 + 0.6 * (row["job"] == "driver") * (float(row["income"]) < 3500)
        row["y"] = "yes" if random.random() < risk else "no"
        found.append(row | {name: "" for name in ("income", "job", "since") if random.random() < 0.1})
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project folder in which all stages have run; the working directory."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(hardware, "keep_freed_memory", lambda: None)
        write_params(folder)
        in_project(rows(), ignore=["sex"])
        for stage in (preprocess_stage, pretrained, train, evaluate, robustness, explain, export):
            stage.main()
        yield folder


def write_params(folder: Path) -> None:
    editor = YAML()
    document = editor.load((ROOT / "params.yaml").read_text(encoding="utf-8"))

    def update(own: dict, changes: dict) -> None:
        for key, value in changes.items():
            if isinstance(value, dict):
                update(own[key], value)
            else:
                own[key] = value

    update(document, CHANGES)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        editor.dump(document, file)


@pytest.fixture
def bundle(project: Path) -> TableClassifier:
    return TableClassifier(classifier.read("models/bundle", threads=1))


def table(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_risk_is_learned_and_measured(project: Path):
    found = read_json("metrics/evaluate.json")
    assert found["roc_auc"] > 0.7 and found["roc_auc_low"] < found["roc_auc"] < found["roc_auc_high"]
    assert found["cost"] < min(found["cost_refuse_none"], found["cost_refuse_all"])
    assert found["brier_score"] == pytest.approx(2 * found["brier"])
    assert read_json("models/calibration.json")["decision"]["positive"] == 1


def test_slices_may_be_columns_that_are_no_inputs(project: Path):
    columns = {row["column"] for row in table("metrics/evaluate/fairness.csv")}
    assert columns == {"job", "sex"} == {row["column"] for row in table("metrics/evaluate/slices.csv")}
    assert {"income", "job", "job (input)"} <= set(table("metrics/evaluate/mistakes.csv")[0])


def test_the_report_describes_the_columns(project: Path):
    kinds = {row["column"]: row["kind"] for row in table("metrics/data/columns.csv")}
    assert kinds == {"income": "number", "job": "category", "since": "date"}
    found = read_json("metrics/preprocess.json")
    assert found["missing_fraction"] == pytest.approx(0.1, abs=0.03) and found["categorical_columns"] == 1


def test_the_columns_that_matter_are_the_most_important(project: Path):
    importance = {row["column"]: float(row["loss_increase"]) for row in table("metrics/explain/importance.csv")}
    assert importance["since"] < min(importance["job"], importance["income"])
    assert (
        Path("metrics/explain/attributions.html").exists() and Path("metrics/explain/partial_dependence.png").exists()
    )


def test_the_bundle_takes_raw_columns(bundle: TableClassifier):
    described = bundle.bundle.session.get_inputs()
    assert [(one.name, one.type, one.shape[1]) for one in described] == [
        ("numbers", "tensor(float)", 2),
        ("categories", "tensor(string)", 1),
    ]
    classifier.check_golden(bundle.bundle, "models/bundle")
    row, _ = bundle.schema.row({"income": 2000, "job": "driver", "since": "2020-01-01"})
    feeds = {"numbers": np.array([[2000, 18262]], np.float32), "categories": np.array([["driver"]], dtype=object)}
    logits, probabilities = bundle.bundle.session.run(classifier.OUTPUTS, feeds)
    np.testing.assert_array_equal(bundle.predict(row[None])[0], logits)
    assert probabilities[0, 1] > 0.4


def test_unknown_categories_are_all_answered_alike(bundle: TableClassifier):
    answers = [
        bundle.bundle.session.run(
            ["logits"], {"numbers": np.zeros((1, 2), np.float32), "categories": np.array([[name]], dtype=object)}
        )[0]
        for name in ("pilot", "Driver", "\0")
    ]
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])


def test_numbers_outside_of_the_range_count_as_the_nearest_one(bundle: TableClassifier):
    low, high = bundle.schema.columns[0].low, bundle.schema.columns[0].high
    rows = np.array([[low, 2, 18000], [-1e9, 2, 18000], [high, 2, 18000], [1e9, 2, 18000]], np.float32)
    logits, _ = bundle.predict(rows)
    np.testing.assert_allclose(logits[0::2], logits[1::2], atol=1e-5)


def test_the_reasons_add_up_and_name_what_raises_the_risk(bundle: TableClassifier):
    row, _ = bundle.schema.row({"income": 1200, "job": "driver", "since": "2020-01-01"})
    reasons = bundle.reasons(row, 1, 10)
    assert {reason.column for reason in reasons[:2]} <= {"income", "job"} and reasons[0].contribution > 0

    def score(given: np.ndarray) -> np.ndarray:
        return shapley.log_odds(bundle.predict(given)[0] / bundle.bundle.manifest.temperature, 1)

    found, mean = shapley.contributions(score, row, bundle.typical)
    assert found.sum() + mean == pytest.approx(score(row[None])[0], abs=1e-4)


def test_typical_rows_are_no_training_rows(bundle: TableClassifier):
    train_rows = {
        tuple(row) for row in np.nan_to_num(arrays.read_split("data/arrays", "train").inputs, nan=-1).tolist()
    }
    own = [tuple(row) for row in np.nan_to_num(bundle.typical, nan=-1).tolist()]
    assert sum(row in train_rows for row in own) == 0


def test_a_bundle_with_other_columns_is_refused(project: Path, tmp_path: Path):
    shutil.copytree("models/bundle", tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    manifest["shape"] = [0, 0, 0]
    (tmp_path / "bundle/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DarkroomError, match="other inputs"):
        classifier.read(tmp_path / "bundle", threads=1)


@pytest.mark.parametrize("name", ["columns.json", "background.npy"])
def test_a_bundle_with_a_file_that_is_not_valid_is_not_served(project: Path, tmp_path: Path, name: str):
    folder = tmp_path / "bundle"
    shutil.copytree("models/bundle", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / name).write_bytes(b"{}")
    manifest["files"][name] = hashlib.sha256(b"{}").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DarkroomError, match=name):
        Service(Settings(bundle=folder, threads=1))


def test_the_model_card_names_the_columns_and_the_decision(project: Path):
    card = Path("models/bundle/README.md").read_text(encoding="utf-8")
    assert "`numbers`" in card and "`categories`" in card and "ROC AUC" in card and "tabular-classification" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    assert compile(code, "card", "exec")


def test_the_code_of_the_model_card_runs(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    code = Path("models/bundle/README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir("models/bundle")
    exec(compile(code, "card", "exec"), {})
    assert "yes" in capsys.readouterr().out


@pytest.fixture
def api(project: Path) -> SimpleNamespace:
    service = Service(Settings(bundle=Path("models/bundle"), threads=1, timeout=60, log_format="off"))
    built = app.build(service, AccessLog("off"))

    async def request(method: str, url: str, **given: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(built), base_url="http://service") as client:
            return await client.request(method, url, **given)

    return SimpleNamespace(
        post=lambda url="/v1/predict", **given: asyncio.run(request("POST", url, **given)),
        get=lambda url: asyncio.run(request("GET", url)),
    )


DRIVER = {"income": 1200, "job": "driver", "since": "2020-01-01"}


def test_the_service_answers_a_row(api: SimpleNamespace, bundle: TableClassifier):
    found = api.post(json={**DRIVER, "shoe": 44}).json()
    _, probabilities = bundle.predict(bundle.schema.row(DRIVER)[0][None])
    assert found["risk"] == pytest.approx(float(probabilities[0, 1])) and found["decision"] == "refuse"
    assert found["reasons_for"] == "yes" and found["reasons"][0]["column"] in ("income", "job")
    assert found["ignored"] == ["shoe"] and not found["missing"] and not found["unknown"]


def test_missing_unknown_and_extreme_values_are_answered_and_counted(api: SimpleNamespace):
    found = api.post(json={"income": 10**7, "job": "pilot", "since": None}).json()
    assert (found["missing"], found["unknown"], found["outside"]) == (["since"], ["job"], ["income"])
    metrics = api.get("/metrics").text
    for column, problem in (("since", "missing"), ("job", "unknown"), ("income", "outside")):
        assert f'darkroom_odd_values_total{{column="{column}",problem="{problem}"}} 1.0' in metrics


@pytest.mark.parametrize("body", [[DRIVER, {"job": "nurse"}], {"rows": [DRIVER, {"job": "nurse"}]}])
def test_several_rows_are_answered_in_order(api: SimpleNamespace, body: object):
    one, other = api.post(json=body).json()["results"]
    assert one["risk"] > other["risk"] and other["missing"] == ["income", "since"]


def test_rows_as_csv(api: SimpleNamespace):
    body = "job;income;since\ndriver;1200;2020-01-01\nnurse;abc;\n"
    one, other = api.post(content=body, headers={"content-type": "text/csv"}).json()["results"]
    assert one["risk"] == pytest.approx(api.post(json=DRIVER).json()["risk"]) and "income" in other["error"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'"a"', 400),
        (b"[1]", 400),
        (b'{"income": "abc"}', 422),
        (b'{"income": [1]}', 422),
        (b'{"shoe": 1}', 422),
        (b"\xff", 400),
        (b"[" + b"{}," * 40 + b"{}]", 413),
        (b" " * (JSON_LIMIT + 1), 413),
    ],
)
def test_a_wrong_body_is_refused(api: SimpleNamespace, body: bytes, code: int):
    response = api.post(content=body, headers={"content-type": "application/json"})
    assert response.status_code == code and response.json()["error"]


@pytest.mark.parametrize("length", [PARSE_INLINE, PARSE_INLINE + 1])
def test_a_long_body_is_parsed_in_a_worker(api: SimpleNamespace, length: int, monkeypatch: pytest.MonkeyPatch):
    threads, parse = [], table_api._json

    def recording(body: bytes) -> object:
        threads.append(threading.current_thread().name)
        return parse(body)

    monkeypatch.setattr(table_api, "_json", recording)
    body = json.dumps(DRIVER).ljust(length)
    assert api.post(content=body, headers={"content-type": "application/json"}).status_code == 200
    assert [name.startswith("worker") for name in threads] == [length > PARSE_INLINE]


@pytest.mark.parametrize("body", [b"", b"job\n", b"job,job\na,b\n", b"job,income\na\n"])
def test_a_wrong_table_is_refused(api: SimpleNamespace, body: bytes):
    assert api.post(content=body, headers={"content-type": "text/csv"}).status_code == 400


def test_images_are_refused(api: SimpleNamespace):
    assert api.post(content=b"x", headers={"content-type": "image/png"}).status_code == 415


def test_the_schema_of_the_columns_is_in_the_document(api: SimpleNamespace):
    content = api.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    properties = content["application/json"]["schema"]["oneOf"][0]["properties"]
    assert set(properties) == {"income", "job", "since"} and set(properties["job"]["examples"]) == {
        "clerk",
        "driver",
        "nurse",
    }
    assert api.get("/v1/model").json()["target"] == "y"


def test_drift_is_watched_by_column(api: SimpleNamespace):
    assert set(api.get("/v1/drift").json()["features"]) == {
        *("column.income", "column.job", "column.since"),
        *("confidence", "class"),
    }


def test_batch_prediction_answers_the_whole_table(project: Path, bundle: TableClassifier):
    with pytest.raises(SystemExit) as ended:
        batch.main(["data/datasets/toy/clients.csv", "--output", "out.csv", "--sets", "marginal"])
    found, given = table("out.csv"), table("data/datasets/toy/clients.csv")
    assert ended.value.code == 0 and len(found) == len(given)
    row, _ = bundle.schema.row(given[3])
    assert float(found[3]["risk"]) == pytest.approx(float(bundle.predict(row[None])[1][0, 1]), rel=1e-4)
    assert {one["decision"] for one in found} == {"approve", "refuse"}


def test_batch_prediction_reports_a_row_that_cannot_be_used(project: Path):
    Path("bad.csv").write_text("income,job\n1,clerk\nabc,clerk\n")
    with pytest.raises(SystemExit):
        batch.main(["bad.csv", "--output", "bad_out.csv"])
    good, bad = table("bad_out.csv")
    assert not good["error"] and "income" in bad["error"] and not bad["label"]


def test_batch_prediction_warns_of_columns_that_are_not_there(project: Path, capsys: pytest.CaptureFixture):
    Path("other.csv").write_text("income;Job\n1;clerk\n")
    with pytest.raises(SystemExit):
        batch.main(["other.csv", "--output", "other_out.csv"])
    assert "'job', 'since'" in capsys.readouterr().err and not table("other_out.csv")[0]["error"]


def test_the_features_of_the_drift_watch_are_the_columns(bundle: TableClassifier):
    assert tables.measured(np.array([[np.nan, 1]])).tolist() == [[-np.inf, 1]]
    assert tables.features(bundle.schema)[-2:] == ["confidence", "class"]
