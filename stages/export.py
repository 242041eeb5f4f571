"""Export the trained model as a bundle that runs without PyTorch, and check on the test set that it is equivalent.

In: data/arrays, models/trained, models/calibration.json, metrics of evaluate. Out: models/bundle, metrics/export.json.
"""

from darkroom.bundle import classifier, drift
from darkroom.core import params
from darkroom.core.outputs import new_folder, read_json, write_json
from darkroom.core.params import Seed
from darkroom.core.spelling import counted
from darkroom.core.stage import run
from darkroom.export import bundling, gates, quantisation
from darkroom.export.config import ExportConfig
from darkroom.export.graph import onnx_files, to_onnx
from darkroom.inputs.config import ImageConfig
from darkroom.models.checkpoints import open_trained
from darkroom.models.inference import predict


def main() -> dict[str, float]:
    seed, images, settings = params.load(seed=Seed, preprocess=ImageConfig, export=ExportConfig)
    trained = open_trained()
    network, description, threads = trained.network, trained.description, trained.threads
    train, val, test = (trained.split(name) for name in ("train", "val", "test"))
    calibration, evaluated = read_json("models/calibration.json"), read_json("metrics/evaluate.json")
    per_class = bundling.read_per_class("metrics/evaluate/per_class.csv")

    graph = to_onnx(network, description, calibration["temperature"], settings.opset)
    sample = quantisation.sample(train.labels, settings.int8.calibration_samples, seed)
    graphs = {"fp32": graph, "int8": quantisation.quantise(graph, train.inputs[sample])}
    # The stored images are denoised already, so the checks on them run files that do not denoise.
    models = onnx_files(graphs, description, calibration, images)
    checked = onnx_files(graphs, description, calibration, images.model_copy(update={"denoise": "none"}))
    sessions = {variant: classifier.open_session(model, threads) for variant, model in checked.items()}
    expected = predict(network, test.inputs, description.mean, description.std)
    found = gates.require_parity(sessions["fp32"], test.inputs, expected, settings.tolerance)
    gates.require_accuracy(expected.argmax(1) == test.labels, evaluated["accuracy"])
    speedup = gates.measure_speedup(models, test.inputs[:1])
    some, int8 = gates.classify_int8(sessions["int8"], test.inputs, expected.argmax(1), settings.int8)
    judged = gates.judge_int8(int8, expected[some].argmax(1), test.labels[some], speedup, settings.int8)
    if not judged["int8_published"]:
        del models["int8"], checked["int8"]

    files = {classifier.VARIANTS[variant]: model for variant, model in models.items()}
    files[classifier.GOLDEN] = bundling.golden(checked, description.shape, images.denoise)
    reference = drift.reference(val.inputs, classifier.answers(sessions["fp32"], val.inputs)[1])
    manifest = bundling.describe(trained, images, settings.opset, calibration, evaluated, reference, files)
    found |= gates.require_preprocessing(manifest, models["fp32"], test.inputs)
    with new_folder("models/bundle") as folder:
        latency = bundling.write(folder, manifest, files, per_class, threads)

    size = round(len(models["fp32"]) / 1e6, 3)
    write_json("metrics/export.json", {**found, **judged, "size_mb": size, "opset": settings.opset})
    print(f"models/bundle: {size:.2f} MB, equal on {counted(len(test), 'test image')}, {latency:.2f} ms per image")
    print(gates.summary(judged, speedup))
    return {"latency_ms": round(latency, 3), "int8_speedup": round(speedup, 2)}


if __name__ == "__main__":
    run("export", main)
