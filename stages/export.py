"""Exports the trained model as a bundle that runs without PyTorch, and proves on the whole test set that it answers as the model does.

In: data/arrays, models/trained, models/calibration.json, metrics of evaluate. Out: models/bundle, metrics/export.json.
"""

import csv
from dataclasses import asdict

from darkroom import arrays, bundle, checkpoints, drift, gates, hardware, model_card, params, quantise
from darkroom.export import contents, describe, golden, to_onnx
from darkroom.inference import predict
from darkroom.outputs import new_folder, read_json, write_json, write_text
from darkroom.samples import SPLITS
from darkroom.stage import run


def main() -> dict[str, float]:
    seed, preprocess, settings = params.load("seed", "preprocess", "export")
    threads = hardware.use_threads("auto")
    network, description = checkpoints.load("models/trained")
    checkpoints.require_same_data(description, arrays.read_manifest("data/arrays"))
    train, val, test = (arrays.read_split("data/arrays", name) for name in SPLITS)
    calibration, evaluated = read_json("models/calibration.json"), read_json("metrics/evaluate.json")
    with open("metrics/evaluate/per_class.csv", encoding="utf-8", newline="") as file:
        per_class = list(csv.DictReader(file))

    graph = to_onnx(network, description, calibration["temperature"], settings.opset)
    small = quantise.quantise(graph, train.images[quantise.sample(train.labels, settings.int8.calibration, seed)])
    models = {name: contents(model, description, **calibration, resize=preprocess.resize) for name, model in (("fp32", graph), ("int8", small))}
    session = bundle.open_session(models["fp32"], threads)
    expected = predict(network, test.images, description.mean, description.std)
    found = gates.require_parity(session, test.images, expected, settings.tolerance)
    gates.require_accuracy(expected.argmax(1) == test.labels, evaluated["accuracy"])
    judged, speedup = gates.judge(models["fp32"], models["int8"], test.images, test.labels, settings.int8, threads)
    if not judged["published"]:
        del models["int8"]

    files = {bundle.VARIANTS[name]: model for name, model in models.items()} | {bundle.GOLDEN: golden(models, description.shape)}
    reference = drift.reference(val.images, bundle.answers(session, val.images)[1])
    manifest = describe(description, preprocess, settings.opset, calibration, evaluated, reference, files)
    found |= gates.require_preprocessing(manifest, models["fp32"], test.images)
    with new_folder("models/bundle") as folder:
        for name, held in files.items():
            (folder / name).write_bytes(held)
        write_json(folder / bundle.MANIFEST, asdict(manifest))
        write_text(folder / bundle.CARD, model_card.card(manifest, per_class))
        for name in models:
            bundle.check_golden(bundle.read(folder, threads, name), folder)
        latency = bundle.latency_ms(bundle.read(folder, threads=1))

    size = round(len(models["fp32"]) / 1e6, 3)
    write_json("metrics/export.json", {**found, "size_mb": size, "opset": settings.opset, "int8": judged})
    print(f"models/bundle: {size:.2f} MB, {len(test)} test pictures, every label the same, {latency:.2f} ms a picture")
    print(f"in 8 bits: {judged['accuracy']:.2%} right, {speedup:.1f} times as fast; {judged['reason'] or 'published'}")
    return {"latency_ms": round(latency, 3), "int8_speedup": round(speedup, 2)}


if __name__ == "__main__":
    run("export", main)
