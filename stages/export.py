"""Export the trained model as a bundle that runs without PyTorch, and check on the test set that it is equivalent.

In: data/arrays, models/trained, models/calibration.json, metrics of evaluate. Out: models/bundle, metrics/export.json.
"""

from functools import partial

from darkroom.core import params
from darkroom.core.outputs import new_folder, read_json, write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import NOUNS, counted
from darkroom.core.stage import run
from darkroom.export import bundling, gates
from darkroom.export.config import ExportConfig
from darkroom.export.histories import Histories
from darkroom.export.images import Images
from darkroom.export.tables import Tables
from darkroom.export.texts import Texts
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict
from darkroom.recommend.config import RankingConfig

KINDS = {"image": Images, "text": Texts, "table": Tables, "history": Histories}


def main() -> dict[str, float]:
    seed, images, ranked, settings = params.load(
        seed=Seed, preprocess=ImageConfig, evaluate=RankingConfig, export=ExportConfig
    )
    trained = open_trained()
    kind, test = trained.manifest.kind, trained.split("test")
    calibration, evaluated = read_json("models/calibration.json"), read_json("metrics/evaluate.json")
    per_class = bundling.read_per_class("metrics/evaluate/per_class.csv")
    exported = KINDS[kind](trained, calibration, ranked if kind == "history" else images, settings, seed)
    logits = partial(predict, trained.network, mean=trained.description.mean, std=trained.description.std)
    expected, found = exported.require_parity(logits, settings.tolerance)
    gates.require_accuracy(expected == test.labels, evaluated["accuracy"])
    speedup = exported.measure_speedup()
    some, int8 = exported.classify_int8(expected, settings.int8)
    judged = gates.judge_int8(int8, expected[some], test.labels[some], speedup, settings.int8)
    if not judged["int8_published"]:
        del exported.models["int8"]

    files = exported.files()
    manifest = exported.describe(evaluated, files)
    found |= exported.require_preprocessing(manifest) | exported.measure_questions()
    with new_folder("models/bundle") as folder:
        latency = bundling.write(folder, manifest, files, per_class, trained.threads)

    size = round(len(exported.models["fp32"]) / 1e6, 3)
    write_json("metrics/export.json", {**found, **judged, "size_mb": size, "opset": settings.opset})
    tested = counted(len(test), f"test {NOUNS[kind]}")
    print(f"models/bundle: {size:.2f} MB, equal on {tested}, {latency:.2f} ms per {NOUNS[kind]}")
    print(gates.summary(judged, speedup))
    return {"latency_ms": round(latency, 3), "int8_speedup": round(speedup, 2)}


if __name__ == "__main__":
    run("export", main)
